"""Masks on frames that are not encoded: carried along from the last one that was.

Optical flow says where an object's outline went. It slips at edges, and the more the farther an object goes.
So colour has a say too, which does not slip: near the outline, what has the colours that the object had on
the frame it was found on, and not those around it there, is taken for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .coast_colors import Colors
from .drift import Drift, DriftEstimator, Flow, Thumb
from .geometry import resize_mask
from .motion import SoftMask, pixels
from .quality import SHIPPED, apply_table, invert_table
from .tracker_settings import TrackerSettings
from .types import BoolMask, MaskOrigin, ObjectMask, Prompt, RgbImage, TrackState, box_of_mask

HALF_LIFE_MS = 500.0  # of a carried mask's raw quality: a rule of thumb
UNSURE_QUALITY = TrackerSettings().unsure_quality
SLOPE_PX = 3.0  # of the thumb: as far from the flow's outline one unit of log odds moves it
MOST_UNITS = 4.0  # of log odds by place: farther off, colour cannot change what flow says
COLOR_WEIGHT = 20.0  # of colour's log odds, by how far the object has moved in long sides of the picture
MOST_COLOR_WEIGHT = 1.2
COLOR_FROM_MS = 120.0  # age from which on colour has its full weight: at first flow is right
AROUND_PX = 30  # of the thumb: what is so near counts as an object's surroundings
LEAST_PX = 20  # of the thumb: from fewer, colours are not told


Part = tuple[int, int, int, int]  # half-open box x0, y0, x1, y1


@dataclass(frozen=True, slots=True, eq=False)
class Imprint:
    """An object as it was found on a frame, made ready to be carried to those that follow."""

    found: ObjectMask
    depth: SoftMask  # (h, w) px of the thumb: distance from the outline, negative outside; of a part of it
    part: Part  # that part, px of the thumb
    reach: Part  # where the object is, and as far around it as it may be found by its colours
    colors: Colors | None  # None: too small to tell

    @classmethod
    def of(cls, found: ObjectMask, thumb: Thumb) -> Imprint:
        """Of an object on the frame that the thumb shows."""
        height, width = thumb.gray.shape
        shares = cv2.resize(found.mask.view(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
        left, top, right, bottom = part = _inside(_around(found, thumb, AROUND_PX), thumb)
        inside = shares[top:bottom, left:right].astype(np.float32) / 255
        reach = _around(found, thumb, math.ceil(MOST_UNITS * SLOPE_PX))
        return cls(found, _depth(inside), part, reach, _colors(thumb.rgb[top:bottom, left:right], inside))

    def reached(self, came_from: Flow) -> Part | None:
        """The part of a thumb on which the object may be, given where its pixels came from (h, w, 2)."""
        left, top, right, bottom = self.reach
        x, y, width, height = cv2.boundingRect(cv2.inRange(came_from, (left, top), (right - 1, bottom - 1)))
        return (x, y, x + width, y + height) if width and height else None

    def odds(self, came_from: Flow, part: Part, now: Thumb, age_ms: float) -> SoftMask:
        """Log odds (h, w) that the pixels of a part of the thumb `now` are the object's."""
        left, top, right, bottom = part
        places = came_from[top:bottom, left:right] - np.array(self.part[:2], np.float32)
        depth = cv2.remap(self.depth, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        odds: SoftMask = np.clip(depth / SLOPE_PX, -MOST_UNITS, MOST_UNITS)
        if self.colors is None:
            return odds
        moved = came_from[top:bottom, left:right] - pixels(*now.gray.shape)[top:bottom, left:right]
        weight = _color_weight(moved[depth > 0] / max(now.gray.shape), age_ms)
        return odds + weight * self.colors.odds(now.rgb[top:bottom, left:right])


class Coaster(DriftEstimator):
    """Follows frames, and carries objects from one to another."""

    def carry(self, imprints: Sequence[Imprint], drift: Drift, now: Thumb, age_ms: float) -> list[ObjectMask]:
        """Objects as they should be on the newest frame.

        Args:
            imprints: of one earlier frame.
            drift: from the newest frame to that one.
            now: the newest frame.
            age_ms: time between the two.
        """
        came_from = drift.came_from()
        return [
            _lost_sight(imprint.found, age_ms)
            if drift.is_broken
            else carried(imprint, came_from, now, age_ms)
            for imprint in imprints
        ]


def carried(imprint: Imprint, came_from: Flow | None, now: Thumb, age_ms: float) -> ObjectMask:
    """An object on the frame `now`, whose pixels came from (h, w, 2) px of the one it was found on.

    Where that is not known the object is lost sight of.
    """
    found = imprint.found
    part = None if came_from is None or not found.box_xyxy.any() else imprint.reached(came_from)
    if came_from is None or part is None:
        return _lost_sight(found, age_ms)
    region, odds = _enlarged(imprint.odds(came_from, part, now, age_ms), part, now, found.mask.shape)
    x0, y0, x1, y1 = region
    mask = np.zeros_like(found.mask)
    mask[y0:y1, x0:x1] = inside = odds > 0
    if not inside.any():
        return _lost_sight(found, age_ms)
    box_xyxy = box_of_mask(inside) + np.array([x0, y0, x0, y0], np.int32)
    return _aged(replace(found, mask=mask, box_xyxy=box_xyxy, how=MaskOrigin.WARPED), age_ms)


def drawn(prompt: Prompt) -> ObjectMask:
    """An object as the user drew it, before its frame is encoded.

    Raises:
        ValueError: the prompt has no mask.
    """
    if prompt.mask is None:
        raise ValueError(f"prompt {prompt.object_id} has no mask")
    return ObjectMask(
        object_id=prompt.object_id,
        mask=prompt.mask,
        box_xyxy=box_of_mask(prompt.mask),
        predicted_iou=1.0,
        stability_score=1.0,
        state=TrackState.TRACKED,
        quality=apply_table(1.0, SHIPPED),
        how=MaskOrigin.REFINED,
    )


def held(found: ObjectMask, age_ms: float) -> ObjectMask:
    """An object as it was on an earlier frame, where there is no time to move it."""
    return _aged(replace(found, how=MaskOrigin.HELD), age_ms)


def resized(found: ObjectMask, hw: tuple[int, int]) -> ObjectMask:
    """An object on a picture of another size (h, w) that shows the same; as it is if the size is its own."""
    if found.mask.shape == hw:
        return found
    mask = resize_mask(found.mask, hw)
    return replace(found, mask=mask, box_xyxy=box_of_mask(mask))


def _aged(found: ObjectMask, age_ms: float) -> ObjectMask:
    """The object with evidence of that age: quality falls, and with it the state."""
    raw = invert_table(found.quality, SHIPPED) * 0.5 ** ((age_ms - found.age_ms) / HALF_LIFE_MS)
    quality = apply_table(raw, SHIPPED)
    is_unsure = found.state is TrackState.TRACKED and quality < UNSURE_QUALITY
    state = TrackState.UNCERTAIN if is_unsure else found.state
    return replace(found, quality=quality, state=state, age_ms=age_ms)


def _lost_sight(found: ObjectMask, age_ms: float) -> ObjectMask:
    """It left the picture, or the scene was cut, or it was not to be seen before."""
    was_seen = found.state in (TrackState.TRACKED, TrackState.UNCERTAIN)
    return replace(
        found,
        mask=np.zeros_like(found.mask),
        box_xyxy=np.zeros(4, np.int32),
        quality=0.0,
        state=TrackState.OCCLUDED if was_seen else found.state,
        how=MaskOrigin.WARPED,
        age_ms=age_ms,
    )


def _around(found: ObjectMask, thumb: Thumb, margin_px: int) -> Part:
    """An object's box and what is around it, px of the thumb; may reach beyond the picture's edge."""
    (height, width), (full_h, full_w) = thumb.gray.shape, found.mask.shape
    x0, y0, x1, y1 = found.box_xyxy.tolist()
    left, top = x0 * width // full_w, y0 * height // full_h
    right, bottom = -(-x1 * width // full_w), -(-y1 * height // full_h)
    return left - margin_px, top - margin_px, right + margin_px, bottom + margin_px


def _inside(part: Part, thumb: Thumb) -> Part:
    height, width = thumb.gray.shape
    left, top, right, bottom = part
    return max(0, left), max(0, top), min(width, right), min(height, bottom)


def _depth(inside: SoftMask) -> SoftMask:
    """Signed distance (h, w) px from the outline of an object that covers such a share of each pixel."""
    is_inside = inside > 0.5
    depth: SoftMask = np.where(is_inside, _to_others(is_inside) - 0.5, 0.5 - _to_others(~is_inside))
    on_outline = (np.abs(depth) < 1) & (inside > 0) & (inside < 1)
    depth[on_outline] = inside[on_outline] - 0.5  # within a pixel the share says it better
    return depth


def _to_others(chosen: BoolMask) -> SoftMask:
    """Distance of each chosen pixel (h, w) to the nearest one that is not, px; 0 for those."""
    distance: SoftMask = cv2.distanceTransform(chosen.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    return distance


def _colors(rgb: RgbImage, inside: SoftMask) -> Colors | None:
    own, around = inside > 0.9, inside < 0.1
    if min(np.count_nonzero(own), np.count_nonzero(around)) < LEAST_PX:
        return None
    return Colors.of(rgb, own, around)


def _color_weight(moved: NDArray[np.float32], age_ms: float) -> float:
    """How much colour counts for an object whose pixels (N, 2) have moved so far, in long sides."""
    way = float(np.hypot(moved[:, 0], moved[:, 1]).mean()) if len(moved) else 0.0
    return min(MOST_COLOR_WEIGHT, COLOR_WEIGHT * way) * min(1.0, age_ms / COLOR_FROM_MS)


def _enlarged(odds: SoftMask, part: Part, thumb: Thumb, hw: tuple[int, ...]) -> tuple[Part, SoftMask]:
    """Values (h, w) of a part of the thumb at the pixels of a picture of size `hw`: which, and the values."""
    scale_y, scale_x = thumb.gray.shape[0] / hw[0], thumb.gray.shape[1] / hw[1]
    left, top, right, bottom = part
    x0, y0 = int(left / scale_x), int(top / scale_y)
    x1, y1 = min(hw[1], math.ceil(right / scale_x)), min(hw[0], math.ceil(bottom / scale_y))
    # Pixel centres: the picture's pixel x lies at (x + 0.5) * scale - 0.5 on the thumb's grid.
    to_part = np.array(
        [
            [scale_x, 0, (x0 + 0.5) * scale_x - 0.5 - left],
            [0, scale_y, (y0 + 0.5) * scale_y - 0.5 - top],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (x1 - x0, y1 - y0)
    enlarged: SoftMask = cv2.warpAffine(odds, to_part, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return (x0, y0, x1, y1), enlarged
