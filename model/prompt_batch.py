"""Prompts of different kinds as one batch of tensors for the mask decoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .errors import PromptError
from .geometry import scale_points
from .prompt_encoder import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NOT_A_POINT, PADDING, PromptBatch
from .types import BoolMask, ImageEmbedding, Prompt, box_of_mask

MASK_LOGIT = 8.0  # a drawn mask as logits: as sure as SAM's own inside an object, not surer


def batch_prompts(
    prompts: Sequence[Prompt], embeddings: Sequence[ImageEmbedding], device: torch.device
) -> PromptBatch:
    """Gather prompts, each with its own image's geometry, into one batch.

    Raises:
        PromptError: a mask or its logits do not fit the image.
    """
    pairs = list(zip(prompts, embeddings, strict=True))
    for prompt, embedding in pairs:
        _check_masks(prompt, embedding)
    tokens = [_tokens(prompt, embedding) for prompt, embedding in pairs]
    length = max((len(labels) for _, labels in tokens), default=0)
    points_xy = np.zeros((len(tokens), length, 2), np.float32)
    labels = np.full((len(tokens), length), PADDING, np.int64)
    for row, (own_points, own_labels) in enumerate(tokens):
        points_xy[row, : len(own_labels)] = own_points
        labels[row, : len(own_labels)] = own_labels
    mask_logits, has_mask = _stack_masks([_mask_logits(*pair) for pair in pairs], device)
    return PromptBatch(
        torch.from_numpy(points_xy).to(device), torch.from_numpy(labels).to(device), mask_logits, has_mask
    )


def join_prompts(batches: Sequence[PromptBatch], grid_hw: tuple[int, int]) -> PromptBatch:
    """Prompts on several images as one batch.

    Args:
        batches: those on the first image, on the second, ...; all of the same number of tokens.
        grid_hw: the (h, w) of all the image embeddings.
    """
    all_four = zip(*(each.with_masks(grid_hw) for each in batches), strict=True)
    points_xy, labels, mask_logits, has_mask = (torch.cat(same) for same in all_four)
    # Made where it is used: to bring a list of numbers to a GPU would be to wait for all it has to do.
    rows = [each.labels.new_full((len(each.labels),), image) for image, each in enumerate(batches)]
    return PromptBatch(points_xy, labels, mask_logits, has_mask, torch.cat(rows))


def _check_masks(prompt: Prompt, embedding: ImageEmbedding) -> None:
    mask, logits = prompt.mask, prompt.low_res_logits
    if mask is not None and mask.shape != embedding.original_hw:
        found, wanted = mask.shape, embedding.original_hw
        raise PromptError(
            f"prompt {prompt.object_id}: mask is {found} but the image is {wanted}, as (h, w) px"
        )
    wanted = (embedding.input_hw[0] // 4, embedding.input_hw[1] // 4)
    if logits is not None and logits.shape[1:] != wanted:
        found = logits.shape[1:]
        raise PromptError(f"prompt {prompt.object_id}: low_res_logits are {found}, this image's are {wanted}")


def _tokens(prompt: Prompt, embedding: ImageEmbedding) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points (N, 2) px of the model input and labels (N,), in SAM's order: points, then the box."""
    box = prompt.box_xyxy
    if box is None and prompt.mask is not None:
        box = box_of_mask(prompt.mask).astype(np.float32)  # SAM finds little by a mask alone
    points, labels = prompt.points_xy, prompt.point_labels.astype(np.int64)
    if box is not None:
        points = np.concatenate([points, box.reshape(2, 2)])
        labels = np.append(labels, [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT])
    elif len(points):
        points = np.concatenate([points, np.zeros((1, 2), np.float32)])
        labels = np.append(labels, NOT_A_POINT)
    return scale_points(points, embedding.original_hw, embedding.resized_hw), labels


def _mask_logits(prompt: Prompt, embedding: ImageEmbedding) -> Tensor | None:
    """The prompt's mask logits (1, 4h, 4w), if it has a mask of either kind."""
    if prompt.low_res_logits is not None:
        return torch.as_tensor(prompt.low_res_logits, dtype=torch.float32)
    return None if prompt.mask is None else logits_of_mask(prompt.mask, embedding)


def logits_of_mask(mask: BoolMask, embedding: ImageEmbedding) -> Tensor:
    """A mask (H, W) of the original image as mask logits (1, 4h, 4w) within +-8."""
    soft = torch.from_numpy(mask)[None, None].float()
    soft = functional.interpolate(soft, embedding.resized_hw, mode="bilinear", antialias=True)
    missing_h, missing_w = (a - b for a, b in zip(embedding.input_hw, embedding.resized_hw, strict=True))
    covered = functional.avg_pool2d(functional.pad(soft, (0, missing_w, 0, missing_h)), 4)[0]  # (1, 4h, 4w)
    return (2 * covered - 1) * MASK_LOGIT


def _stack_masks(masks: Sequence[Tensor | None], device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None, None
    blank = torch.zeros_like(given[0])
    stacked = torch.stack([blank if mask is None else mask for mask in masks])
    return stacked.to(device), torch.tensor([mask is not None for mask in masks], device=device)
