"""Where pixels came from: optical flow between frames, and masks moved along it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .types import RgbImage

FLOW_LONG_SIDE_PX = 512  # DIS on two cores: about 4 ms at this size
SoftMask = NDArray[np.float32]  # (h, w), 0..1


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Backward flow: the pixel at x now was at x + flow(x) in the previous frame."""

    flow: NDArray[np.float32]  # (h, w, 2) px of its own grid, x then y

    def warp(self, soft: SoftMask) -> SoftMask:
        """Move a soft mask (h, w) of the previous frame, any size, to where it is now."""
        height, width = soft.shape
        flow_h, flow_w = self.flow.shape[:2]
        flow = cv2.resize(self.flow, (width, height), interpolation=cv2.INTER_LINEAR)
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        from_x = columns + flow[..., 0] * np.float32(width / flow_w)
        from_y = rows + flow[..., 1] * np.float32(height / flow_h)
        moved: SoftMask = cv2.remap(soft, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return moved


class MotionEstimator:
    """Dense optical flow from each frame to the one before it (DIS, Kroeger et al., ECCV 2016)."""

    def __init__(self) -> None:
        create = cv2.DISOpticalFlow_create  # type: ignore[attr-defined]  # OpenCV's stubs miss it
        self._dis = create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._previous: NDArray[np.uint8] | None = None

    def step(self, image: RgbImage) -> Motion | None:
        """Motion from the previous image to this one (H, W, 3); None on the first and after a size change."""
        gray = _small_gray(image)
        previous, self._previous = self._previous, gray
        if previous is None or previous.shape != gray.shape:
            return None
        return Motion(self._dis.calc(gray, previous, None))


def _small_gray(image: RgbImage) -> NDArray[np.uint8]:
    scale = min(1.0, FLOW_LONG_SIDE_PX / max(image.shape[:2]))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = (max(16, round(side * scale)) for side in gray.shape)
    small: NDArray[np.uint8] = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
    return small
