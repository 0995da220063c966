"""Asks the mask decoder where objects are, prompted with where they should be, and weighs its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from .motion import SoftMask
from .outlook import Outlook
from .predictor import Predictor
from .quality import SHIPPED, apply_table
from .soft_masks import (
    LOW_RES_PX,
    box_in_low_res,
    box_of_soft,
    certainty_of,
    fineness_of,
    inside_box,
    logits_of_soft,
    share_of,
    soft_iou,
)
from .types import BoolMask, ImageEmbedding, Prompt

# The single mask and the three candidates from box + mask logits, and the single mask from the box alone,
# which the logits' own errors cannot sway.
CANDIDATES = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0))
SURE_REST, NO_REST = 0.25, 0.5  # of its usual area: so little of an object is a rest, so much is none
BORDER_PX = 2  # low-res px from the picture's border: what is so near may be leaving


@dataclass(frozen=True, slots=True)
class FinderSettings:
    """Constants of weighing the decoder's candidates."""

    decoder_share: float = 0.3  # of the mask decoder in the final mask inside the box, the rest is the map
    predicted_iou_share: float = 0.1  # of the decoder's own guess in choosing a candidate
    least_agreement: float = 0.25  # soft IoU of candidate and map below which the map alone is the mask
    least_likeness: float = 0.18  # a mask of less is not the object, which then counts as unseen
    found_likeness: float = 0.42  # the same for an object that was searched for
    rest_likeness: float = 0.3  # the same for the rest of one that is nearly gone, see `rest_of`
    box_margin_px: int = 2  # low-res px by which the decoder may reach over its box


@dataclass(frozen=True, eq=False)
class Found:
    """One object on one frame, before it is made a full-size mask."""

    soft: SoftMask  # (4h, 4w)
    predicted_iou: float = 0.0
    agreement: float = 0.0  # soft IoU of the decoder's mask and the map; 0 where it is not the object

    @cached_property
    def is_seen(self) -> bool:
        """Whether there is any of it. What is not the object is followed unseen: that may be hidden there."""
        return self.agreement > 0 and bool((self.soft > 0.5).any())

    @cached_property
    def likeness(self) -> float:
        """How surely it is the object, 0..1: how clear the mask is, and how well decoder and map agree."""
        return certainty_of(self.soft) * self.agreement

    @cached_property
    def quality(self) -> float:
        """The chance that the mask is good (IoU of at least 0.75); 0 for an empty one."""
        return apply_table(self.likeness * fineness_of(self.soft), SHIPPED) if self.is_seen else 0.0


def find_all(
    outlooks: Sequence[Outlook], embedding: ImageEmbedding, predictor: Predictor, settings: FinderSettings
) -> list[Found]:
    """The objects of these outlooks on their frame; one decoder call for all.

    Args:
        outlooks: where each should be.
        embedding: the frame, encoded.
        predictor: decodes.
        settings: the constants.
    """
    boxes = [box_of_soft(outlook.soft_map, embedding) for outlook in outlooks]
    seen = [i for i, box in enumerate(boxes) if box is not None]
    found = [Found(outlook.warped) for outlook in outlooks]
    if not seen:
        return found
    asked = [_prompts_of(box, outlooks[i]) for i in seen if (box := boxes[i]) is not None]
    prediction = predictor.decode_all(embedding, [prompt for each in asked for prompt in each])
    counts = [len(each) for each in asked]
    softs = torch.split(torch.sigmoid(prediction.low_res_logits), counts)
    ious = torch.split(prediction.predicted_iou, counts)
    for i, prompts, candidates, predicted_iou in zip(seen, asked, softs, ious, strict=True):
        box = box_in_low_res(prompts[0], embedding)
        inside = inside_box(box, outlooks[i].soft_map.shape, settings.box_margin_px)
        drawn = _choose(outlooks[i], inside, candidates.cpu().numpy(), predicted_iou.cpu().numpy(), settings)
        found[i] = _believed(outlooks[i], drawn, embedding.resized_hw, settings)
    return found


def _prompts_of(box_xyxy: NDArray[np.float32], outlook: Outlook) -> list[Prompt]:
    """The box with the map as mask logits; where there is doubt the box alone as well."""
    with_map = Prompt(1, box_xyxy=box_xyxy, low_res_logits=logits_of_soft(outlook.soft_map))
    return [with_map, Prompt(1, box_xyxy=box_xyxy)] if outlook.is_doubtful else [with_map]


def _choose(
    outlook: Outlook,
    inside: SoftMask,
    candidates: NDArray[np.float32],
    predicted_iou: NDArray[np.float32],
    settings: FinderSettings,
) -> Found:
    """The candidate of (1 or 2, 4, 4h, 4w) that agrees best with the map, mixed with it `inside` its box."""
    soft_map = outlook.soft_map
    choices = CANDIDATES[: len(CANDIDATES) if len(candidates) > 1 else -1]
    agreements = [soft_iou(candidates[which], soft_map) for which in choices]
    totals = [
        agreement + settings.predicted_iou_share * float(predicted_iou[which])
        for agreement, which in zip(agreements, choices, strict=True)
    ]
    best = int(np.argmax(totals))
    guess, agreement = float(predicted_iou[choices[best]]), agreements[best]
    # The decoder speaks for the inside of its box only; a part seen beyond an occluder is the map's.
    share = settings.decoder_share * inside if agreement >= settings.least_agreement else np.float32(0)
    return Found(share * candidates[choices[best]] + (1 - share) * soft_map, guess, agreement)


def _believed(outlook: Outlook, found: Found, resized_hw: tuple[int, int], settings: FinderSettings) -> Found:
    """The same, unless it is too little like the object: that is then unseen."""
    if outlook.is_search:
        least = settings.found_likeness
    else:
        rest = rest_of(found.soft, outlook.usual_share, resized_hw)
        least = settings.least_likeness + rest * (settings.rest_likeness - settings.least_likeness)
    if found.likeness >= least:
        return found
    return Found(outlook.warped if outlook.is_search else found.soft)


def rest_of(soft: SoftMask, usual_share: float, resized_hw: tuple[int, int]) -> float:
    """How far a mask is but the rest of an object, 0..1, though that does not leave the picture.

    What is being hidden shrinks to a sliver, and such a one may just as well be an edge of what hides it.

    Args:
        soft: (4h, 4w), the mask.
        usual_share: of the picture that the object covers as a rule; 0 if that is not known.
        resized_hw: of the picture inside the model input, px.
    """
    inside = soft > 0.5
    if not usual_share or _is_at_border(inside, resized_hw):
        return 0.0
    left = share_of(soft) / usual_share
    return min(max((NO_REST - left) / (NO_REST - SURE_REST), 0.0), 1.0)


def _is_at_border(inside: BoolMask, resized_hw: tuple[int, int]) -> bool:
    bottom, right = (side // LOW_RES_PX - BORDER_PX for side in resized_hw)
    inner = inside[BORDER_PX:bottom, BORDER_PX:right]
    return bool(np.count_nonzero(inside) > np.count_nonzero(inner))
