"""Outlines drawn by the picture itself: a soft mask on the decoder's coarse grid, brought to full size.

In each small window of the picture the mask is taken for a linear function of colour, so that its outline
falls on the picture's own edges. The functions are fitted on a coarse grid and applied to fine pixels: He,
Sun, Tang, "Guided Image Filtering", TPAMI 2013, in the form of He, Sun, "Fast Guided Filter", 2015.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .motion import SoftMask
from .shrink import coarse_means, shrunk
from .soft_masks import LOW_RES_PX, to_original
from .types import BoolMask, ImageEmbedding, RgbImage

GRID_LONG_SIDE_PX = 128  # of the grid on which the functions are fitted; at least half of the low-res grid's
WINDOW_LOW_RES_PX = 4.0  # radius of a window, px of the low-res grid: as far off as an outline may be
RIDGE = 1e-6  # of the covariance of colours in 0..1: a window of one colour keeps the mask's mean
FINE_LONG_SIDE_PX = 1024  # the functions are applied at this size, and the mask of a larger picture enlarged
LEAST_IOU = 0.5  # with the mask as it was: edges may move an outline, not deny the object
TRACE = 0.02  # a soft mask below this is nothing

WHITE = 255.0
UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of a symmetric 3x3 matrix
WHOLE_MATRIX = (0, 1, 2, 1, 3, 4, 2, 4, 5)  # which of them stands where, row by row

Floats = NDArray[np.float64]
Region = tuple[slice, slice]  # rows and columns
WHOLE: Region = (slice(0, None), slice(0, None))
Pixels = NDArray[np.float32]  # (h, w, channels)


class Outliner:
    """One frame's colours, prepared once and used for all of its objects.

    Args:
        image: (H, W, 3) uint8 RGB, the frame.
        embedding: the same frame encoded; tells how the low-res grid lies on it.
    """

    def __init__(self, image: RgbImage, embedding: ImageEmbedding) -> None:
        self._embedding = embedding
        fine_hw = at_most(embedding.original_hw, FINE_LONG_SIDE_PX)
        half_low_res = max(embedding.input_hw) // LOW_RES_PX // 2
        grid_hw = at_most(embedding.original_hw, max(GRID_LONG_SIDE_PX, half_low_res))
        self._fine = shrunk(image, fine_hw)  # (h, w, 3) uint8
        self._grid = coarse_means(self._fine, grid_hw).astype(np.float64) / WHITE
        self._fine_hw, self._grid_hw = fine_hw, grid_hw
        low_res_y, low_res_x = _ratio(embedding.resized_hw, grid_hw)
        self._scale = (low_res_y / LOW_RES_PX, low_res_x / LOW_RES_PX)  # low-res px per px of the grid
        radius = max(1, round(WINDOW_LOW_RES_PX / self._scale[1]))
        self._window = (2 * radius + 1, 2 * radius + 1)
        self._mean = self._average(self._grid)
        self._inverse = _inverse(self._covariance())

    def to_original(self, soft: SoftMask) -> BoolMask:
        """The mask (H, W) bool of the original image, of a soft mask (4h, 4w) of this frame."""
        plain = to_original(soft, self._embedding)
        if not plain.any():
            return plain
        region, values = self._draw(soft)
        drawn, was = values > 0.5, plain[region]
        if np.count_nonzero(drawn & was) >= LEAST_IOU * np.count_nonzero(drawn | was):
            was[...] = drawn
        return plain

    def _draw(self, soft: SoftMask) -> tuple[Region, SoftMask]:
        """The soft mask at full size where there is any of it: where that is, and the values there."""
        grid_hw, fine_hw, hw = self._grid_hw, self._fine_hw, self._embedding.original_hw
        coarse = _zoom(soft, WHOLE, self._scale, (slice(0, grid_hw[0]), slice(0, grid_hw[1])))
        # Pixels as far as the outline may move; functions rest on windows of windows around them.
        radius = self._window[0] // 2
        part = _around(coarse > TRACE, margin=3 * radius + 1)
        fine = _same_place(_around(coarse > TRACE, margin=radius + 1), grid_hw, fine_hw)
        functions = self._fit(coarse[part].astype(np.float64), part)
        zoomed = _zoom(functions, part, _ratio(grid_hw, fine_hw), fine)
        with_white = cv2.cvtColor(self._fine[fine], cv2.COLOR_RGB2RGBA)  # colours 0..255 and a constant
        terms = cv2.multiply(zoomed, with_white, dtype=cv2.CV_32F)
        values: SoftMask = terms[..., 0] + terms[..., 1] + terms[..., 2] + terms[..., 3]
        if fine_hw == hw:
            return fine, values
        whole = _same_place(fine, fine_hw, hw)
        return whole, _zoom(values, fine, _ratio(fine_hw, hw), whole)

    def _fit(self, coarse: Floats, part: tuple[slice, slice]) -> Pixels:
        """Linear functions (h, w, 4) of colours 0..255 and a constant as large, averaged over windows."""
        mean = self._average(coarse)
        joint = self._average(self._grid[part] * coarse[..., None]) - self._mean[part] * mean[..., None]
        slope = (self._inverse[part] @ joint[..., None])[..., 0]
        offset = mean - (slope * self._mean[part]).sum(axis=2)
        return (self._average(np.dstack([slope, offset])) / WHITE).astype(np.float32)

    def _covariance(self) -> list[Floats]:
        """Of the colours in each window: the six (h, w) of UPPER."""
        colours, means = np.moveaxis(self._grid, 2, 0), np.moveaxis(self._mean, 2, 0)
        return [self._average(colours[i] * colours[j]) - means[i] * means[j] for i, j in UPPER]

    def _average(self, values: Floats) -> Floats:
        """Means over windows of (h, w) or (h, w, channels)."""
        return np.asarray(cv2.boxFilter(values, -1, self._window), np.float64)


def _inverse(upper: list[Floats]) -> Floats:
    """Of symmetric matrices, given as the six (h, w) of UPPER, with RIDGE on the diagonal: (h, w, 3, 3)."""
    a, b, c, d, e, f = (part + RIDGE * (i == j) for part, (i, j) in zip(upper, UPPER, strict=True))
    cofactors = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    determinant = a * cofactors[0] + b * cofactors[1] + c * cofactors[2]
    inverse = [cofactor / determinant for cofactor in cofactors]
    return np.dstack([inverse[k] for k in WHOLE_MATRIX]).reshape(*a.shape, 3, 3)


def at_most(hw: tuple[int, int], long_side_px: int) -> tuple[int, int]:
    """A size (h, w) made smaller where its long side is longer than this."""
    scale = min(1.0, long_side_px / max(hw))
    return max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))


def _ratio(a_hw: tuple[int, int], b_hw: tuple[int, int]) -> tuple[float, float]:
    """Pixels of grid a per pixel of grid b, y then x."""
    return a_hw[0] / b_hw[0], a_hw[1] / b_hw[1]


def _around(is_inside: BoolMask, margin: int) -> Region:
    """The rows and columns (h, w) of what is inside, and `margin` px more."""
    sides = (np.flatnonzero(is_inside.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(max(0, int(side[0]) - margin), int(side[-1]) + margin + 1) for side in sides)
    height, width = is_inside.shape
    return slice(rows.start, min(height, rows.stop)), slice(columns.start, min(width, columns.stop))


def _same_place(region: Region, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Region:
    """The pixels of another grid that lie in a region of this one."""
    scales = (to_hw[0] / from_hw[0], to_hw[1] / from_hw[1])
    rows, columns = (
        slice(int(side.start * scale), min(limit, int(np.ceil(side.stop * scale))))
        for side, scale, limit in zip(region, scales, to_hw, strict=True)
    )
    return rows, columns


def _zoom(values: Pixels, region: Region, scale: tuple[float, float], target: Region) -> Pixels:
    """Values of a region of one grid, interpolated at the pixels `target` of another.

    Args:
        values: (h, w) or (h, w, channels).
        region: where they lie on their grid.
        scale: pixels of their grid per pixel of the other, y then x.
        target: rows and columns of the other grid.
    """
    # Pixel centres: pixel x of the other grid lies at (x + 0.5) * scale - 0.5 of theirs.
    shifts = [
        (to.start + 0.5) * k - 0.5 - own.start for to, k, own in zip(target, scale, region, strict=True)
    ]
    from_target = np.array([[scale[1], 0, shifts[1]], [0, scale[0], shifts[0]]])
    size = (target[1].stop - target[1].start, target[0].stop - target[0].start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    zoomed: Pixels = cv2.warpAffine(values, from_target, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return zoomed
