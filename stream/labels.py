"""Small rounded labels, and the blending of a colour into a part of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from maskstream.model.types import BoolMask, RgbImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]  # RGB
_OVERSAMPLE = 4  # for smooth corners


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text on a rounded ground, black or white as reads better on it."""

    text: str
    font_px: int
    ground: Colour
    opacity: float = 0.9

    @property
    def height_px(self) -> int:
        """Height of the ground."""
        return round(self.font_px * 1.5)

    @property
    def width_px(self) -> int:
        """Width of the ground."""
        return _text_width(self.text, self.font_px) + round(self.font_px * 0.9)

    def box_at(self, corner_xy: tuple[int, int]) -> tuple[int, int, int, int]:
        """The half-open box it covers with its upper left corner there."""
        x, y = corner_xy
        return x, y, x + self.width_px, y + self.height_px


def blend(part: RgbImage, mask: BoolMask, colour: Colour, opacity: float) -> None:
    """Tint the masked pixels of `part` (H, W, 3), a view into a picture, in place."""
    tinted = cv2.LUT(part, _tint_table(colour, opacity))
    cv2.copyTo(tinted, np.ascontiguousarray(mask).view(np.uint8), part)


@lru_cache(maxsize=512)
def _tint_table(colour: Colour, opacity: float) -> NDArray[np.uint8]:
    """What each value of each channel becomes, (1, 256, 3)."""
    values = np.arange(256)[None, :, None]
    return np.rint(values * (1 - opacity) + np.array(colour) * opacity).astype(np.uint8)


def draw_label(canvas: RgbImage, label: Label, corner_xy: tuple[int, int]) -> tuple[int, int, int, int]:
    """Draw the label as far as it is inside the picture; returns the box it takes."""
    box = x0, y0, x1, y1 = label.box_at(corner_xy)
    height, width = canvas.shape[:2]
    inside = slice(max(y0, 0), min(y1, height)), slice(max(x0, 0), min(x1, width))
    rgb, alpha = _picture(label)
    shown = slice(inside[0].start - y0, inside[0].stop - y0), slice(inside[1].start - x0, inside[1].stop - x0)
    part = canvas[inside]
    part[:] = part + (rgb[shown] - part) * alpha[shown]
    return box


@lru_cache(maxsize=512)
def _picture(label: Label) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """RGB (h, w, 3) and alpha (h, w, 1) in 0..1."""
    size = label.width_px, label.height_px
    ground = Image.new("L", (size[0] * _OVERSAMPLE, size[1] * _OVERSAMPLE))
    box, radius = (0, 0, ground.width - 1, ground.height - 1), ground.height * 0.3
    ImageDraw.Draw(ground).rounded_rectangle(box, radius, fill=round(255 * label.opacity))
    ground = ground.resize(size, Image.Resampling.BOX)
    text = Image.new("L", size)
    middle = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(text).text(middle, label.text, fill=255, font=_font(label.font_px), anchor="mm")
    ink = _unit(text)
    alpha = np.maximum(_unit(ground), ink)
    ground_rgb, ink_rgb = np.asarray((label.ground, _ink(label.ground)), np.float32)
    rgb: NDArray[np.float32] = ground_rgb * (1 - ink) + ink_rgb * ink
    return rgb, alpha


def _unit(grey: Image.Image) -> NDArray[np.float32]:
    """(h, w, 1) in 0..1."""
    return np.asarray(grey, np.float32)[..., None] / np.float32(255)


def _ink(ground: Colour) -> Colour:
    red, green, blue = ground
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)


@lru_cache(maxsize=512)
def _text_width(text: str, font_px: int) -> int:
    return round(_font(font_px).getlength(text))


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)  # the typeface that Pillow carries
