"""Scripted worlds: textured things that move along paths. Pure functions of time, exact masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from maskstream.model.types import BoolMask, RgbImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Path = Callable[[float], "tuple[float, float] | None"]
"""Where a thing's centre is at a time in s: x, y in px, or None while it is away."""
BackdropAt = Callable[[float], int]
"""Which backdrop is seen at a time in s, by number; another number is another place."""


@dataclass(frozen=True)
class Thing:
    """One object: a rigid, textured shape with its id written on it."""

    object_id: int
    path: Path
    size_wh: tuple[int, int]  # px
    outline: str = "disc"  # disc, box or diamond
    seed: int = 0

    @cached_property
    def mask(self) -> BoolMask:
        """The shape (h, w) in its own pixels."""
        width, height = self.size_wh
        x = np.abs((np.arange(width) + 0.5) / width * 2 - 1)[None, :]
        y = np.abs((np.arange(height) + 0.5) / height * 2 - 1)[:, None]
        if self.outline == "box":
            return np.ones((height, width), np.bool_)
        return np.asarray(x * x + y * y <= 1 if self.outline == "disc" else x + y <= 1)

    @cached_property
    def picture(self) -> RgbImage:
        """The texture (h, w, 3) RGB: a strong colour with patches of it lighter and darker."""
        width, height = self.size_wh
        hue = (self.object_id * 97 + self.seed * 31) % 256
        colour = Image.new("HSV", (1, 1), (hue, 220, 210)).convert("RGB").getpixel((0, 0))
        cell = max(4, min(width, height) // 5)
        patches = _noise(width, height, cell, seed=self.seed * 1000 + self.object_id)
        image = np.asarray(colour, np.float32) * (0.6 + 0.5 * patches[..., None])  # (h, w, 3)
        return _labelled(np.clip(image, 0, 255).astype(np.uint8), str(self.object_id))

    def top_left(self, time_s: float) -> tuple[int, int] | None:
        """Column and row of its first pixel, rounded: whole steps keep texture and mask exact."""
        centre = self.path(time_s)
        if centre is None:
            return None
        return round(centre[0] - self.size_wh[0] / 2), round(centre[1] - self.size_wh[1] / 2)


@dataclass(frozen=True)
class Scene:
    """Things on a background, later ones in front."""

    width_px: int
    height_px: int
    things: tuple[Thing, ...]
    backdrop_at: BackdropAt
    seed: int = 0

    def image_at(self, time_s: float) -> RgbImage:
        """The picture (H, W, 3) RGB at a time."""
        image = _backdrop(self.width_px, self.height_px, self.seed * 100 + self.backdrop_at(time_s)).copy()
        for thing in self.things:
            where = self._place(thing, time_s)
            if where is not None:
                target, part = where
                shape = thing.mask[part]
                image[target][shape] = thing.picture[part][shape]
        return image

    def masks_at(self, time_s: float) -> dict[int, BoolMask]:
        """What is seen of each thing at a time, (H, W) bool by object id; all False while it is not seen."""
        masks: dict[int, BoolMask] = {}
        for thing in self.things:
            mask = np.zeros((self.height_px, self.width_px), np.bool_)
            where = self._place(thing, time_s)
            if where is not None:
                target, part = where
                mask[target] = thing.mask[part]
            for behind in masks.values():
                behind &= ~mask
            masks[thing.object_id] = mask
        return dict(sorted(masks.items()))

    def _place(self, thing: Thing, time_s: float) -> tuple[_Window, _Window] | None:
        """The window of the image that a thing covers, and the part of the thing in it."""
        corner = thing.top_left(time_s)
        if corner is None:
            return None
        x, y = corner
        width, height = thing.size_wh
        x0, x1 = max(0, x), min(self.width_px, x + width)
        y0, y1 = max(0, y), min(self.height_px, y + height)
        if x0 >= x1 or y0 >= y1:
            return None
        return (slice(y0, y1), slice(x0, x1)), (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


_Window = tuple[slice, slice]


def still(x: float, y: float) -> Path:
    """Stays where it is."""
    return lambda time_s: (x, y)


def straight(start_xy: tuple[float, float], velocity_xy: tuple[float, float]) -> Path:
    """Moves on at `velocity_xy` px/s, out of the picture too."""
    return lambda time_s: (start_xy[0] + velocity_xy[0] * time_s, start_xy[1] + velocity_xy[1] * time_s)


def bounce(start_xy: tuple[float, float], velocity_xy: tuple[float, float], room_xyxy: _Room) -> Path:
    """Moves at `velocity_xy` px/s and turns round at the walls of `room_xyxy`."""
    x0, y0, x1, y1 = room_xyxy

    def path(time_s: float) -> tuple[float, float]:
        x = _fold(start_xy[0] + velocity_xy[0] * time_s, x0, x1)
        return x, _fold(start_xy[1] + velocity_xy[1] * time_s, y0, y1)

    return path


_Room = tuple[float, float, float, float]


def away(path: Path, start_s: float, end_s: float) -> Path:
    """Follows `path`, but is not there from `start_s` up to `end_s`."""
    return lambda time_s: None if start_s <= time_s < end_s else path(time_s)


def switch(before: Path, after: Path, at_s: float) -> Path:
    """Follows `before`, and from `at_s` on `after`."""
    return lambda time_s: before(time_s) if time_s < at_s else after(time_s)


def _fold(value: float, low: float, high: float) -> float:
    span = max(high - low, 1e-9)
    return low + span - abs((value - low) % (2 * span) - span)


@lru_cache(maxsize=8)
def _backdrop(width: int, height: int, seed: int) -> RgbImage:
    """A greyish landscape (H, W, 3) of soft patches and fine grain."""
    soft = _noise(width, height, cell=max(8, width // 8), seed=seed)
    grain = _noise(width, height, cell=2, seed=seed + 50)
    tint = np.random.default_rng(seed).uniform(0.8, 1.0, 3).astype(np.float32)
    image = (60 + 110 * soft + 20 * grain)[..., None] * tint  # (H, W, 3)
    backdrop = image.astype(np.uint8)
    backdrop.setflags(write=False)
    return backdrop


def _noise(width: int, height: int, cell: int, seed: int) -> NDArray[np.float32]:
    """Smooth noise (h, w) in 0..1 with patches of about `cell` px."""
    coarse = np.random.default_rng(seed).random((height // cell + 2, width // cell + 2), np.float32)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth, np.float32), 0, 1)


def _labelled(image: RgbImage, text: str) -> RgbImage:
    """`text` in the middle, white on black, a third of the height."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    height, width = image.shape[:2]
    font = ImageFont.load_default(max(8, height // 3))
    middle = (width / 2, height / 2)
    draw.text(middle, text, fill="white", font=font, anchor="mm", stroke_width=1, stroke_fill="black")
    return np.array(picture)
