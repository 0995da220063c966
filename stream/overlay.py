"""Draws what was found onto a picture: pure functions, RGB in, RGB out.

| state | looks like |
|---|---|
| tracked | filled, solid outline |
| uncertain | half as filled, dashed outline |
| occluded, lost | a note at the lower left; a mask, should there be one, as for uncertain |

An object's colour depends on its id alone, so it is the same in every frame, run and file.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from maskstream.model.types import ObjectMask, RgbImage, TrackState
from numpy.typing import NDArray

from .labels import Colour, Label, blend, draw_label

# Okabe and Ito's colours, which people with any colour vision can tell apart; those that stand out first.
_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (240, 228, 66),  # yellow
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
)
_SHADOW: Colour = (16, 16, 16)
_FILL = {TrackState.TRACKED: 0.42}
_DIM_FILL = 0.2
_NOTED = (TrackState.OCCLUDED, TrackState.LOST)


def colour_of(object_id: int) -> Colour:
    """The RGB colour of an object: 7 hues, then the same lighter, then darker, then from the start."""
    hue, tier = (object_id - 1) % len(_COLOURS), (object_id - 1) // len(_COLOURS) % 3
    toward, amount = ((0, 0.0), (255, 0.5), (0, 0.4))[tier]
    red, green, blue = (round(part + (toward - part) * amount) for part in _COLOURS[hue])
    return red, green, blue


def annotate(image: RgbImage, objects: Sequence[ObjectMask], time_s: float | None = None) -> RgbImage:
    """A copy of the picture (H, W, 3) RGB with its objects, and the time at the lower right if given."""
    canvas = image.copy()
    scale = _Scale(canvas)
    shown = [found for found in objects if found.box_xyxy[2] > found.box_xyxy[0]]
    for found in shown:
        _draw_fill(canvas, found)
    for found in shown:
        _draw_outline(canvas, found, scale)
    taken = _draw_corners(canvas, objects, time_s, scale)
    for found in shown:
        _draw_name(canvas, found, scale, taken)
    return canvas


def clock(time_s: float) -> str:
    """Media time as a person reads it: 01:02.345, or 1:01:02.345."""
    sign, ms = "-" if time_s < 0 else "", round(abs(time_s) * 1000)
    hours, ms = divmod(ms, 3_600_000)
    minutes, ms = divmod(ms, 60_000)
    rest = f"{minutes:02d}:{ms // 1000:02d}.{ms % 1000:03d}"
    return f"{sign}{hours}:{rest}" if hours else sign + rest


class _Scale:
    """Sizes in px that suit the picture's: readable at 320x240, not clumsy at 1080p."""

    def __init__(self, image: RgbImage) -> None:
        side = min(image.shape[:2])
        self.line_px = max(1, round(side / 270))
        self.shadow_px = self.line_px + max(1, self.line_px // 2)
        self.smooth_px = 0.8 if side < 700 else 1.2  # how far an outline may stray from the mask's edge
        self.dash_px = max(4, round(side / 60))
        self.font_px = round(6 + side / 56)
        self.gap_px = max(2, round(side / 160))


def _draw_fill(canvas: RgbImage, found: ObjectMask) -> None:
    box = _box(found)
    blend(canvas[box], found.mask[box], colour_of(found.object_id), _FILL.get(found.state, _DIM_FILL))


def _box(found: ObjectMask) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (int(edge) for edge in found.box_xyxy)
    return slice(y0, y1), slice(x0, x1)


def _draw_outline(canvas: RgbImage, found: ObjectMask, scale: _Scale) -> None:
    lines = _outlines(found)
    solid = found.state is TrackState.TRACKED
    if not solid:
        lines = [dash for line in lines for dash in _dashes(line, scale.dash_px)]
    # Fewer points look smoother and draw several times faster.
    lines = [cv2.approxPolyDP(line, scale.smooth_px, solid) for line in lines]
    cv2.polylines(canvas, lines, solid, _SHADOW, scale.shadow_px, cv2.LINE_8)
    cv2.polylines(canvas, lines, solid, colour_of(found.object_id), scale.line_px, cv2.LINE_AA)


def _outlines(found: ObjectMask) -> list[NDArray[np.int32]]:
    """Closed lines (N, 1, 2) in px around each part and hole of the mask."""
    rows, columns = _box(found)
    part = np.ascontiguousarray(found.mask[rows, columns]).view(np.uint8)
    lines, _ = cv2.findContours(
        part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(columns.start, rows.start)
    )
    return list(lines)


def _dashes(line: NDArray[np.int32], dash_px: int) -> list[NDArray[np.int32]]:
    """Every other stretch of a line whose points are neighbouring pixels."""
    return [line[i : i + dash_px] for i in range(0, len(line), 2 * dash_px)]


def _draw_corners(
    canvas: RgbImage, objects: Sequence[ObjectMask], time_s: float | None, scale: _Scale
) -> list[tuple[int, int, int, int]]:
    """Notes and clock along the lower edge; the boxes they take."""
    height, width = canvas.shape[:2]
    taken = []
    if time_s is not None:
        label = Label(clock(time_s), scale.font_px, _SHADOW, opacity=0.6)
        at = (width - label.width_px - scale.gap_px, height - label.height_px - scale.gap_px)
        taken.append(draw_label(canvas, label, at))
    bottom = height - scale.gap_px
    for found in reversed([found for found in objects if found.state in _NOTED]):
        label = Label(f"{found.object_id} {found.state.value}", scale.font_px, colour_of(found.object_id))
        taken.append(draw_label(canvas, label, (scale.gap_px, bottom - label.height_px)))
        bottom -= label.height_px + scale.gap_px
    return taken


def _draw_name(
    canvas: RgbImage, found: ObjectMask, scale: _Scale, taken: list[tuple[int, int, int, int]]
) -> None:
    if found.state in _NOTED:
        return
    text = f"{found.object_id} {found.state.value} {found.quality:.2f}"
    label = Label(text, scale.font_px, colour_of(found.object_id))
    taken.append(draw_label(canvas, label, _free_place(canvas, label, found, scale, taken)))


def _free_place(
    canvas: RgbImage,
    label: Label,
    found: ObjectMask,
    scale: _Scale,
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int]:
    """Upper left corner for the label: above the object, else below or inside it, where none is yet."""
    height, width = canvas.shape[:2]
    x0, y0, _, y1 = (int(edge) for edge in found.box_xyxy)
    x = min(max(x0, 0), max(0, width - label.width_px))
    above, below, inside = y0 - label.height_px - scale.gap_px, y1 + scale.gap_px, y0 + scale.gap_px
    places = [(x, y) for y in (above, below, inside) if 0 <= y <= height - label.height_px]
    for place in places:
        if not any(_overlap(label.box_at(place), other) for other in taken):
            return place
    return places[0] if places else (x, 0)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
