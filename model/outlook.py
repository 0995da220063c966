"""Where an object should be on a new frame, before the mask decoder is asked."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .appearance import AppearanceGrid, AppearanceMemory
from .common_fate import strangers_in
from .motion import Motion, SoftMask
from .soft_masks import inside_box, resize_soft, square
from .types import BoolMask, box_of_mask

EDGE = 0.012  # of the picture's long side, around the object: flow is too coarse to tell what is background


@dataclass(frozen=True, slots=True)
class OutlookSettings:
    """Constants of the map."""

    response_gain: float = 6.0  # appearance response to probability: sigmoid(gain * response)
    warped_share: float = 0.1  # of the flow-warped previous mask in the map
    reach: float = 1 / 16  # how far from the warped mask the object may be, of the picture's long side
    background_weight: float = 0.7  # how much known background outweighs looking like the object
    search_margin: float = 0.25  # more response than 0 that a search over the whole picture asks for
    far: float = 0.1  # beyond so much of the long side from the object's box all is something else
    common_fate: float = 0.25  # see `strangers_in`; 0: what moves as its surroundings do may be the object


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What appearance and motion say together."""

    soft_map: SoftMask  # (4h, 4w), where the object should be
    warped: SoftMask  # (4h, 4w), the previous mask moved by flow; for a search what is followed unseen
    background: SoftMask  # (4h, 4w), what of this frame is known to be something else
    as_shown: Tensor  # (gh, gw), response of each cell by what the user showed alone
    is_search: bool  # True if motion has no say: the object was unseen, or the scene was cut
    usual_share: float = 0.0  # of the picture that the object covers as a rule; 0: that is not known
    is_doubtful: bool = True  # whether the decoder is asked for more than one opinion


def look_ahead(
    memory: AppearanceMemory,
    grid: AppearanceGrid,
    motion: Motion,
    soft: SoftMask,
    background: SoftMask,
    settings: OutlookSettings,
) -> Outlook:
    """The object's looks near its warped previous mask, but not on known background, mixed with that mask.

    Pieces of this that move as their surroundings do are background from here on.

    Args:
        memory: the object's looks.
        grid: the new frame's vectors.
        motion: from the previous frame to the new one.
        soft: (4h, 4w), the object on the previous frame.
        background: (4h, 4w), what of the previous frame was known to be something else.
        settings: the constants.
    """
    size: tuple[int, int] = (soft.shape[0], soft.shape[1])
    response, as_shown = memory.respond(grid)
    looks = _probability(response, settings.response_gain, size)
    warped = motion.warp(soft)
    background = motion.warp(background) * motion.agreement_at(size)
    looks = looks * (1 - settings.background_weight * background) * _near(warped, settings.reach)
    soft_map: SoftMask = (1 - settings.warped_share) * looks + settings.warped_share * warped
    strangers = strangers_in(soft_map, background, motion, settings.common_fate)
    soft_map = np.where(strangers, np.float32(0), soft_map)
    background = np.maximum(background, cv2.dilate(strangers.astype(np.float32), _edge(size)))
    return Outlook(soft_map, warped, background, as_shown, is_search=False)


def search(
    memory: AppearanceMemory, grid: AppearanceGrid, size: tuple[int, int], settings: OutlookSettings
) -> Outlook:
    """The one region of the whole picture that looks most like the object; an empty map where none does.

    Args:
        memory: the object's looks.
        grid: the new frame's vectors.
        size: (4h, 4w), of the map.
        settings: the constants.
    """
    response, as_shown = memory.respond(grid)
    looks = _probability(response - settings.search_margin, settings.response_gain, size)
    _, regions = cv2.connectedComponents((looks > 0.5).astype(np.uint8))
    likeness = np.bincount(regions.ravel(), weights=looks.ravel())
    likeness[0] = 0  # region 0 is the rest of the picture
    region = (regions == likeness.argmax()) & (regions > 0)
    nothing = np.zeros(size, np.float32)
    return Outlook(looks * region, nothing, nothing, as_shown, is_search=True)


def background_of(soft: SoftMask) -> SoftMask:
    """1 where the picture is surely something else than the object, up to its edge."""
    beyond: BoolMask = cv2.dilate(soft, _edge(soft.shape)) < 0.5
    return beyond.astype(np.float32)


def background_after(outlook: Outlook, soft: SoftMask, settings: OutlookSettings) -> SoftMask:
    """What of a frame is known to be something else, now that the object was found in it.

    That is what was known to be, without gaps where flow was unsure; what looks so by what the user showed;
    and what is far from an object that was followed: it comes into view newly, but not as a part of it.

    Args:
        outlook: what was expected of the frame.
        soft: (4h, 4w), where the object is.
        settings: the constants.
    """
    known = cv2.morphologyEx(outlook.background, cv2.MORPH_CLOSE, _edge(soft.shape))
    other = resize_soft(outlook.as_shown.cpu().numpy(), soft.shape) < 0
    if not outlook.is_search:
        other |= _far_from(soft, settings.far)
    background: SoftMask = np.maximum(known, other) * background_of(soft)
    return background


def edge_px(hw: tuple[int, ...]) -> int:
    """How far an object's edge reaches, for masks (h, w)."""
    return max(1, round(EDGE * max(hw)))


def _edge(hw: tuple[int, ...]) -> NDArray[np.uint8]:
    """The square that reaches over an object's edge, for masks (h, w)."""
    return square(edge_px(hw))


def _far_from(soft: SoftMask, reach: float) -> BoolMask:
    """Whether a pixel is beyond reach of the box around a soft mask; nowhere if that is empty."""
    box_xyxy = box_of_mask(soft > 0.5)
    if not box_xyxy.any():
        return np.zeros(soft.shape, np.bool_)
    near = inside_box(box_xyxy.astype(np.float32), soft.shape, round(reach * max(soft.shape)))
    far: BoolMask = near == 0
    return far


def _probability(response: Tensor, gain: float, size: tuple[int, int]) -> SoftMask:
    return resize_soft(torch.sigmoid(gain * response).cpu().numpy(), size)


def _near(warped: SoftMask, reach: float) -> SoftMask:
    """1 within reach of the warped mask, falling off smoothly to 0; so smooth that half the size will do."""
    height, width = warped.shape
    small = resize_soft(
        (warped > 0.3).astype(np.float32), (max(1, height // 2), max(1, width // 2)), cv2.INTER_AREA
    )
    reach_px = max(1, round(reach * max(small.shape)))
    grown = cv2.dilate((small > 0).astype(np.float32), square(reach_px))
    return resize_soft(cv2.GaussianBlur(grown, (0, 0), reach_px / 2), (height, width))
