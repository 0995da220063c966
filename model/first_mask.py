"""The mask of what the user points at: the one frame on which the decoder is asked without a memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .appearance import MOST_ANCHOR_CELLS, gather_evidence
from .motion import SoftMask
from .predictor import Predictor
from .soft_masks import (
    box_in_low_res,
    box_iou,
    box_of_soft,
    cell_means,
    inside_box,
    logits_of_soft,
    low_res_of,
    resize_soft,
)
from .types import Prompt
from .view import View

LEAST_BOX_FIT = 0.5  # IoU of a mask's own box with the user's below which it does not mean the same
BOX_FIT_SHARE = 0.5  # of filling the user's box beside predicted IoU, in choosing among a box's candidates
UNLIKE_GAIN = 6.0  # appearance response to probability, for telling what is in the box from what is around it
UNLIKE_MARGIN = 0.3  # response from which on it is likely: all in the box was taught as the object

Opinion = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Candidates (4, 4h, 4w), the single mask and SAM's three, and what the decoder thinks of each (4,)."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstMask:
    """What the user showed."""

    soft: SoftMask  # (4h, 4w)
    predicted_iou: float


def first_mask(prompt: Prompt, expected: SoftMask | None, view: View, predictor: Predictor) -> FirstMask:
    """The mask of what the user points at.

    Clicks on a known object correct the mask it would have had. On a new one the prompt may be ambiguous: a
    wheel or its car?

    Args:
        prompt: what the user shows.
        expected: (4h, 4w), where the object should be; None for a new one.
        view: the frame.
        predictor: decodes.
    """
    if prompt.mask is not None:
        return FirstMask(low_res_of(prompt.mask, view.embedding), predicted_iou=1.0)
    if prompt.box_xyxy is not None:
        return _of_box(prompt, prompt.box_xyxy, view, predictor)
    box = None if expected is None else box_of_soft(expected, view.embedding)
    if expected is None or box is None:
        return _of_clicks(prompt, view, predictor)
    prompt = _correction(prompt, box, expected)
    [opinion] = _opinions([prompt], view, predictor)
    return _mean([(_best(opinion, box, view), opinion)])


def _of_clicks(prompt: Prompt, view: View, predictor: Predictor) -> FirstMask:
    """Several points leave little doubt: SAM's single mask. A lone one means what the decoder trusts most."""
    [opinion] = _opinions([prompt], view, predictor)
    best = 1 + int(np.argmax(opinion[1][1:])) if len(prompt.points_xy) == 1 else 0
    return _mean([(best, opinion)])


def _of_box(prompt: Prompt, box_xyxy: NDArray[np.float32], view: View, predictor: Predictor) -> FirstMask:
    """The mean of two opinions: with the box alone, and told what in it is unlike what is around it.

    They are SAM's single masks, or where those leave the box half empty (the post before the child on a
    swing) of each one's candidates the best.
    """
    told = replace(prompt, low_res_logits=logits_of_soft(_unlike_outside(prompt, view)))
    opinions = _opinions([prompt, told], view, predictor)
    single = _mean([(0, opinion) for opinion in opinions])
    if _fit(single.soft, box_xyxy, view) >= LEAST_BOX_FIT:
        return single
    return _mean([(_best(opinion, box_xyxy, view), opinion) for opinion in opinions])


def _best(opinion: Opinion, box_xyxy: NDArray[np.float32], view: View) -> int:
    """Which candidate fills a box best and is trusted most."""
    candidates, predicted_iou = opinion
    fits = np.array([_fit(soft, box_xyxy, view) for soft in candidates])
    return int(np.argmax(predicted_iou + BOX_FIT_SHARE * fits))


def _opinions(prompts: list[Prompt], view: View, predictor: Predictor) -> list[Opinion]:
    """What the decoder makes of each prompt."""
    prediction = predictor.decode_all(view.embedding, prompts)
    softs, ious = (
        torch.sigmoid(prediction.low_res_logits).cpu().numpy(),
        prediction.predicted_iou.cpu().numpy(),
    )
    return list(zip(softs, ious, strict=True))


def _mean(chosen: list[tuple[int, Opinion]]) -> FirstMask:
    softs = [candidates[best] for best, (candidates, _) in chosen]
    guesses = [predicted_iou[best] for best, (_, predicted_iou) in chosen]
    return FirstMask(np.mean(softs, axis=0), float(np.mean(guesses)))


def _fit(soft: SoftMask, box_xyxy: NDArray[np.float32], view: View) -> float:
    """How well a mask fills a box: IoU of that box and its own."""
    own = box_of_soft(soft, view.embedding)
    return 0.0 if own is None else box_iou(own, box_xyxy)


def _unlike_outside(prompt: Prompt, view: View) -> SoftMask:
    """What is in the box and does not look like what is around it (4h, 4w)."""
    low_res_hw = view.low_res_hw
    inside = inside_box(box_in_low_res(prompt, view.embedding), low_res_hw, margin_px=0)
    share = cell_means(inside, view.grid.grid_hw)
    evidence = gather_evidence(view.grid, share, most=MOST_ANCHOR_CELLS)
    response = view.grid.respond(evidence.solve()[None])[0]
    unlike = torch.sigmoid(UNLIKE_GAIN * (response - UNLIKE_MARGIN)).cpu().numpy()
    return resize_soft(unlike, low_res_hw) * inside


def _correction(prompt: Prompt, box_xyxy: NDArray[np.float32], soft_map: SoftMask) -> Prompt:
    """Clicks on a known object with the mask it would have had, and its box grown to hold what they add."""
    added = prompt.points_xy[prompt.point_labels == 1]
    corners = np.concatenate([box_xyxy.reshape(2, 2), added])
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return replace(prompt, box_xyxy=box, low_res_logits=logits_of_soft(soft_map))
