"""Outlines drawn by the picture itself: outline.py for many objects at once, over the whole picture.

What depends on the picture alone is worked out once for all objects; the full size is reached by a few
objects at a time, so that memory stays bounded however many there are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .batch_masks import area_means, area_of, box_filter, linear_zoom, places_of, sample
from .batch_rows import FrameShape
from .device_image import resize
from .outline import (
    FINE_LONG_SIDE_PX,
    GRID_LONG_SIDE_PX,
    LEAST_IOU,
    RIDGE,
    WINDOW_LOW_RES_PX,
    at_most,
)
from .soft_masks import LOW_RES_PX

MOST_PX = 2**24  # of full size worked on together: 64 MiB for a number each


class BatchOutliner:
    """Brings soft masks of frames of one shape to full size.

    Args:
        shape: of the frames.
        device: where they are.
    """

    def __init__(self, shape: FrameShape, device: torch.device) -> None:
        self._hw = shape.original_hw
        self._fine_hw = at_most(self._hw, FINE_LONG_SIDE_PX)
        grid_hw = at_most(self._hw, max(GRID_LONG_SIDE_PX, max(shape.low_res_hw) // 2))
        per_grid_px, per_fine_px = (_low_res_px_per_px(shape, hw) for hw in (grid_hw, self._fine_hw))
        radius = max(1, round(WINDOW_LOW_RES_PX / per_grid_px[1]))
        self._to_grid = area_means(self._fine_hw, grid_hw, device)
        self._average = box_filter(2 * radius + 1, grid_hw, device, torch.float64)
        self._zoom = linear_zoom(shape.low_res_hw, grid_hw, per_grid_px, device)
        self._places = places_of(self._fine_hw, per_fine_px, device)
        self._together = max(1, MOST_PX // (self._hw[0] * self._hw[1]))

    def to_original(self, image: Tensor, soft: Tensor) -> Tensor:
        """Masks (N, H, W) bool of soft masks (N, 4h, 4w).

        Args:
            image: (1, 3, H, W) uint8 RGB, the frame.
            soft: masks on it.
        """
        fine = resize(image, self._fine_hw)[0] / 255  # (3, fh, fw)
        functions = self._functions(self._to_grid(fine).double(), self._zoom(soft).double())
        masks = torch.empty(len(soft), *self._hw, dtype=torch.bool, device=soft.device)
        for start in range(0, len(soft), self._together):
            some = slice(start, start + self._together)
            values = self._draw(fine, functions[some], soft[some])
            masks[some] = _enlarged(values[:, None], self._hw)[:, 0] > 0.5
        return masks

    def _functions(self, colours: Tensor, coarse: Tensor) -> Tensor:
        """Linear functions of colour, three slopes and an offset, averaged over windows: (N, 4, gh, gw).

        Args:
            colours: (3, gh, gw) float64, 0..1.
            coarse: (N, gh, gw) float64, soft masks.
        """
        average = self._average
        mean_colour, mean = average(colours), average(coarse)
        moments = average(colours[:, None] * colours)  # (3, 3, gh, gw)
        inverse = _inverse(moments - mean_colour[:, None] * mean_colour)
        joint = average(coarse[:, None] * colours) - mean[:, None] * mean_colour  # (N, 3, gh, gw)
        slope = (inverse * joint[:, None]).sum(dim=2)
        offset = mean - (slope * mean_colour).sum(dim=1)
        return average(torch.cat([slope, offset[:, None]], dim=1)).float()

    def _draw(self, fine: Tensor, functions: Tensor, soft: Tensor) -> Tensor:
        """Values (N, fh, fw) of the functions at fine pixels; the masks themselves where those deny them."""
        zoomed = _enlarged(functions, self._fine_hw)
        drawn = (zoomed[:, :3] * fine).sum(dim=1) + zoomed[:, 3]
        plain = sample(soft[:, None], self._places)[:, 0]
        now, before = drawn > 0.5, plain > 0.5
        is_like = area_of(now & before) >= LEAST_IOU * area_of(now | before)
        is_drawn = is_like & (area_of(before) > 0)
        return torch.where(is_drawn[:, None, None], drawn, plain)


def _low_res_px_per_px(shape: FrameShape, hw: tuple[int, int]) -> tuple[float, float]:
    """How many low-res px a pixel of the picture at another size (h, w) covers, y then x."""
    return shape.resized_hw[0] / hw[0] / LOW_RES_PX, shape.resized_hw[1] / hw[1] / LOW_RES_PX


def _enlarged(pictures: Tensor, hw: tuple[int, int]) -> Tensor:
    if pictures.shape[2:] == hw:
        return pictures
    return functional.interpolate(pictures, hw, mode="bilinear", align_corners=False)


def _inverse(covariance: Tensor) -> Tensor:
    """Of symmetric matrices (3, 3, h, w) with RIDGE on the diagonal, by their cofactors."""
    (a, b, c), (_, d, e), (_, _, f) = (row.unbind(0) for row in covariance.unbind(0))
    a, d, f = a + RIDGE, d + RIDGE, f + RIDGE
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    rows = [
        torch.stack([first, second, third]),
        torch.stack([second, a * f - c * c, b * c - a * e]),
        torch.stack([third, b * c - a * e, a * d - b * b]),
    ]
    return torch.stack(rows) / (a * first + b * second + c * third)
