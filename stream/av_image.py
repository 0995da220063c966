"""Decoded frames to upright RGB pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from maskstream.model.types import RgbImage
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Turn:
    """How a stored picture becomes the one to show: first x and y change places, then flips."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height in px after the turn."""
        return (height_px, width_px) if self.transpose else (width_px, height_px)

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The turned picture (H, W, 3)."""
        # OpenCV moves three-byte pixels several times faster than numpy does; colour order does not matter.
        if self.transpose:
            image = cv2.transpose(image)
        if self.flip_x or self.flip_y:
            image = cv2.flip(image, -1 if self.flip_x and self.flip_y else int(self.flip_x))
        return image


def turn_of(frame: VideoFrame) -> Turn:
    """The turn that a frame's display matrix asks for.

    Read from the matrix, because `frame.rotation` knows nothing of mirroring. Angles that are no quarter turn
    are left alone.
    """
    # Not `frame.side_data`: what it gives is kept in the frame and keeps the frame, so that pictures of many
    # MB would wait for Python's garbage collector, a hundred of them at a time.
    container = SideDataContainer(frame)  # type: ignore[call-arg]  # which PyAV's stub has forgotten
    data = cast("Mapping[str, Buffer]", container).get("DISPLAYMATRIX")
    if data is None:
        return Turn()
    # Row vectors: (x', y') = (a x + c y, b x + d y), 16.16 fixed point, rows padded to three.
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if a == d == 0 and b and c:
        return Turn(transpose=True, flip_x=c < 0, flip_y=b < 0)
    if b == c == 0 and a and d:
        return Turn(flip_x=a < 0, flip_y=d < 0)
    return Turn()


class RgbConverter:
    """Makes frames of any pixel format, range, colour matrix and size into upright RGB of that size."""

    def __init__(self, first: VideoFrame) -> None:
        self.width_px, self.height_px = turn_of(first).size(first.width, first.height)
        self._reformatter = VideoReformatter()

    def fits(self, frame: VideoFrame) -> bool:
        """Whether `frame` has the size of the first."""
        return turn_of(frame).size(frame.width, frame.height) == (self.width_px, self.height_px)

    def convert(self, frame: VideoFrame) -> RgbImage:
        """The upright picture (H, W, 3) RGB, C-contiguous."""
        # swscale reads matrix and range from the frame; without a matrix it takes BT.601, as ffmpeg does.
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        # PyAV gives a view with FFmpeg's row padding, which odd widths have.
        return np.ascontiguousarray(turn_of(frame).apply(cast("NDArray[np.uint8]", rgb.to_ndarray())))
