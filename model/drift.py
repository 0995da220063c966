"""How a picture moves, frame by frame: small dense flow, composed over as many frames as are wanted.

Flow from each frame to the one before it, composed, follows a thing farther than flow straight from an old
frame, and costs the same for every frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .motion import CUT_AGREEMENT, GRAY_TOLERANCE, SoftMask, pixels
from .shrink import shrunk
from .types import RgbImage

THUMB_LONG_SIDE_PX = 384
FINEST_SCALE = 1  # of the pyramid, 0 is full size: one finer than DIS's "fast", which pays at objects' edges
DESCENTS = 25  # gradient descent iterations; DIS's variational refinement makes masks worse, not better

Flow = NDArray[np.float32]  # (h, w, 2) px of its own grid, x then y
Gray = NDArray[np.uint8]  # (h, w)
DenseFlow = Any  # OpenCV's stubs miss DISOpticalFlow
_AGREEMENT = np.exp(-np.square(np.arange(256) / GRAY_TOLERANCE)).astype(np.float32)  # by gray levels


@dataclass(frozen=True, slots=True, eq=False)
class Thumb:
    """A frame, small; which object it is tells frames apart."""

    rgb: RgbImage  # (h, w, 3) uint8
    gray: Gray  # (h, w)

    @classmethod
    def of(cls, image: RgbImage) -> Thumb:
        """Of a frame (H, W, 3)."""
        height, width = image.shape[:2]
        scale = min(1.0, THUMB_LONG_SIDE_PX / max(height, width))
        rgb: RgbImage = shrunk(image, (max(16, round(height * scale)), max(16, round(width * scale))))
        return cls(rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Where the newest frame's pixels were on an earlier frame: what is at x was at x + flow(x)."""

    origin: Thumb  # the earlier frame
    flow: Flow | None = None  # on the thumb's grid; None: nothing has moved, for it is the very frame
    is_broken: bool = False  # a scene cut lies between, so that nothing can be said

    def then(self, step: Drift) -> Drift:
        """The drift to the same earlier frame from one frame later, which `step` leads back from."""
        if self.is_broken or step.is_broken or step.flow is None:
            return replace(self, is_broken=self.is_broken or step.is_broken)
        if self.flow is None:
            return replace(self, flow=step.flow)
        return replace(self, flow=cv2.add(step.flow, _sampled(self.flow, step.flow)))

    def came_from(self) -> Flow:
        """Where each pixel was (h, w, 2), px of the thumb's grid; beyond the picture's edge it was at it."""
        height, width = self.origin.gray.shape
        places = pixels(height, width) if self.flow is None else pixels(height, width) + self.flow
        inside: Flow = np.clip(places, 0, np.array([width - 1, height - 1], np.float32))
        return inside


class DriftEstimator:
    """Estimates the drift from each frame to the one before it."""

    def __init__(self) -> None:
        self._estimator = flow_estimator()
        self._newest: Thumb | None = None
        self._flow: Flow | None = None  # of the newest frame

    def restart(self, image: RgbImage) -> Drift:
        """A frame's (H, W, 3) own drift, where none to the frame before is wanted: cheaper than `step`."""
        self._newest, self._flow = Thumb.of(image), None
        return Drift(self._newest)

    def step(self, image: RgbImage) -> tuple[Drift, Drift]:
        """A frame's (H, W, 3) drift to the one given before, broken where there is none; and its own."""
        before, guess = self._newest, self._guess()
        own = self.restart(image)
        now = own.origin.gray
        if before is None or before.gray.shape != now.shape:
            # DIS keeps buffers of the old size, and reads beyond them when it is given a flow to begin with.
            self._estimator = flow_estimator()
            return replace(own, is_broken=True), own
        flow: Flow = self._estimator.calc(now, before.gray, guess)
        is_cut = float(agreement(now, before.gray, flow).mean()) < CUT_AGREEMENT
        self._flow = None if is_cut else flow
        return Drift(before, flow, is_cut), own

    def _guess(self) -> Flow | None:
        """Things go on as they did: the last flow, moved along itself."""
        return None if self._flow is None else _sampled(self._flow, self._flow)


def flow_estimator() -> DenseFlow:
    """DIS (Kroeger et al., ECCV 2016) as fine as the time between two frames allows."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)  # type: ignore[attr-defined]
    dis.setFinestScale(FINEST_SCALE)
    dis.setGradientDescentIterations(DESCENTS)
    return dis


def agreement(gray: Gray, before: Gray, flow: Flow) -> SoftMask:
    """How much each pixel (h, w) looks like where it came from, 0..1."""
    came_from = pixels(*gray.shape) + flow
    moved = cv2.remap(before, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.blur(cv2.absdiff(gray, moved), (5, 5))
    agrees: SoftMask = cv2.LUT(difference, _AGREEMENT)
    return agrees


def _sampled(flow: Flow, step: Flow) -> Flow:
    """An earlier flow (h, w, 2) at the places where a step leads back to."""
    came_from = pixels(*step.shape[:2]) + step
    sampled: Flow = cv2.remap(flow, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled
