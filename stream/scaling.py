"""Prompts that were given on a picture of one size, for a picture of another: a camera may change its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from maskstream.model.types import Prompt
from numpy.typing import NDArray

Pixels = NDArray[np.float32] | NDArray[np.int32]


def scaled_prompt(prompt: Prompt, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Prompt:
    """The same parts of the picture, after it has become `to_hw` large; each axis by itself, as % are.

    Raises:
        PromptError: it reaches outside the picture that it was given for, or nothing is left of its mask.
    """
    prompt.check_inside(from_hw)
    if from_hw == to_hw:
        return prompt
    # Here and not above: it loads OpenCV and PyTorch, which a command that is refused need not wait for.
    from maskstream.model.geometry import resize_mask

    return replace(
        prompt,
        points_xy=_below(scaled_xy(prompt.points_xy, from_hw, to_hw), to_hw),
        box_xyxy=None if prompt.box_xyxy is None else scaled_xy(prompt.box_xyxy, from_hw, to_hw),
        mask=None if prompt.mask is None else resize_mask(prompt.mask, to_hw),
    )


def scaled_xy(xy: Pixels, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Coordinates (..., 2) or (..., 4), x and y by turns; what was inside `from_hw` is inside `to_hw`."""
    from_wh, to_wh = np.array(from_hw[::-1], np.float64), np.array(to_hw[::-1], np.float64)
    times = xy.shape[-1] // 2
    return (xy * np.tile(to_wh / from_wh, times)).astype(np.float32)


def _below(points_xy: NDArray[np.float32], hw: tuple[int, int]) -> NDArray[np.float32]:
    """Points that rounding put on the far edge, back inside: a point is on a pixel, a box ends beside one."""
    return np.minimum(points_xy, np.nextafter(np.array(hw[::-1], np.float32), np.float32(0)))
