"""Single pictures with outlined things: how good is a mask from its box, and from one click?

DIR/images/train/X.jpg
DIR/labels/train/X.txt     one thing a line: class x1 y1 x2 y2 ..., in shares of the picture's sides
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from maskstream.model.errors import SourceError
from maskstream.model.metrics import region_iou
from maskstream.model.types import BoolMask, Prompt, RgbImage
from numpy.typing import NDArray
from pycocotools import mask as coco

from . import rle
from .evaluate_seeds import seed_prompt
from .picture_source import is_picture, load_picture
from .records import Record

Decode = Callable[[Sequence[Prompt], bool], BoolMask]
"""Masks (P, H, W) of prompts; True asks for the best of three candidates each."""
Encode = Callable[[RgbImage], Decode]

SIZES = (("small", 32**2), ("medium", 96**2), ("large", math.inf))  # COCO's: areas below, px
_LEAST_NUMBERS = 7  # a class and three points


@dataclass(frozen=True, slots=True)
class Still:
    """One picture and its outlined things."""

    picture: Path
    outlines: tuple[NDArray[np.float64], ...]  # each (N, 2) x, y in shares of the picture's sides


@dataclass(frozen=True, slots=True)
class InstanceScore:
    """One thing on one picture."""

    picture: str
    area_px: int
    box_iou: float
    click_iou: float
    encode_ms: float  # of its picture


def find_stills(folder: Path, max_pictures: int | None = None) -> list[Still]:
    """All pictures with outlined things, in order of their names.

    Raises:
        SourceError: there are none, or an outline is malformed.
    """
    images, labels = folder / "images", folder / "labels"
    if not images.is_dir() or not labels.is_dir():
        raise SourceError(f"{folder} must hold the folders images and labels; see docs/evaluation.md")
    pictures = sorted(path for path in images.rglob("*") if is_picture(path))
    beside = {picture: labels / picture.relative_to(images).with_suffix(".txt") for picture in pictures}
    labelled = [picture for picture, path in beside.items() if path.is_file()][:max_pictures]
    stills = [Still(picture, _read_outlines(beside[picture])) for picture in labelled]
    if not any(still.outlines for still in stills):
        raise SourceError(
            f"no picture in {images} has outlined things in {labels}; is the download complete?"
        )
    return stills


def score_still(still: Still, encode: Encode) -> list[InstanceScore]:
    """Every thing on one picture that covers a pixel."""
    image = _load(still.picture)
    masks = [mask for outline in still.outlines if (mask := outline_mask(outline, image.shape[:2])).any()]
    if not masks:
        return []
    started_ns = time.monotonic_ns()
    decode = encode(image)
    encode_ms = (time.monotonic_ns() - started_ns) / 1e6
    from_boxes = decode([seed_prompt(1, mask, "box") for mask in masks], False)
    from_clicks = decode([seed_prompt(1, mask, "click") for mask in masks], True)  # a click is ambiguous
    return [
        InstanceScore(
            still.picture.name,
            int(np.count_nonzero(mask)),
            region_iou(mask, from_box),
            region_iou(mask, from_click),
            encode_ms,
        )
        for mask, from_box, from_click in zip(masks, from_boxes, from_clicks, strict=True)
    ]


def stills_record(scores: Sequence[InstanceScore]) -> Record:
    """`box_mIoU` and `click_mIoU` over all things, and by size."""
    return {
        **_means(scores),
        "stills": {
            "pictures": len({score.picture for score in scores}),
            "instances": len(scores),
            "encode_ms": median({score.picture: score.encode_ms for score in scores}.values()),
            "by_size": dict(_by_size(scores)),
        },
    }


def outline_mask(outline: NDArray[np.float64], hw: tuple[int, int]) -> BoolMask:
    """The mask (H, W) inside an outline (N, 2) in shares of the picture's sides, filled as COCO does."""
    height, width = hw
    polygon = (outline * (width, height)).ravel().tolist()
    (code,) = coco.frPyObjects([polygon], height, width)
    return np.ascontiguousarray(rle.decode(code))


def _by_size(scores: Sequence[InstanceScore]) -> Iterator[tuple[str, Record]]:
    least = 0.0
    for name, limit in SIZES:
        inside = [score for score in scores if least <= score.area_px < limit]
        yield name, {"instances": len(inside), **_means(inside)}
        least = limit


def _means(scores: Sequence[InstanceScore]) -> Record:
    return {
        "box_mIoU": _mean(score.box_iou for score in scores),
        "click_mIoU": _mean(score.click_iou for score in scores),
    }


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return float(np.mean(listed)) if listed else None


def _load(picture: Path) -> RgbImage:
    try:
        return load_picture(picture)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for damaged files
        raise SourceError(f"cannot read the picture {picture}: {error}; replace or remove it") from None


def _read_outlines(path: Path) -> tuple[NDArray[np.float64], ...]:
    lines = path.read_text().splitlines()
    return tuple(_outline(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip())


def _outline(line: str, where: str) -> NDArray[np.float64]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError as error:
        raise SourceError(f"{where}: {error}; a line is a class and an outline, x y by turns") from None
    if len(numbers) < _LEAST_NUMBERS or len(numbers) % 2 == 0:
        raise SourceError(f"{where}: {len(numbers)} numbers; a line is a class and at least three points x y")
    outline = np.array(numbers[1:]).reshape(-1, 2)
    if not ((outline >= 0) & (outline <= 1)).all():
        raise SourceError(f"{where}: an outline is in shares of the picture's sides, all within 0..1")
    return outline
