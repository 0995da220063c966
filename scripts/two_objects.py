"""Two objects followed at once, against each followed alone on the very same pictures: J&F and swapped ids.

    python scripts/two_objects.py DATASET OUT --pairs 5 --frames 40                      both kinds of pair
    python scripts/two_objects.py DATASET OUT --kind pasted --interaction none exclusive
    python scripts/two_objects.py DATASET OUT --kind pasted --pairs 20 --change doubt=0    as ablate.py

Makes a dataset OUT in DAVIS layout (`maskstream eval` takes it too) of pairs of DATASET's sequences, with the
first's object as 1 and the second's as 2. Tiled pairs stand side by side and never touch. In pasted pairs the
second object, cut out by its true mask, slides across the first, and hides it where they meet.
Embeddings are kept in OUT/embeddings (half precision), so that a second run only tracks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from ablate import CachedPredictor, changed
from maskstream.model.predictor import Predictor, load_predictor
from maskstream.model.tracker import Tracker
from maskstream.model.tracker_settings import TrackerSettings
from maskstream.model.types import BoolMask, RgbImage, box_of_mask
from maskstream.stream.agenda import Agenda
from maskstream.stream.commands import Command
from maskstream.stream.evaluate import Job, MakeSegmenter, Segment, evaluate_sequence
from maskstream.stream.evaluate_data import LabelledSequence, Labels, find_sequences, read_labels
from maskstream.stream.evaluate_scores import SequenceScores
from maskstream.stream.mask_sink import labels_png
from maskstream.stream.picture_source import load_picture
from maskstream.stream.segmenter import Segmenter
from maskstream.stream.types import Frame, FrameResult
from numpy.typing import NDArray
from PIL import Image

Kind = Literal["tiled", "pasted"]
Interaction = Literal["none", "exclusive"]
Shown = tuple[RgbImage, Labels]  # a picture and the ids on it
FIRST, SECOND = 1, 2
LARGEST_WH = (
    0.35,
    0.6,
)  # of the picture: a pasted object that is larger is made smaller, or it would hide all
FEATHER_PX = 1.0  # standard deviation of a pasted edge, which no camera shows as sharp as a mask
JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one way to follow the pair."""

    jf: float  # mean J&F of the two objects
    swaps: int  # frames on which an object's mask is more on the other object than on its own, of both summed


@dataclass(frozen=True, slots=True)
class Comparison:
    """One pair, followed together and one by one."""

    name: str
    frames: int
    meeting: int  # frames on which the boxes of the two objects overlap
    single: Outcome
    together: tuple[Outcome, ...]  # for each interaction asked for


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pairs and print a line for each, and one over all of a kind."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    started_s = time.monotonic()
    sources = find_sequences(options.dataset, names_file=options.sequences, max_frames=options.frames)
    for kind in options.kind:
        for first, second in pairs_of(sources, options.pairs):
            write_pair(options.out, kind, first, second)
    settings = changed(TrackerSettings(), options.change)
    base = load_predictor(size=options.size, engine="torch")
    show_head(options.interaction)
    for kind in options.kind:
        rows = []
        for first, second in pairs_of(sources, options.pairs):
            sequence = read_pair(options.out, pair_name(kind, first, second))
            folder = options.out / "embeddings" / str(options.size) / sequence.name
            rows.append(compare(sequence, base, folder, options.interaction, settings))
            show(rows[-1])
        show(mean_of(f"mean of {kind}", rows))
    print(f"size {options.size}, {time.monotonic() - started_s:.0f} s")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What to make and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path, help="sequences of one object each")
    parser.add_argument("out", type=Path, help="made if missing")
    parser.add_argument("--kind", nargs="+", choices=["tiled", "pasted"], default=["tiled", "pasted"])
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="of each kind")
    parser.add_argument(
        "--frames", type=int, default=40, metavar="N", help="at most so many of each sequence"
    )
    parser.add_argument("--sequences", type=Path, metavar="LIST", help="names, one a line")
    parser.add_argument("--interaction", nargs="+", choices=["none", "exclusive"], default=["none"])
    parser.add_argument("--change", nargs="+", default=[], metavar="name=value", help="of TrackerSettings")
    parser.add_argument("--size", type=int, default=1024, metavar="PX")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    return parser.parse_args(arguments)


def pairs_of(
    sources: Sequence[LabelledSequence], count: int
) -> list[tuple[LabelledSequence, LabelledSequence]]:
    """The first half each with the one half the list further on, then each second with the fourth after."""
    half, ends = len(sources) // 2, len(sources)
    pairs = [(i, i + half) for i in range(half)] + [(i, (i + 4) % ends) for i in range(0, ends - 1, 2)]
    return [(sources[i], sources[j]) for i, j in dict.fromkeys(pairs) if i != j][:count]


