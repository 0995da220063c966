"""Which colours are an object's and which are around it: learned on one frame, asked on those that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .motion import SoftMask
from .types import BoolMask, RgbImage

BINS = (16, 32, 32)  # luma, and finer the two colour differences, which light changes less
SPREAD = (0.0625, 0.25, 0.375, 0.25, 0.0625)  # of a colour over neighbouring bins: noise, and change of light
MOST_ODDS = 3.0  # log odds that one pixel's colour may give
LEAST_SHARE = 1e-5  # of all pixels: a rarer colour says nothing
WINDOW_PX = 5  # odds are averaged over such a square: single pixels lie

Odds = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Colors:
    """The log odds of object against surroundings, for each colour."""

    table: Odds  # (16 * 32 * 32,)

    @classmethod
    def of(cls, rgb: RgbImage, inside: BoolMask, around: BoolMask) -> Colors:
        """From a picture (h, w, 3), where the object surely is, and where its surroundings are."""
        bins = _bins(rgb)
        own, other = _shares(bins[inside]), _shares(bins[around])
        return cls(np.clip(np.log(own / other), -MOST_ODDS, MOST_ODDS).ravel())

    def odds(self, rgb: RgbImage) -> SoftMask:
        """Log odds of each pixel (h, w) of a picture (h, w, 3), from its colour and its neighbours'."""
        averaged: SoftMask = cv2.blur(self.table[_bins(rgb)], (WINDOW_PX, WINDOW_PX))
        return averaged


def _bins(rgb: RgbImage) -> NDArray[np.int32]:
    luma, red, blue = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    bins: NDArray[np.int32] = (
        (luma >> 4).astype(np.int32) * (32 * 32) + (red >> 3) * np.int32(32) + (blue >> 3)
    )
    return bins


def _shares(bins: NDArray[np.int32]) -> Odds:
    """The share of each colour (16, 32, 32), spread over its neighbours."""
    counts: Odds = np.bincount(bins, minlength=math.prod(BINS)).astype(np.float32).reshape(BINS)
    for axis, number in enumerate(BINS):
        padded = np.pad(counts, [(2, 2) if other == axis else (0, 0) for other in range(3)])
        near = np.stack([padded.take(range(shift, shift + number), axis) for shift in range(len(SPREAD))])
        counts = np.tensordot(np.array(SPREAD, np.float32), near, axes=1)
    return counts / np.float32(max(1, len(bins))) + np.float32(LEAST_SHARE)
