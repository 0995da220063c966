"""Pure functions between the original image and the model input. Pixels, x right, y down."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from .tiny_vit import PATCH_PX
from .types import BoolMask, RgbImage


def resized_hw_for(original_hw: tuple[int, int], size: int) -> tuple[int, int]:
    """The image's (h, w) once its long side is `size` px, rounded as SAM does."""
    scale = size / max(original_hw)
    height, width = (max(1, int(side * scale + 0.5)) for side in original_hw)
    return height, width


def padded_hw_for(resized_hw: tuple[int, int], pad_to_square: bool) -> tuple[int, int]:
    """The model input's (h, w): a square of the long side, or each side up to the next multiple of 16."""
    if pad_to_square:
        resized_hw = (max(resized_hw), max(resized_hw))
    height, width = (-(-side // PATCH_PX) * PATCH_PX for side in resized_hw)
    return height, width


def resize_image(image: RgbImage, resized_hw: tuple[int, int]) -> RgbImage:
    """Resize (H, W, 3) uint8 with Pillow's antialiased bilinear filter, the one SAM was trained with."""
    if image.shape[:2] == resized_hw:
        return image
    height, width = resized_hw
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def scale_points(
    points_xy: ArrayLike, from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Points (..., 2) of an image of size `from_hw` on the same image at size `to_hw`."""
    factors_xy = np.array([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]])
    scaled: NDArray[np.float32] = (np.asarray(points_xy, np.float64) * factors_xy).astype(np.float32)
    return scaled


def scale_box(box_xyxy: ArrayLike, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes (..., 4) of an image of size `from_hw` on the same image at size `to_hw`."""
    corners = np.asarray(box_xyxy).reshape(*np.shape(box_xyxy)[:-1], 2, 2)
    return scale_points(corners, from_hw, to_hw).reshape(np.shape(box_xyxy))


def resize_mask(mask: BoolMask, hw: tuple[int, int]) -> BoolMask:
    """A mask (H, W) at another size (h, w): each pixel takes what was at its centre."""
    size = (hw[1], hw[0])
    resized: BoolMask = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT).view(
        np.bool_
    )
    return resized
