"""Connected parts of many masks at once, in a number of steps that does not hang on what is in them.

A device that computes aside cannot be asked after each step whether another one is needed without waiting for
it, and a recording of its work has no branches. So the number of steps is fixed: enough for all masks met.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Masks of real objects need 3 to 5 rounds, a spiral that fills 256x256 px needs 8. What needs more falls into
# several parts, of which the largest count: a box may then miss an end.
ROUNDS = 8
JUMPS = 3  # in a round, along chains of numbers


def parts_of(is_inside: Tensor) -> Tensor:
    """Which part each pixel is of, for masks (N, h, w) bool: (N, h * w) int64, 0 outside of all.

    Pixels that touch by a corner are of one part, as in OpenCV's connectedComponents. A part's number is its
    last pixel's, counted from 1. In a round each pixel takes the largest number among its neighbours, and so
    does the pixel that its number names; then it follows the names (Shiloach, Vishkin, 1982).
    """
    inside = is_inside.flatten(1)
    numbers = torch.arange(1, inside.shape[1] + 1, device=inside.device)
    parts = numbers * inside
    for _ in range(ROUNDS):
        near = functional.max_pool2d(parts.view_as(is_inside).float(), 3, stride=1, padding=1)
        largest = near.flatten(1).long() * inside
        # Who has nothing new to tell writes to itself: thousands at one place would wait for each other.
        told = torch.where(largest > parts, parts, numbers)
        named = functional.pad(parts, (1, 0)).scatter_reduce(1, told, largest, "amax")
        for _ in range(JUMPS):
            parts = named.gather(1, parts)
    return parts


def sums_of(values: Tensor, parts: Tensor) -> Tensor:
    """The sum of values (N, h * w) int64 in each pixel's own part; 0 outside of all.

    Whole numbers, so that their order does not matter, which differs from run to run on a GPU.
    """
    pixels = parts.shape[1]
    sums = values.new_zeros(len(parts), pixels + 1).scatter_add(1, parts, values)
    return sums.gather(1, parts) * (parts > 0)


def box_around(is_inside: Tensor) -> Tensor:
    """Tight half-open boxes (N, 4) int64 x0,y0,x1,y1 px of masks (N, h, w) bool; zeros for an empty one."""
    left, right = _span(is_inside.any(dim=1))
    top, bottom = _span(is_inside.any(dim=2))
    return torch.stack([left, top, right, bottom], dim=1)


def _span(is_inside: Tensor) -> tuple[Tensor, Tensor]:
    """First place inside and the one after the last (N,), of (N, n) bool; zeros where none is."""
    length = is_inside.shape[1]
    places = torch.arange(length, device=is_inside.device)
    first = torch.where(is_inside, places, length).amin(dim=1)
    end = torch.where(is_inside, places + 1, 0).amax(dim=1)
    return torch.minimum(first, end), end
