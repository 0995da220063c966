"""Where pixels came from: optical flow between frames, and masks moved along it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .shrink import shrunk
from .types import RgbImage

FLOW_LONG_SIDE_PX = 512  # DIS on one core: about 1 ms at this size
GRAY_TOLERANCE = 12.0  # gray levels by which a moved pixel may differ and still be the same thing
CUT_AGREEMENT = 0.2  # mean agreement below which two frames do not show one scene

SoftMask = NDArray[np.float32]  # (h, w), 0..1


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Backward flow: the pixel at x now was at x + flow(x) in the previous frame."""

    flow: NDArray[np.float32]  # (h, w, 2) px of its own grid, x then y
    agreement: SoftMask  # (h, w), how much the previous frame, moved, looks like this one
    _places: dict[tuple[int, int], NDArray[np.float32]] = field(default_factory=dict, repr=False)
    _agreements: dict[tuple[int, int], SoftMask] = field(default_factory=dict, repr=False)

    @property
    def is_cut(self) -> bool:
        """Whether the two frames show different scenes: no flow explains one by the other."""
        return float(self.agreement.mean()) < CUT_AGREEMENT

    def warp(self, soft: SoftMask) -> SoftMask:
        """Move a soft mask (h, w) of the previous frame, any size, to where it is now."""
        came_from = self.came_from(soft.shape[0], soft.shape[1])
        moved: SoftMask = cv2.remap(soft, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return moved

    def agreement_at(self, hw: tuple[int, int]) -> SoftMask:
        """The agreement at another size (h, w); kept, as all objects ask for the same."""
        if hw not in self._agreements:
            self._agreements[hw] = cv2.resize(self.agreement, hw[::-1], interpolation=cv2.INTER_LINEAR)
        return self._agreements[hw]

    def came_from(self, height: int, width: int) -> NDArray[np.float32]:
        """Where each pixel of a grid of another size was (h, w, 2); kept, as all objects ask for the same."""
        if (height, width) not in self._places:
            flow_h, flow_w = self.flow.shape[:2]
            flow = cv2.resize(self.flow, (width, height), interpolation=cv2.INTER_LINEAR)
            flow = cv2.multiply(flow, (width / flow_w, height / flow_h, 0, 0))
            self._places[height, width] = pixels(height, width) + flow
        return self._places[height, width]


class MotionEstimator:
    """Dense optical flow from each frame to the one before it (DIS, Kroeger et al., ECCV 2016)."""

    def __init__(self) -> None:
        create = cv2.DISOpticalFlow_create  # type: ignore[attr-defined]  # OpenCV's stubs miss it
        self._dis = create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._previous: NDArray[np.uint8] | None = None

    def step(self, image: RgbImage) -> Motion | None:
        """Motion from the previous image to this one (H, W, 3); None on the first and after a size change."""
        gray = _small_gray(image)
        previous, self._previous = self._previous, gray
        if previous is None or previous.shape != gray.shape:
            return None
        flow = self._dis.calc(gray, previous, None)
        return Motion(flow, _agreement(gray, previous, flow))

    def forget(self) -> None:
        """The next image does not follow the last one: there is no motion between them."""
        self._previous = None


def _small_gray(image: RgbImage) -> NDArray[np.uint8]:
    scale = min(1.0, FLOW_LONG_SIDE_PX / max(image.shape[:2]))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = (max(16, round(side * scale)) for side in gray.shape)
    return shrunk(gray, (height, width))


def _agreement(gray: NDArray[np.uint8], previous: NDArray[np.uint8], flow: NDArray[np.float32]) -> SoftMask:
    """How much each pixel looks like where it came from: 0 different or from outside."""
    came_from = pixels(*gray.shape) + flow
    moved = cv2.remap(previous, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.boxFilter(cv2.absdiff(gray, moved), cv2.CV_32F, (5, 5))
    inside = cv2.inRange(came_from, (0, 0), (gray.shape[1] - 1, gray.shape[0] - 1))
    agrees = cv2.exp(cv2.multiply(difference, difference, scale=-(GRAY_TOLERANCE**-2)))
    agreement: SoftMask = cv2.copyTo(agrees, inside)
    return agreement


@lru_cache(maxsize=8)
def pixels(height: int, width: int) -> NDArray[np.float32]:
    """Every pixel's own place (h, w, 2), x then y; not to be written to."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = np.dstack([columns, rows])
    places.flags.writeable = False
    return places
