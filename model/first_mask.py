"""The mask of what the user points at: the one frame on which the decoder is asked without a memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .motion import SoftMask
from .predictor import Predictor
from .soft_masks import box_iou, box_of_soft, logits_of_soft, low_res_of
from .types import ImageEmbedding, Prompt
from .view import View

BOX_FIT_SHARE = 0.5  # of filling the user's box beside predicted IoU, in choosing among a box's candidates


@dataclass(frozen=True, slots=True, eq=False)
class FirstMask:
    """What the user showed."""

    soft: SoftMask  # (4h, 4w)
    predicted_iou: float


def first_mask(prompt: Prompt, expected: SoftMask | None, view: View, predictor: Predictor) -> FirstMask:
    """The mask of what the user points at.

    Clicks on a known object correct the mask it would have had. On a new one the prompt may be ambiguous (a
    wheel or its car?): of a box's candidates the one that fills it best is taken, of a lone click's the one
    the decoder trusts most.

    Args:
        prompt: what the user shows.
        expected: (4h, 4w), where the object should be; None for a new one.
        view: the frame.
        predictor: decodes.
    """
    if prompt.mask is not None:
        return FirstMask(low_res_of(prompt.mask, view.embedding), predicted_iou=1.0)
    box = None if expected is None else box_of_soft(expected, view.embedding)
    if expected is not None and box is not None and prompt.box_xyxy is None:
        prompt = _correction(prompt, box, expected)
    prediction = predictor.decode_all(view.embedding, [prompt])
    candidates = torch.sigmoid(prediction.low_res_logits[0]).cpu().numpy()
    predicted_iou = prediction.predicted_iou[0].cpu().numpy()
    best = _best(prompt, candidates, predicted_iou, view.embedding)
    return FirstMask(candidates[best], float(predicted_iou[best]))


def _best(
    prompt: Prompt,
    candidates: NDArray[np.float32],
    predicted_iou: NDArray[np.float32],
    embedding: ImageEmbedding,
) -> int:
    """Which of (4, 4h, 4w) candidates the prompt means."""
    if prompt.box_xyxy is not None:
        boxes = [box_of_soft(soft, embedding) for soft in candidates]
        fits = [0.0 if box is None else box_iou(box, prompt.box_xyxy) for box in boxes]
        return int(np.argmax(predicted_iou + BOX_FIT_SHARE * np.array(fits)))
    if len(prompt.points_xy) == 1:
        return 1 + int(np.argmax(predicted_iou[1:]))
    return 0  # several points leave little doubt: SAM's single mask


def _correction(prompt: Prompt, box_xyxy: NDArray[np.float32], soft_map: SoftMask) -> Prompt:
    """Clicks on a known object with the mask it would have had, and its box grown to hold what they add."""
    added = prompt.points_xy[prompt.point_labels == 1]
    corners = np.concatenate([box_xyxy.reshape(2, 2), added])
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return replace(prompt, box_xyxy=box, low_res_logits=logits_of_soft(soft_map))
