"""Pieces of many objects' maps that are no part of them: common_fate.py for all at once."""

from __future__ import annotations

import torch
from torch import Tensor

from .batch_masks import box_filter, dilate, places_of
from .batch_parts import parts_of, sums_of
from .common_fate import LEAST_KNOWN, LEAST_MOTION, gap_px, window_px

STEPS = 2**10  # in a pixel of motion: sums are of whole numbers, see `sums_of`


class BatchFate:
    """Tells strangers in maps (N, h, w).

    Args:
        hw: the maps' size.
        device: where they are.
    """

    def __init__(self, hw: tuple[int, int], device: torch.device) -> None:
        self._gap_px, self._least_px = gap_px(hw), LEAST_MOTION * max(hw)
        self._mean = box_filter(window_px(hw), hw, device, torch.float32)
        self._places = places_of(hw, (1, 1), device)

    def strangers_in(
        self, soft_map: Tensor, background: Tensor, came_from: Tensor, likeness: float
    ) -> Tensor:
        """See `common_fate.strangers_in`: (N, h, w) bool.

        Args:
            soft_map: (N, h, w), where the objects should be.
            background: (N, h, w), what of this frame is known to be something else.
            came_from: (h, w, 2) px, where each pixel was on the frame before.
            likeness: see there.
        """
        inside = soft_map > 0.5
        pieces = parts_of(dilate(inside.float(), self._gap_px) > 0) * inside.flatten(1)
        areas = sums_of(torch.ones_like(pieces), pieces)
        flow = (came_from - self._places).movedim(2, 0)[:, None]  # (2, 1, h, w)
        known = self._mean(background)
        around = self._mean(flow * background) / known.clamp(min=LEAST_KNOWN)  # (2, N, h, w)
        own_x, own_y, around_x, around_y, is_known = (
            _means(values.expand_as(known), pieces, areas) for values in (*flow, *around, known)
        )
        is_body = (areas == areas.amax(dim=1, keepdim=True)) & (pieces > 0)
        body_x, body_y = (_mean_over(is_body, values) for values in (own_x, own_y))
        is_told = (is_known > LEAST_KNOWN) & (
            torch.hypot(body_x - around_x, body_y - around_y) > self._least_px
        )
        from_around = torch.hypot(own_x - around_x, own_y - around_y)
        from_body = torch.hypot(own_x - body_x, own_y - body_y)
        return (is_told & (from_around < likeness * from_body)).view_as(inside)


def _means(values: Tensor, pieces: Tensor, areas: Tensor) -> Tensor:
    """The mean of values (N, h, w) in each pixel's own piece (N, h * w); 0 outside of all."""
    sums = sums_of((values.flatten(1) * STEPS).round().long(), pieces)
    return sums / (STEPS * areas.clamp(min=1))


def _mean_over(is_inside: Tensor, values: Tensor) -> Tensor:
    """(N, 1), of values (N, P) where they are inside."""
    return (values * is_inside).sum(dim=1, keepdim=True) / is_inside.sum(dim=1, keepdim=True).clamp(min=1)
