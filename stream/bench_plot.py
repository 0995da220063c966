"""Durations as bars, as long as their median, with a whisker to the 95th percentile; a panel a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from maskstream.model.types import RgbImage
from PIL import Image, ImageDraw, ImageFont

from .bench_rows import Row
from .overlay import colour_of

_WIDTH, _BAR, _GAP, _HEAD, _MARGIN = 1000, 18, 6, 34, 16  # px
_NAMES = 430  # width of the names, px
_SCALE = 2  # drawn larger and scaled down, so that letters are smooth


def plot_rows(rows: Sequence[Row]) -> RgbImage:
    """All rows that are durations, as a picture (H, W, 3)."""
    panels = [(name, list(group)) for name, group in groupby(_durations(rows), lambda row: row.figure)]
    height = 2 * _MARGIN + sum(_HEAD + len(group) * (_BAR + _GAP) for _, group in panels)
    picture = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), "white")
    draw, top = ImageDraw.Draw(picture), _MARGIN
    for name, group in panels:
        _text(draw, (_MARGIN, top + _HEAD // 2), f"{name}, ms", 16)
        top += _HEAD
        longest = max(max(row.value, row.p95 or 0.0) for row in group)
        for place, row in enumerate(group):
            _bar(draw, top, row, longest, colour_of(1 + place % 7))
            top += _BAR + _GAP
    return np.array(picture.resize((_WIDTH, height), Image.Resampling.LANCZOS))


def _durations(rows: Sequence[Row]) -> Iterator[Row]:
    return (row for row in rows if row.unit == "ms")


def _bar(draw: ImageDraw.ImageDraw, top: int, row: Row, longest: float, colour: tuple[int, int, int]) -> None:
    middle, left = top + _BAR / 2, _NAMES
    per_ms = (_WIDTH - _NAMES - 90) / max(longest, 1e-9)
    _text(draw, (_MARGIN, middle), f"{row.what}: {row.who}", 12)
    end = left + row.value * per_ms
    draw.rectangle([x * _SCALE for x in (left, top, max(end, left + 1), top + _BAR)], colour)
    whisker = left + (row.p95 or row.value) * per_ms
    draw.line([x * _SCALE for x in (end, middle, max(whisker, end), middle)], "black", _SCALE)
    _text(draw, (max(whisker, end) + 6, middle), f"{row.value:.1f}", 12)


def _text(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size_px: int) -> None:
    font = ImageFont.load_default(size_px * _SCALE)
    draw.text((xy[0] * _SCALE, xy[1] * _SCALE), text, "black", font, anchor="lm")
