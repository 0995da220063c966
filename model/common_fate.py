"""Pieces of a map that are no part of the object: apart from its body, they move as their surroundings do.

Where features are coarse, what an object touches can join its mask, and is then learned as a part of it. It
gives itself away once the object moves on: what moves together belongs together (the Gestalt law of common
fate; Wertheimer, "Untersuchungen zur Lehre von der Gestalt II", 1923).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .motion import Motion, SoftMask, pixels
from .soft_masks import square
from .types import BoolMask

# As shares of the picture's long side:
GAP = 0.012  # pieces that are nearer to each other than this are one
AROUND = 0.1  # how far a piece's surroundings reach
LEAST_MOTION = 1 / 512  # a frame, of the body against a piece's surroundings, so that they can be told apart
LEAST_KNOWN = 0.05  # of a piece's surroundings must be known background

Floats = NDArray[np.float64]


def strangers_in(soft_map: SoftMask, background: SoftMask, motion: Motion, likeness: float) -> BoolMask:
    """Where (4h, 4w) pieces of a map are that are no part of the object.

    Args:
        soft_map: (4h, 4w), where the object should be; its largest piece is its body.
        background: (4h, 4w), what of this frame is known to be something else.
        motion: from the previous frame to this one.
        likeness: a piece whose motion differs from its surroundings' by less than so much of what it differs
            from the body's is no part of the object.
    """
    inside = soft_map > 0.5
    widened = cv2.dilate(inside.astype(np.uint8), square(gap_px(inside.shape)))
    count, pieces = cv2.connectedComponents(widened)
    if count < 3:  # the body, and piece 0, which is the rest of the picture
        return np.zeros_like(inside)
    areas, own, around, known = _measure(np.where(inside, pieces, 0), count, background, motion)
    body, long_side = int(np.argmax(areas)), max(inside.shape)
    is_told = (known > LEAST_KNOWN) & (_length(own[body] - around) > LEAST_MOTION * long_side)
    is_stranger = is_told & (_length(own - around) < likeness * _length(own - own[body]))
    strangers: BoolMask = is_stranger[pieces] & inside
    return strangers


def gap_px(hw: tuple[int, ...]) -> int:
    """By how many pixels pieces of masks (h, w) are widened to see which are one."""
    return max(1, round(GAP / 2 * max(hw)))


def window_px(hw: tuple[int, ...]) -> int:
    """The side of the square around a pixel of masks (h, w) that is its surroundings."""
    return 2 * round(AROUND * max(hw)) + 1


def _measure(
    pieces: NDArray[np.int32], count: int, background: SoftMask, motion: Motion
) -> tuple[Floats, Floats, Floats, Floats]:
    """Of each piece (N,) its area, its motion (N, 2) px, its surroundings', and how far these are known."""
    flow = cv2.subtract(motion.came_from(*pieces.shape), pixels(*pieces.shape))
    x, y = cv2.split(flow)
    moving = cv2.merge([cv2.multiply(x, background), cv2.multiply(y, background), background])
    window = (window_px(pieces.shape),) * 2
    inside = np.flatnonzero(pieces)
    labels, own = pieces.reshape(-1)[inside], flow.reshape(-1, 2)[inside]
    around = cv2.boxFilter(moving, -1, window).reshape(-1, 3)[inside]
    known = around[:, 2:]
    values = np.hstack([own, around[:, :2] / np.maximum(known, LEAST_KNOWN), known])
    areas = np.bincount(labels, minlength=count).astype(np.float64)
    sums = [np.bincount(labels, weights=channel, minlength=count) for channel in values.T]
    means = np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None]
    return areas, means[:, :2], means[:, 2:4], means[:, 4]


def _length(vectors: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(vectors, axis=-1)
    return lengths