# ---- making pairs ----


def pair_name(kind: Kind, first: LabelledSequence, second: LabelledSequence) -> str:
    """Tells all that the pictures depend on, for what is kept of them is found by it."""
    return f"{kind}{min(len(first.pictures), len(second.pictures))}-{first.name}-{second.name}"


def write_pair(out: Path, kind: Kind, first: LabelledSequence, second: LabelledSequence) -> None:
    """Write a pair's pictures and annotations, unless they are there."""
    name, count = pair_name(kind, first, second), min(len(first.pictures), len(second.pictures))
    pictures, annotations = (out / tree / "480p" / name for tree in ("JPEGImages", "Annotations"))
    if len(list(annotations.glob("*.png"))) == count:
        return
    pictures.mkdir(parents=True, exist_ok=True)
    annotations.mkdir(parents=True, exist_ok=True)
    together = tiled if kind == "tiled" else pasted
    for number, (image, labels) in enumerate(together(first, second)):
        Image.fromarray(image).save(pictures / f"{number:05d}.jpg", quality=JPEG_QUALITY)
        (annotations / f"{number:05d}.png").write_bytes(labels_png(labels.astype(np.uint8)))


def tiled(first: LabelledSequence, second: LabelledSequence) -> Iterator[Shown]:
    """The two side by side, the second as high as the first."""
    for (image, mask), (other, other_mask) in zip(frames_of(first), frames_of(second), strict=False):
        height, width = len(image), round(other.shape[1] * len(image) / len(other))
        other = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
        other_mask = cv2.resize(other_mask.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        labels = np.hstack([FIRST * mask.astype(np.uint16), SECOND * other_mask.astype(np.uint16)])
        yield np.ascontiguousarray(np.hstack([image, other])), labels


def pasted(first: LabelledSequence, second: LabelledSequence) -> Iterator[Shown]:
    """The second's object over the first's pictures, on its way from one side of its object to the other."""
    for shown, other, placing in zip(frames_of(first), frames_of(second), slide(first, second), strict=False):
        yield paste(*shown, *other, placing)


def paste(
    image: RgbImage, mask: BoolMask, other: RgbImage, other_mask: BoolMask, placing: NDArray[np.float64]
) -> Shown:
    """`other`'s object put over `image`.

    Args:
        image: (H, W, 3), with its object's mask (H, W).
        mask: see image.
        other: (h, w, 3), with its object's mask (h, w).
        other_mask: see other.
        placing: (2, 3) affine, from a pixel of `other` to one of `image`.
    """
    size_wh = image.shape[1], image.shape[0]
    soft = cv2.warpAffine(other_mask.astype(np.float32), placing, size_wh)
    alpha = cv2.GaussianBlur(soft, (0, 0), FEATHER_PX)[..., None]
    moved = cv2.warpAffine(other, placing, size_wh, borderMode=cv2.BORDER_REPLICATE)
    mixed = np.rint(image * (1 - alpha) + moved * alpha).astype(np.uint8)
    labels = FIRST * mask.astype(np.uint16)
    labels[soft > 0.5] = SECOND
    return mixed, labels


def slide(first: LabelledSequence, second: LabelledSequence) -> list[NDArray[np.float64]]:
    """Where to paste the second's object on each frame, as paste() takes it.

    It begins beside the first's object, on the side that has more room, and ends on the other side, both
    inside the picture. Between, it moves as in its own video and steadily besides.
    """
    count = min(len(first.pictures), len(second.pictures))
    boxes, others = boxes_of(first)[:count], boxes_of(second)[:count]
    height, width = read_labels(first.annotations[0]).shape
    sizes = others[:, 2:] - others[:, :2]
    scale = min(1.0, *(np.array(LARGEST_WH) * (width, height) / sizes.max(axis=0)).tolist())
    side = 1 if boxes[0, [0, 2]].sum() < width else -1
    ends = []
    for frame, toward in ((0, side), (count - 1, -side)):
        ends.append(beside(boxes[frame], scale * others[frame], toward, (width, height)))
    shifts = np.linspace(ends[0], ends[1], count)
    return [np.array([[scale, 0, x], [0, scale, y]]) for x, y in shifts]


def beside(
    box: NDArray[np.float64], moving: NDArray[np.float64], side: int, size_wh: tuple[int, int]
) -> NDArray[np.float64]:
    """The shift (2,) px that brings the box `moving` to the right (1) or left (-1) of `box`."""
    centre, half = (box[:2] + box[2:]) / 2, (moving[2:] - moving[:2]) / 2
    wanted = centre + (side * ((box[2] - box[0]) / 2 + half[0]), 0)
    placed = np.clip(wanted, half, np.maximum(half, size_wh - half))
    shift: NDArray[np.float64] = placed - (moving[:2] + moving[2:]) / 2
    return shift


def boxes_of(sequence: LabelledSequence) -> NDArray[np.float64]:
    """The object's box (N, 4) x0,y0,x1,y1 on each frame; the last known one where it is gone."""
    boxes = np.array([box_of_mask(read_labels(path) > 0) for path in sequence.annotations], np.float64)
    there = np.flatnonzero(boxes.any(axis=1))
    last = np.searchsorted(there, np.arange(len(boxes)), side="right") - 1
    held: NDArray[np.float64] = boxes[there[np.maximum(last, 0)]]
    return held


def frames_of(sequence: LabelledSequence) -> Iterator[tuple[RgbImage, BoolMask]]:
    """Its pictures (H, W, 3) and its objects' mask (H, W)."""
    for picture, annotation in zip(sequence.pictures, sequence.annotations, strict=True):
        yield load_picture(picture), read_labels(annotation) > 0


def read_pair(out: Path, name: str) -> LabelledSequence:
    """A pair as `maskstream eval` reads it."""
    return next(sequence for sequence in find_sequences(out) if sequence.name == name)


# ---- comparing ----


def compare(
    sequence: LabelledSequence,
    base: Predictor,
    folder: Path,
    interactions: Sequence[Interaction],
    settings: TrackerSettings,
) -> Comparison:
    """Follow the pair in each way."""
    folder.mkdir(parents=True, exist_ok=True)

    def maker(settings: TrackerSettings) -> MakeSegmenter:
        def make(schedule: Sequence[Command]) -> Segment:
            return Segmenter(CachedPredictor(base, folder), Tracker(base, settings), Agenda(schedule))

        return make

    alone = [
        replace(sequence, first_frames={object_id: frame})
        for object_id, frame in sequence.first_frames.items()
    ]
    single = outcome_of(alone, maker(settings))
    together = tuple(
        outcome_of([sequence], maker(replace(settings, interaction=interaction)))
        for interaction in interactions
    )
    return Comparison(sequence.name, len(sequence.pictures), meeting_frames(sequence), single, together)


def outcome_of(runs: Sequence[LabelledSequence], make_segmenter: MakeSegmenter) -> Outcome:
    """Follow the objects that each run names."""
    scores, swaps = zip(*(followed(run, make_segmenter) for run in runs), strict=True)
    objects = [found for score in scores for found in score.objects]
    return Outcome(float(np.mean([(found.j.mean + found.f.mean) / 2 for found in objects])), sum(swaps))


def followed(run: LabelledSequence, make_segmenter: MakeSegmenter) -> tuple[SequenceScores, int]:
    """The scores of a run, and its swaps."""
    swaps = 0

    def make(schedule: Sequence[Command]) -> Segment:
        segment = make_segmenter(schedule)

        def watched(frame: Frame) -> FrameResult:
            nonlocal swaps
            result = segment(frame)
            swaps += swapped(result, read_labels(run.annotations[frame.index]))
            return result

        return watched

    return evaluate_sequence(Job(run, "mask"), make), swaps


def swapped(result: FrameResult, truth: Labels) -> int:
    """How many masks of a frame cover more of another object than of their own."""
    count = 0
    for found in result.objects:
        covered = truth[found.mask]
        own = np.count_nonzero(covered == found.object_id)
        count += bool(np.count_nonzero((covered != 0) & (covered != found.object_id)) > own)
    return count


def meeting_frames(sequence: LabelledSequence) -> int:
    """Frames on which the two objects' boxes overlap."""
    count = 0
    for labels in map(read_labels, sequence.annotations):
        one, other = box_of_mask(labels == FIRST), box_of_mask(labels == SECOND)
        lower, upper = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
        count += bool((upper > lower).all())
    return count


def mean_of(name: str, rows: Sequence[Comparison]) -> Comparison:
    """Means of J&F, sums of all else."""
    ways = zip(*((row.single, *row.together) for row in rows), strict=True)
    single, *together = [
        Outcome(float(np.mean([one.jf for one in way])), sum(one.swaps for one in way)) for way in ways
    ]
    frames, meeting = sum(row.frames for row in rows), sum(row.meeting for row in rows)
    return Comparison(name, frames, meeting, single, tuple(together))


def show_head(interactions: Sequence[Interaction]) -> None:
    """What the columns are."""
    ways = "".join(f"{way:>13}{'swaps':>7}" for way in ("single", *interactions))
    print(f"{'pair':40}{'frames':>7}{'meeting':>9}{ways}", flush=True)


def show(row: Comparison) -> None:
    """One line of the table."""
    ways = "".join(f"{way.jf:>13.4f}{way.swaps:>7}" for way in (row.single, *row.together))
    print(f"{row.name:40}{row.frames:>7}{row.meeting:>9}{ways}", flush=True)


if __name__ == "__main__":
    main()
