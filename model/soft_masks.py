"""Soft masks (4h, 4w), 0..1, on the decoder's low-res grid: measured, boxed, brought to full size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .geometry import scale_box
from .motion import SoftMask
from .types import BoolMask, ImageEmbedding, Prompt

LOW_RES_PX = 4  # one low-res pixel covers 4x4 px of the model input
PROMPTED_LOGIT = 6.0  # a sure map as mask logits
LESSER_PART = 0.2  # of the largest part's area: smaller parts are noise and do not widen the box


def resize_soft(soft: SoftMask, hw: tuple[int, int], interpolation: int = cv2.INTER_LINEAR) -> SoftMask:
    """A soft mask at another size (h, w)."""
    resized: SoftMask = cv2.resize(soft, (hw[1], hw[0]), interpolation=interpolation)
    return resized


def square(reach_px: int) -> NDArray[np.uint8]:
    """The kernel of morphology that reaches so far in each direction."""
    return np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)


def soft_iou(a: SoftMask, b: SoftMask) -> float:
    """Intersection over union of two soft masks: sum of minima over sum of maxima."""
    shared = float(np.minimum(a, b).sum())
    return shared / max(float(a.sum()) + float(b.sum()) - shared, 1e-6)  # min(a, b) + max(a, b) = a + b


def logits_of_soft(soft: SoftMask) -> NDArray[np.float32]:
    """A soft mask (4h, 4w) as mask logits (1, 4h, 4w) for a prompt."""
    logits: NDArray[np.float32] = ((2 * soft - 1) * PROMPTED_LOGIT)[None]
    return logits


def stability_of(soft: SoftMask) -> float:
    """IoU of the mask with its logit threshold moved one up and one down (SAM's stability score)."""
    strict, lenient = np.count_nonzero(soft > 1 / (1 + np.exp(-1))), np.count_nonzero(soft > 1 / (1 + np.e))
    return strict / lenient if lenient else 0.0


def certainty_of(soft: SoftMask) -> float:
    """How clear a soft mask is inside, 0..1: the mean of 2p - 1 where p > 0.5; 0 for an empty one."""
    inside = soft[soft > 0.5]
    return float((2 * inside - 1).mean()) if inside.size else 0.0


def fineness_of(soft: SoftMask) -> float:
    """How fine the grid is for the object, 0..1: the IoU of a square of its size that is half a pixel off."""
    side_px = float(np.sqrt(np.count_nonzero(soft > 0.5)))
    return max(0.0, 1 - 2 / side_px) if side_px else 0.0


def share_of(soft: SoftMask) -> float:
    """Of the picture, padding included, that a soft mask covers."""
    return float((soft > 0.5).mean())


def cell_means(soft: SoftMask, grid_hw: tuple[int, int]) -> Tensor:
    """The mean of a soft mask in each cell of a coarser grid (h, w)."""
    return torch.from_numpy(resize_soft(soft, grid_hw, cv2.INTER_AREA))


def low_res_of(mask: BoolMask, embedding: ImageEmbedding) -> SoftMask:
    """A mask (H, W) of the original image as share of each low-res pixel (4h, 4w)."""
    height, width = embedding.resized_hw
    resized = resize_soft(mask.astype(np.float32), embedding.resized_hw, cv2.INTER_AREA)
    padded = np.zeros(embedding.input_hw, np.float32)
    padded[:height, :width] = resized
    low_res_hw = (embedding.input_hw[0] // LOW_RES_PX, embedding.input_hw[1] // LOW_RES_PX)
    return resize_soft(padded, low_res_hw, cv2.INTER_AREA)


def box_of_soft(soft: SoftMask, embedding: ImageEmbedding) -> NDArray[np.float32] | None:
    """Box (4,) px of the original image around a soft mask's largest parts; None where nothing is."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((soft > 0.5).astype(np.uint8))
    if count < 2:
        return None
    parts = stats[1:]
    parts = parts[parts[:, cv2.CC_STAT_AREA] >= LESSER_PART * parts[:, cv2.CC_STAT_AREA].max()]
    left, top = parts[:, cv2.CC_STAT_LEFT], parts[:, cv2.CC_STAT_TOP]
    right, bottom = left + parts[:, cv2.CC_STAT_WIDTH], top + parts[:, cv2.CC_STAT_HEIGHT]
    box = LOW_RES_PX * np.array([left.min(), top.min(), right.max(), bottom.max()], np.float32)
    return scale_box(box, embedding.resized_hw, embedding.original_hw)


def box_iou(a_xyxy: NDArray[np.float32], b_xyxy: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes (4,)."""
    top_left, bottom_right = np.maximum(a_xyxy[:2], b_xyxy[:2]), np.minimum(a_xyxy[2:], b_xyxy[2:])
    shared = float(np.prod(np.maximum(bottom_right - top_left, 0)))
    area = float(np.prod(a_xyxy[2:] - a_xyxy[:2]) + np.prod(b_xyxy[2:] - b_xyxy[:2]))
    return shared / max(area - shared, 1e-6)


def box_in_low_res(prompt: Prompt, embedding: ImageEmbedding) -> NDArray[np.float32]:
    """A box prompt (4,) in px of the low-res grid."""
    assert prompt.box_xyxy is not None
    return scale_box(prompt.box_xyxy, embedding.original_hw, embedding.resized_hw) / np.float32(LOW_RES_PX)


def inside_box(box_xyxy: NDArray[np.float32], hw: tuple[int, ...], margin_px: int) -> SoftMask:
    """1 inside a box (4,) px and `margin_px` around it, else 0, as (h, w)."""
    inside = np.zeros(hw, np.float32)
    left, top = (max(0, int(side) - margin_px) for side in box_xyxy[:2])
    right, bottom = (int(side) + margin_px + 1 for side in box_xyxy[2:])
    inside[top:bottom, left:right] = 1
    return inside


def to_original(soft: SoftMask, embedding: ImageEmbedding) -> BoolMask:
    """The mask (H, W) bool of the original image: interpolated where the object is, then cut at 0.5."""
    height, width = embedding.original_hw
    mask = np.zeros((height, width), np.bool_)
    rows, columns = np.flatnonzero((soft > 0.5).any(axis=1)), np.flatnonzero((soft > 0.5).any(axis=0))
    if not rows.size:
        return mask
    scale_y = embedding.resized_hw[0] / height / LOW_RES_PX
    scale_x = embedding.resized_hw[1] / width / LOW_RES_PX
    top, bottom = _span(rows[0], rows[-1], scale_y, height)
    left, right = _span(columns[0], columns[-1], scale_x, width)
    if top >= bottom or left >= right:
        return mask
    # Pixel centres: original pixel x lies at (x + 0.5) * scale - 0.5 on the low-res grid.
    to_low_res = np.array(
        [
            [scale_x, 0, (left + 0.5) * scale_x - 0.5],
            [0, scale_y, (top + 0.5) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (int(right - left), int(bottom - top))
    part = cv2.warpAffine(soft, to_low_res, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    mask[top:bottom, left:right] = part > 0.5
    return mask


def _span(first: int, last: int, scale: float, limit: int) -> tuple[int, int]:
    """Original pixels that low-res pixels first..last can reach, within 0..limit."""
    return max(0, int((first - 1) / scale)), min(limit, int(np.ceil((last + 2) / scale)))
