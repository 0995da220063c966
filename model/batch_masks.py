"""Soft masks of many objects at once, as tensors (N, h, w): what is done to each alone by OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .shrink import coarse_means

Floats = NDArray[np.float64]
Vertical = Callable[[Floats], Floats]  # a linear filter that works along the columns of a picture


@dataclass(frozen=True, slots=True, eq=False)
class Separable:
    """A linear filter of pictures, along the columns and then along the rows, as one matrix for each.

    The matrices are made by OpenCV itself, of the pictures of single pixels, so that sizes, weights and
    borders are its own.
    """

    rows: Tensor  # (new h, h)
    columns: Tensor  # (w, new w)

    @classmethod
    def of(
        cls,
        vertical: Vertical,
        horizontal: Vertical,
        hw: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> Separable:
        """Of two filters, for pictures (h, w)."""
        rows, columns = vertical(np.eye(hw[0])), horizontal(np.eye(hw[1]))
        return cls(*(torch.from_numpy(matrix).to(device, dtype) for matrix in (rows, columns.T.copy())))

    def __call__(self, pictures: Tensor) -> Tensor:
        """(..., h, w) -> (..., new h, new w)."""
        return self.rows @ pictures @ self.columns


def area_means(from_hw: tuple[int, int], to_hw: tuple[int, int], device: torch.device) -> Separable:
    """Each new pixel is the mean of what it covers, as by `coarse_means`."""
    vertical, horizontal = (partial(_shrunk, length=length) for length in to_hw)
    return Separable.of(vertical, horizontal, from_hw, device)


def gaussian_blur(sigma_px: float, hw: tuple[int, int], device: torch.device) -> Separable:
    """OpenCV's GaussianBlur."""
    blurred = partial(_blurred, sigma_px=sigma_px)
    return Separable.of(blurred, blurred, hw, device)


def box_filter(side_px: int, hw: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Separable:
    """OpenCV's boxFilter."""
    averaged = partial(_averaged, side_px=side_px)
    return Separable.of(averaged, averaged, hw, device, dtype)


def linear_zoom(
    from_hw: tuple[int, int], to_hw: tuple[int, int], scale: tuple[float, float], device: torch.device
) -> Separable:
    """Interpolated: the centre of new pixel x lies at (x + 0.5) * scale - 0.5, `scale` being y then x."""
    vertical, horizontal = (partial(_zoomed, length=n, scale=k) for n, k in zip(to_hw, scale, strict=True))
    return Separable.of(vertical, horizontal, from_hw, device)


def _shrunk(picture: Floats, length: int) -> Floats:
    return np.asarray(coarse_means(picture, (length, picture.shape[1])), np.float64)


def _blurred(picture: Floats, sigma_px: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(picture, (1, 0), sigma_px))


def _averaged(picture: Floats, side_px: int) -> Floats:
    return np.asarray(cv2.boxFilter(picture, -1, (1, side_px)))


def _zoomed(picture: Floats, length: int, scale: float) -> Floats:
    last = len(picture) - 1
    at = np.clip((np.arange(length) + 0.5) * scale - 0.5, 0, last)
    before = at.astype(int)
    share = (at - before)[:, None]
    between: Floats = picture[before] * (1 - share) + picture[np.minimum(before + 1, last)] * share
    return between


def dilate(soft: Tensor, reach_px: int) -> Tensor:
    """The largest of the pixels around, within a square: OpenCV's dilate. (N, h, w) -> (N, h, w)."""
    side = 2 * reach_px + 1
    tall = functional.max_pool2d(soft, (side, 1), stride=1, padding=(reach_px, 0))
    return functional.max_pool2d(tall, (1, side), stride=1, padding=(0, reach_px))


def close(soft: Tensor, reach_px: int) -> Tensor:
    """Without dark gaps narrower than such a square: OpenCV's MORPH_CLOSE. (N, h, w) -> (N, h, w)."""
    return -dilate(-dilate(soft, reach_px), reach_px)


def resize(soft: Tensor, hw: tuple[int, int]) -> Tensor:
    """(N, h, w) at another size: OpenCV's INTER_LINEAR."""
    return functional.interpolate(soft[None], hw, mode="bilinear", align_corners=False)[0]


def cell_means(soft: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """The mean of (N, h, w) in each cell of a grid of which it is a multiple."""
    return functional.adaptive_avg_pool2d(soft, grid_hw)


def places_of(hw: tuple[int, int], scale: tuple[float, float], device: torch.device) -> Tensor:
    """Pixels' places (h, w, 2), x then y, on a grid of which each of them covers `scale` px (y then x)."""
    ys, xs = (
        (torch.arange(n, device=device, dtype=torch.float32) + 0.5) * k - 0.5
        for n, k in zip(hw, scale, strict=True)
    )
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=2)


def sample(pictures: Tensor, places: Tensor) -> Tensor:
    """Pictures (N, C, h, w) at places (H, W, 2) px of theirs, x then y: (N, C, H, W).

    What is at a border reaches on outwards.
    """
    height, width = pictures.shape[2:]
    normal = torch.stack([(2 * places[..., 0] + 1) / width - 1, (2 * places[..., 1] + 1) / height - 1], dim=2)
    normal = normal.expand(len(pictures), -1, -1, -1)
    return functional.grid_sample(pictures, normal, padding_mode="border", align_corners=False)


def soft_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of soft masks (..., h, w): sum of minima over sum of maxima."""
    shared = torch.minimum(a, b).sum(dim=(-2, -1))
    return shared / (a.sum(dim=(-2, -1)) + b.sum(dim=(-2, -1)) - shared).clamp(min=1e-6)


def area_of(is_inside: Tensor) -> Tensor:
    """Pixels (N,) int64 inside masks (N, h, w) bool."""
    return is_inside.sum(dim=(-2, -1))


def share_of(soft: Tensor) -> Tensor:
    """See `soft_masks.share_of`: (N, h, w) -> (N,)."""
    return (soft > 0.5).float().mean(dim=(-2, -1))


def certainty_of(soft: Tensor) -> Tensor:
    """See `soft_masks.certainty_of`: (N, h, w) -> (N,)."""
    inside = soft > 0.5
    return ((2 * soft - 1) * inside).sum(dim=(-2, -1)) / area_of(inside).clamp(min=1)


def fineness_of(soft: Tensor) -> Tensor:
    """See `soft_masks.fineness_of`: (N, h, w) -> (N,)."""
    side_px = area_of(soft > 0.5).sqrt()
    return (1 - 2 / side_px.clamp(min=1)).clamp(min=0)


def stability_of(soft: Tensor) -> Tensor:
    """See `soft_masks.stability_of`: (N, h, w) -> (N,)."""
    strict, lenient = area_of(soft > 1 / (1 + np.exp(-1))), area_of(soft > 1 / (1 + np.e))
    return strict / lenient.clamp(min=1)
