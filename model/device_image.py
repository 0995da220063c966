"""Pictures sent to a GPU as they are, and resized there: a quarter of the bytes, none of the CPU's time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .device_copies import send
from .types import RgbImage


def upload(image: RgbImage, device: torch.device) -> Tensor:
    """A picture (H, W, 3) uint8 as (1, 3, H, W) uint8 on the device."""
    return send(image, device).permute(2, 0, 1)[None]


def resize(rgb: Tensor, resized_hw: tuple[int, int]) -> Tensor:
    """RGB (1, 3, H, W) uint8 -> (1, 3, *resized_hw) float32, whole numbers 0..255.

    By the filter of `geometry.resize_image`; some values are one off, as that one rounds between the axes.
    """
    pixels = rgb.float()
    if pixels.shape[2:] == resized_hw:
        return pixels
    resized = functional.interpolate(pixels, resized_hw, mode="bilinear", align_corners=False, antialias=True)
    return resized.round().clamp(0, 255)
