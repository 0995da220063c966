"""Pictures that say why a score is what it is: the worst frames on one sheet, and J over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from maskstream.model.types import BoolMask, RgbImage
from PIL import Image, ImageDraw, ImageFont

from .evaluate_data import LabelledSequence, read_labels
from .evaluate_scores import FrameScore, ObjectScores, SequenceScores
from .labels import Label, blend, draw_label
from .overlay import colour_of
from .picture_source import load_picture

WORST_COUNT = 20
_APART_FRAMES = 10  # two bad frames that are neighbours tell the same story
_COLUMNS, _TILE_PX, _GAP_PX = 4, 480, 6
_TRUTH, _MASK, _GROUND = (86, 180, 233), (230, 159, 0), (16, 16, 16)

_PLOT_WH, _SCALE = (960, 300), 2  # drawn larger and scaled down, so that lines are smooth
_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 34, 16, 30


@dataclass(frozen=True, slots=True)
class BadFrame:
    """One object on one frame, badly met."""

    sequence: str
    object_id: int
    score: FrameScore

    def caption(self) -> str:
        """`bus 00034 object 1: J 0.12, quality 0.80`."""
        score = self.score
        return (
            f"{self.sequence} {score.frame:05d} object {self.object_id}: "
            f"J {score.j:.2f}, quality {score.quality:.2f}, {score.state}"
        )


def worst_frames(sequences: Iterable[SequenceScores], count: int = WORST_COUNT) -> list[BadFrame]:
    """The frames of lowest J, worst first; of one object only frames that lie apart."""
    every = [
        BadFrame(sequence.name, found.object_id, score)
        for sequence in sequences
        for found in sequence.objects
        for score in found.followed
    ]
    chosen: list[BadFrame] = []
    for bad in sorted(every, key=lambda bad: bad.score.j):  # stable: of equals the earlier
        if len(chosen) < count and not any(_same_story(bad, other) for other in chosen):
            chosen.append(bad)
    return chosen


def _same_story(a: BadFrame, b: BadFrame) -> bool:
    same = (a.sequence, a.object_id) == (b.sequence, b.object_id)
    return same and abs(a.score.frame - b.score.frame) < _APART_FRAMES


def worst_sheet(
    worst: Sequence[BadFrame], sequences: Iterable[LabelledSequence], predictions: Path
) -> RgbImage:
    """The frames side by side: the predicted mask filled, the true outline as a line, and the figures."""
    known = {sequence.name: sequence for sequence in sequences}
    tiles = [_tile(bad, known[bad.sequence], predictions / bad.sequence) for bad in worst]
    rows = [_side_by_side(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    width = max(row.shape[1] for row in rows)
    sheet: RgbImage = np.concatenate([_padded(row, row.shape[0] + _GAP_PX, width) for row in rows])
    return sheet


def _tile(bad: BadFrame, sequence: LabelledSequence, predictions: Path) -> RgbImage:
    annotation = sequence.annotations[bad.score.frame]
    image = load_picture(sequence.pictures[bad.score.frame])
    height = max(1, round(_TILE_PX * image.shape[0] / image.shape[1]))
    tile: RgbImage = cv2.resize(image, (_TILE_PX, height), interpolation=cv2.INTER_AREA)
    truth, mask = (
        _resized(read_labels(path) == bad.object_id, (_TILE_PX, height))
        for path in (annotation, predictions / f"{annotation.stem}.png")
    )
    blend(tile, mask, _MASK, 0.4)
    _outline(tile, mask, _MASK, 1)
    _outline(tile, truth, _GROUND, 3)
    _outline(tile, truth, _TRUTH, 2)
    draw_label(tile, Label(bad.caption(), 15, _GROUND), (4, 4))
    return tile


def _resized(mask: BoolMask, size_wh: tuple[int, int]) -> BoolMask:
    share = cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0.5)


def _outline(canvas: RgbImage, mask: BoolMask, colour: tuple[int, int, int], width_px: int) -> None:
    lines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.polylines(canvas, lines, True, colour, width_px, cv2.LINE_AA)


def _side_by_side(tiles: Sequence[RgbImage]) -> RgbImage:
    height = max(tile.shape[0] for tile in tiles)
    return np.concatenate([_padded(tile, height, tile.shape[1] + _GAP_PX) for tile in tiles], axis=1)


def _padded(image: RgbImage, height: int, width: int) -> RgbImage:
    below, right = height - image.shape[0], width - image.shape[1]
    padded: RgbImage = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(255,) * 3)
    return padded


def plot_j(sequence: SequenceScores) -> RgbImage:
    """J of each object over the frames, its quality as a thin line, grey bands while it is truly absent."""
    canvas = _Canvas(len(sequence.encode_ms))
    for found in sequence.objects:
        for score in found.scores:
            if not score.truth_px:
                canvas.band(score.frame)
    canvas.grid()
    for found in sequence.objects:
        colour = colour_of(found.object_id)
        canvas.line([(score.frame, score.quality) for score in found.followed], colour, 0.7)
        canvas.line([(score.frame, score.j) for score in found.scores], colour, 2.2)
    means = [found.j.mean for found in sequence.objects]
    canvas.title(f"{sequence.name}   J {np.mean(means):.3f}   ", sequence.objects)
    return canvas.image()


class _Canvas:
    """Frames to the right, 0..1 upwards."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        width, height = _PLOT_WH
        self._picture = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
        self._draw = ImageDraw.Draw(self._picture)

    def image(self) -> RgbImage:
        """The finished picture."""
        return np.array(self._picture.resize(_PLOT_WH, Image.Resampling.LANCZOS))

    def line(
        self, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], width_px: float
    ) -> None:
        """A line through (frame, value) points."""
        if len(points) > 1:
            self._draw.line([self._xy(*point) for point in points], colour, round(width_px * _SCALE), "curve")

    def band(self, frame: int) -> None:
        """Grey from bottom to top, one frame wide."""
        self._draw.rectangle((*self._xy(frame - 0.5, 1), *self._xy(frame + 0.5, 0)), "#dddddd")

    def grid(self) -> None:
        """Lines and numbers: every quarter of J, and some round numbers of frames."""
        last = self._frames - 1
        for value in (0, 0.25, 0.5, 0.75, 1):
            self.line([(0, value), (last, value)], (200, 200, 200), 0.5)
            self._text(self._xy(0, value), f"{value:.2f} ", "rm")
        for frame in range(0, self._frames, _round_step(last)):
            x, y = self._xy(frame, 0)
            self._text((x, y + 4 * _SCALE), str(frame), "ma")

    def title(self, text: str, objects: Sequence[ObjectScores]) -> None:
        """The name, and the objects in their colours."""
        x, y = float(_LEFT * _SCALE), _TOP / 2 * _SCALE
        for words, colour in ((text, (0, 0, 0)), *self._legend(objects)):
            self._draw.text((x, y), words, colour, _font(15), anchor="lm")
            x += _font(15).getlength(words)

    @staticmethod
    def _legend(objects: Sequence[ObjectScores]) -> Iterator[tuple[str, tuple[int, int, int]]]:
        for found in objects:
            yield f"object {found.object_id} {found.j.mean:.3f}   ", colour_of(found.object_id)
        yield "thin: quality, grey: absent", (120, 120, 120)

    def _text(self, xy: tuple[float, float], text: str, anchor: str) -> None:
        self._draw.text(xy, text, "black", _font(12), anchor=anchor)

    def _xy(self, frame: float, value: float) -> tuple[float, float]:
        width, height = _PLOT_WH
        x = _LEFT + (width - _LEFT - _RIGHT) * frame / max(1, self._frames - 1)
        return x * _SCALE, (_TOP + (height - _TOP - _BOTTOM) * (1 - value)) * _SCALE


def _round_step(last: int) -> int:
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, last + 1) if last / step <= 20)


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px * _SCALE)
