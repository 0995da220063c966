"""Some frames of a run side by side: what `maskstream run --sink masks=DIR` wrote, drawn on the video.

    python scripts/strip.py DIR strip.png --video clip.mp4 --count 8
    python scripts/strip.py DIR strip.png --silhouette --times 0 2.5 4 9

With --silhouette the masks are drawn on plain white, without a pixel of the clip, for clips that may not be
shown. Each frame has its time; each object its id, state and quality, as in annotated videos.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from maskstream.model.types import MaskOrigin, ObjectMask, RgbImage, TrackState, box_of_mask
from maskstream.stream import rle
from maskstream.stream.mask_sink import LINES, MANIFEST
from maskstream.stream.overlay import annotate
from maskstream.stream.sources import open_source
from PIL import Image

Line = dict[str, Any]  # a line of masks.jsonl, see docs/outputs.md
GAP_PX = 6
GAP_GREY = 160  # seen between white pictures as well as between others


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the strip."""
    options = parse(arguments)
    lines = read_lines(options.masks)
    chosen = chosen_lines(lines, options.times, options.count)
    if options.silhouette:
        manifest = json.loads((options.masks / MANIFEST).read_text())
        blank = np.full((manifest["height_px"], manifest["width_px"], 3), 255, np.uint8)
        pictures = {line["index"]: blank for line in chosen}
    else:
        pictures = read_pictures(options.video, {line["index"] for line in chosen})
    tiles = [tile(pictures[line["index"]], line, options.width) for line in chosen]
    Image.fromarray(sheet(tiles, options.columns)).save(options.strip)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What to draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("masks", type=Path, metavar="DIR", help="of --sink masks=DIR")
    parser.add_argument("strip", type=Path, metavar="PICTURE.png")
    ground = parser.add_mutually_exclusive_group(required=True)
    ground.add_argument("--video", metavar="SOURCE", help="what the run read; a file or folder")
    ground.add_argument("--silhouette", action="store_true", help="masks only, on white")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--times", nargs="+", type=float, metavar="S", help="media time; the nearest frames")
    which.add_argument("--count", type=int, default=6, metavar="N", help="so many, evenly from first to last")
    parser.add_argument("--columns", type=int, metavar="N", help="in several rows; one row if not given")
    parser.add_argument("--width", type=int, default=480, metavar="PX", help="of each frame")
    return parser.parse_args(arguments)


def read_lines(masks: Path) -> list[Line]:
    """All frames of a run, in order."""
    return [json.loads(text) for text in (masks / LINES).read_text().splitlines()]


def chosen_lines(lines: Sequence[Line], times_s: Sequence[float] | None, count: int) -> list[Line]:
    """The frames nearest to the times, or `count` evenly spaced ones; each once, in order of time."""
    if times_s is None:
        numbers = np.linspace(0, len(lines) - 1, count).round().astype(int)
    else:
        known_s = np.array([line["time_s"] for line in lines])
        numbers = np.abs(known_s - np.array(times_s)[:, None]).argmin(axis=1)
    return [lines[number] for number in np.unique(numbers)]


def read_pictures(source: str, wanted: set[int]) -> dict[int, RgbImage]:
    """The frames (H, W, 3) with these indices."""
    with open_source(source, max_frames=max(wanted) + 1) as frames:
        return {frame.index: frame.image for frame in frames if frame.index in wanted}


def tile(picture: RgbImage, line: Line, width: int) -> RgbImage:
    """A frame (H, W, 3) with its objects drawn on it, `width` px wide."""
    size_wh = width, round(width * len(picture) / picture.shape[1])
    small = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA)
    return annotate(small, list(objects_of(line["objects"], size_wh)), line["time_s"])


def objects_of(records: Sequence[Mapping[str, Any]], size_wh: tuple[int, int]) -> Iterator[ObjectMask]:
    """Objects as records.object_record() writes them, at the size of the tile."""
    for record in records:
        height, width = record["rle"]["size"]
        code = rle.Rle(size=[height, width], counts=record["rle"]["counts"].encode("ascii"))
        share = cv2.resize(rle.decode(code).astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
        mask = share > 0.5
        yield ObjectMask(
            object_id=record["id"],
            mask=mask,
            box_xyxy=box_of_mask(mask),
            predicted_iou=record["predicted_iou"],
            stability_score=record["stability_score"],
            state=TrackState(record["state"]),
            quality=record["quality"],
            how=MaskOrigin(record["how"]),
            age_ms=record["age_ms"],
        )


def sheet(tiles: Sequence[RgbImage], columns: int | None) -> RgbImage:
    """Tiles of one size in rows of `columns`, the last filled up with white."""
    columns = columns or len(tiles)
    missing = -len(tiles) % columns
    framed = [
        cv2.copyMakeBorder(each, 0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT, value=[GAP_GREY] * 3)
        for each in (*tiles, *[np.full_like(tiles[0], 255)] * missing)
    ]
    rows = [np.hstack(framed[start : start + columns]) for start in range(0, len(framed), columns)]
    return np.ascontiguousarray(np.vstack(rows)[:-GAP_PX, :-GAP_PX])


if __name__ == "__main__":
    main()
