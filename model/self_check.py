"""Does an engine compute what the networks are? It is asked on a small fixed input, before it is used."""

from __future__ import annotations

import torch
from torch import Tensor

from .engines import Engine
from .errors import EngineError
from .mask_decoder import ALL_MASKS
from .prompt_encoder import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, NOT_A_POINT, PADDING, PromptBatch

CHECK_HW = (96, 160)  # px: small, and cut off by the encoder's windows at every stage


@torch.inference_mode()
def check_engine(
    engine: Engine, truth: Engine, input_hw: tuple[int, int] = CHECK_HW, device: str | torch.device = "cpu"
) -> None:
    """Compare an engine with the one that is known to be right, on one image and prompts of every kind.

    Raises:
        EngineError: they differ by more than the engine's tolerance.
    """
    # Noise leaves no part of a network idle.
    pixels = torch.randn(1, 3, *input_hw, generator=torch.Generator().manual_seed(0)).to(device)
    features, detail = truth.encode(pixels)
    own_features, own_detail = engine.encode(pixels)
    check_output(engine, "features", own_features, features)
    check_output(engine, "detail", own_detail, detail)
    points_xy, labels, mask_logits, has_mask = (tensor.to(device) for tensor in _prompts(input_hw))
    prompts = PromptBatch(points_xy, labels, mask_logits, has_mask)
    logits, predicted_iou = truth.decode(features, prompts, ALL_MASKS)
    own_logits, own_iou = engine.decode(features, prompts, ALL_MASKS)
    check_output(engine, "low_res_logits", own_logits, logits)
    check_output(engine, "predicted_iou", own_iou, predicted_iou)
    # As objects are followed: without padding.
    boxes = PromptBatch(points_xy[:2, :2], labels[:2, :2], mask_logits[:2], has_mask[:2])
    check_output(
        engine, "low_res_logits", engine.decode(features, boxes)[0], truth.decode(features, boxes)[0]
    )


def check_output(engine: Engine, what: str, found: Tensor, expected: Tensor) -> None:
    """Compare one of an engine's outputs with what it should be.

    Raises:
        EngineError: they differ by more than the engine's tolerance.
    """
    if found.shape != expected.shape:
        difference = f"has shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    else:
        share = float((found - expected).norm() / expected.norm())
        if share <= engine.tolerance:  # False for NaN too
            return
        difference = f"is off by {share:.2g} of its size, where {engine.tolerance:.2g} is allowed"
    raise EngineError(
        f"engine {engine.name} computes wrongly on this machine: its {what} {difference}; "
        "use --engine torch, and report this with what `maskstream doctor` says"
    )


def _prompts(input_hw: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A box, a box with mask logits, and two points: points_xy (3, 3, 2), labels, mask logits, has_mask."""
    height, width = input_hw
    box = [[0.2 * width, 0.2 * height], [0.7 * width, 0.8 * height], [0.0, 0.0]]
    points = [[0.4 * width, 0.5 * height], [0.6 * width, 0.3 * height], [0.0, 0.0]]
    box_labels = [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, PADDING]
    labels = torch.tensor([box_labels, box_labels, [FOREGROUND, FOREGROUND, NOT_A_POINT]])
    mask_logits = 4 * torch.randn(3, 1, height // 4, width // 4, generator=torch.Generator().manual_seed(1))
    return torch.tensor([box, box, points]), labels, mask_logits, torch.tensor([False, True, False])
