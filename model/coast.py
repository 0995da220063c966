"""Masks on frames that are not encoded: carried along optical flow from the last one that was.

Flow is estimated from each frame to the one before it and composed, which follows an object farther than flow
straight from an old frame (docs/performance.md has the figures), and costs the same for every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .motion import CUT_AGREEMENT, GRAY_TOLERANCE, SoftMask
from .quality import SHIPPED, apply_table
from .tracker import TrackerSettings
from .types import BoolMask, MaskOrigin, ObjectMask, Prompt, RgbImage, TrackState, box_of_mask

COAST_LONG_SIDE_PX = 384
FINEST_SCALE = 1  # of the pyramid, 0 is full size: one finer than DIS's "fast", which pays at objects' edges
DESCENTS = 25  # gradient descent iterations; DIS's variational refinement makes masks worse, not better
HALF_LIFE_MS = 600.0  # of a carried mask's quality
UNSURE_QUALITY = TrackerSettings().unsure_quality

Flow = NDArray[np.float32]  # (h, w, 2) px of its own grid, x then y
Gray = NDArray[np.uint8]  # (h, w)
DenseFlow = Any  # OpenCV's stubs miss DISOpticalFlow
_AGREEMENT = np.exp(-np.square(np.arange(256) / GRAY_TOLERANCE)).astype(np.float32)  # by gray levels


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Where the newest frame's pixels were on an earlier frame: what is at x was at x + flow(x)."""

    origin: Gray  # the earlier frame, small; which object this is tells frames apart
    flow: Flow | None = None  # None: nothing has moved, for it is the very frame
    is_broken: bool = False  # a scene cut lies between, so that nothing can be said

    def then(self, step: Drift) -> Drift:
        """The drift to the same earlier frame from one frame later, which `step` leads back from."""
        if self.is_broken or step.is_broken or step.flow is None:
            return replace(self, is_broken=self.is_broken or step.is_broken)
        if self.flow is None:
            return replace(self, flow=step.flow)
        came_from = _pixels(*step.flow.shape[:2]) + step.flow
        before = cv2.remap(self.flow, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return replace(self, flow=cv2.add(step.flow, before))

    def move(self, mask: BoolMask, box_xyxy: NDArray[np.int32]) -> tuple[BoolMask, NDArray[np.int32]]:
        """An earlier mask (H, W) with its box as they are now; empty after a cut. Works in the box only."""
        moved, nowhere = np.zeros_like(mask), np.zeros(4, np.int32)
        if self.is_broken or not box_xyxy.any():
            return moved, nowhere
        if self.flow is None:
            return mask, box_xyxy
        left, top, right, bottom = _reached(self.flow, box_xyxy, mask.shape)
        if left >= right or top >= bottom:
            return moved, nowhere
        came_from = _came_from(self.flow, (left, top, right, bottom), mask.shape)
        # What comes into view beside an object that the picture's edge cuts off is more of the object.
        edges = cv2.BORDER_REPLICATE
        part = cv2.remap(mask.view(np.uint8), came_from, None, cv2.INTER_LINEAR, borderMode=edges)
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        if not rows.size:
            return moved, nowhere
        moved[top:bottom, left:right] = part.view(np.bool_)
        box = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
        return moved, np.array(box, np.int32)


def carried(found: ObjectMask, drift: Drift, age_ms: float) -> ObjectMask:
    """An object of an earlier frame as it should be now.

    Args:
        found: the object on the frame that `drift` leads back to.
        drift: from now to that frame.
        age_ms: of the evidence, now.
    """
    mask, box_xyxy = drift.move(found.mask, found.box_xyxy)
    moved = replace(found, mask=mask, box_xyxy=box_xyxy, how=MaskOrigin.WARPED)
    return _aged(moved, age_ms)


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
    mask = cv2.resize(found.mask.view(np.uint8), hw[::-1], interpolation=cv2.INTER_NEAREST).view(np.bool_)
    return replace(found, mask=mask, box_xyxy=box_of_mask(mask))


def _aged(found: ObjectMask, age_ms: float) -> ObjectMask:
    """The object with evidence of that age: quality falls, and with it the state."""
    if not found.box_xyxy.any():  # it left the picture, or the scene was cut
        is_waited_for = found.state in (TrackState.TRACKED, TrackState.UNCERTAIN)
        state = TrackState.OCCLUDED if is_waited_for else found.state
        return replace(found, quality=0.0, state=state, age_ms=age_ms)
    quality = found.quality * 0.5 ** ((age_ms - found.age_ms) / HALF_LIFE_MS)
    is_unsure = found.state is TrackState.TRACKED and quality < UNSURE_QUALITY
    state = TrackState.UNCERTAIN if is_unsure else found.state
    return replace(found, quality=quality, state=state, age_ms=age_ms)


class Coaster:
    """Estimates the drift from each frame to the one before it, and carries objects along."""

    def __init__(self) -> None:
        self._estimator = flow_estimator()
        self._newest: Gray | None = None
        self._flow: Flow | None = None  # of the newest frame

    def restart(self, image: RgbImage) -> Drift:
        """A frame's (H, W, 3) own drift, where none to the frame before is wanted: cheaper than `step`."""
        self._newest, self._flow = small_gray(image), None
        return Drift(self._newest)

    def step(self, image: RgbImage) -> tuple[Drift, Drift]:
        """A frame's (H, W, 3) drift to the one given before, broken where there is none; and its own."""
        gray = small_gray(image)
        before, self._newest = self._newest, gray
        if before is None or before.shape != gray.shape:
            # DIS keeps buffers of the old size, and reads beyond them when it is given a flow to begin with.
            self._estimator = flow_estimator()
            self._flow = None
            return Drift(gray, is_broken=True), Drift(gray)
        flow: Flow = self._estimator.calc(gray, before, self._guess())
        is_cut = float(agreement(gray, before, flow).mean()) < CUT_AGREEMENT
        self._flow = None if is_cut else flow
        return Drift(before, flow, is_cut), Drift(gray)

    def _guess(self) -> Flow | None:
        """Things go on as they did: the last flow, moved along itself."""
        last = self._flow
        if last is None:
            return None
        ahead: Flow = cv2.remap(
            last, _pixels(*last.shape[:2]) + last, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return ahead

    def carry(self, objects: Sequence[ObjectMask], drift: Drift, age_ms: float) -> list[ObjectMask]:
        """Objects of an earlier frame as they should be now; see `carried`."""
        return [carried(found, drift, age_ms) for found in objects]


def flow_estimator() -> DenseFlow:
    """DIS (Kroeger et al., ECCV 2016) as fine as the time between two frames allows."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)  # type: ignore[attr-defined]
    dis.setFinestScale(FINEST_SCALE)
    dis.setGradientDescentIterations(DESCENTS)
    return dis


def small_gray(image: RgbImage) -> Gray:
    """A frame (H, W, 3) as flow sees it."""
    height, width = image.shape[:2]
    scale = min(1.0, COAST_LONG_SIDE_PX / max(height, width))
    size = max(16, round(width * scale)), max(16, round(height * scale))
    gray: Gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return gray


def agreement(gray: Gray, before: Gray, flow: Flow) -> SoftMask:
    """How much each pixel (h, w) looks like where it came from, 0..1."""
    came_from = _pixels(*gray.shape) + flow
    moved = cv2.remap(before, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.blur(cv2.absdiff(gray, moved), (5, 5))
    agrees: SoftMask = cv2.LUT(difference, _AGREEMENT)
    return agrees


def _reached(flow: Flow, box_xyxy: NDArray[np.int32], hw: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of the picture (H, W) whose pixels came from a box, in px of the picture: half-open box."""
    grid_h, grid_w = flow.shape[:2]
    scale_y, scale_x = hw[0] / grid_h, hw[1] / grid_w
    x0, y0, x1, y1 = box_xyxy / np.array([scale_x, scale_y, scale_x, scale_y]) + [-1, -1, 0, 0]
    x, y = cv2.split(_pixels(grid_h, grid_w) + flow)
    np.clip(x, 0, grid_w - 1, out=x)
    np.clip(y, 0, grid_h - 1, out=y)
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return 0, 0, 0, 0
    left, top = int((columns[0] - 1) * scale_x), int((rows[0] - 1) * scale_y)
    right, bottom = int((columns[-1] + 2) * scale_x), int((rows[-1] + 2) * scale_y)
    return max(0, left), max(0, top), min(hw[1], right), min(hw[0], bottom)


def _came_from(flow: Flow, part: tuple[int, int, int, int], hw: tuple[int, ...]) -> Flow:
    """Where each pixel of a part of the picture was: (h, w, 2) px of the picture (H, W)."""
    left, top, right, bottom = part
    scale_y, scale_x = flow.shape[0] / hw[0], flow.shape[1] / hw[1]
    # Pixel centres: the picture's pixel x lies at (x + 0.5) * scale - 0.5 on the flow's grid.
    to_grid = np.array(
        [[scale_x, 0, (left + 0.5) * scale_x - 0.5], [0, scale_y, (top + 0.5) * scale_y - 0.5]]
    )
    size = (right - left, bottom - top)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moves: Flow = cv2.warpAffine(flow, to_grid, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    moves *= np.array([1 / scale_x, 1 / scale_y], np.float32)
    moves[..., 0] += np.arange(left, right, dtype=np.float32)
    moves[..., 1] += np.arange(top, bottom, dtype=np.float32)[:, None]
    return moves


@lru_cache(maxsize=4)
def _pixels(height: int, width: int) -> Flow:
    """Every pixel's own place (h, w, 2), x then y; not to be written to."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.dstack([columns, rows])
