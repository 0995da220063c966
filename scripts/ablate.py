"""What each part of the tracker is worth: J&F with some of its constants changed, on embeddings encoded once.

    python scripts/ablate.py DATASET --cache DIR                            the tracker as it is
    python scripts/ablate.py DATASET --cache DIR doubt=0 outlook.reach=0.1  with other TrackerSettings

The first run encodes every frame into the cache (half precision, 5 MB a frame at 1024); later runs only
track. Sequences are tracked online from the first frame's true mask, and scored as `maskstream eval` does.
"""

from __future__ import annotations

import argparse
import ast
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from maskstream.model.predictor import Predictor, load_predictor
from maskstream.model.tracker import Tracker
from maskstream.model.tracker_settings import TrackerSettings
from maskstream.model.types import ImageEmbedding, RgbImage
from maskstream.stream.agenda import Agenda
from maskstream.stream.commands import Command
from maskstream.stream.evaluate import Job, evaluate_sequence
from maskstream.stream.evaluate_data import LabelledSequence, find_sequences
from maskstream.stream.evaluate_report import video_record
from maskstream.stream.evaluate_scores import SequenceScores
from maskstream.stream.segmenter import Segmenter


class CachedPredictor(Predictor):
    """Decodes as `base` does, but encodes a sequence's frames once for all runs."""

    def __init__(self, base: Predictor, folder: Path) -> None:
        super().__init__(base.model, base.size, base.pad_to_square, base.engine)
        self._folder = folder
        self._next = 0

    def encode(self, image: RgbImage) -> ImageEmbedding:
        """The embedding of the sequence's next frame."""
        path = self._folder / f"{self._next:05d}.npz"
        self._next += 1
        if not path.exists():
            fresh = super().encode(image)
            assert fresh.detail is not None
            np.savez(
                path,
                features=fresh.features.half().numpy(),
                detail=fresh.detail.half().numpy(),
                original_hw=fresh.original_hw,
                resized_hw=fresh.resized_hw,
            )
        with np.load(path) as kept:
            features, detail = (torch.from_numpy(kept[name]).float() for name in ("features", "detail"))
            (height, width), (resized_h, resized_w) = kept["original_hw"], kept["resized_hw"]
        original_hw, resized_hw = (int(height), int(width)), (int(resized_h), int(resized_w))
        input_hw = (16 * features.shape[2], 16 * features.shape[3])
        return ImageEmbedding(features, original_hw, resized_hw, input_hw, detail)


FIGURES = ("J", "F", "JF", "absent_empty", "falsely_empty")


def _shown(name: str, figure: float | None) -> str:
    return f"{name} -" if figure is None else f"{name} {figure:.4f}"  # None: no frame to count


def changed(settings: TrackerSettings, changes: list[str]) -> TrackerSettings:
    """Settings with `name=value`, `outlook.name=value` and `finder.name=value` applied."""
    for change in changes:
        name, _, value = change.partition("=")
        group, _, inner = name.rpartition(".")
        if group:
            part = replace(getattr(settings, group), **{inner: ast.literal_eval(value)})
            settings = replace(settings, **{group: part})
        else:
            settings = replace(settings, **{name: ast.literal_eval(value)})
    return settings


def main() -> None:
    """Score all sequences and print a line for each, and one over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("changes", nargs="*", metavar="name=value")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sequences", type=Path)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seed", choices=["mask", "box", "click"], default="mask")
    parser.add_argument("--engine", default="auto", help="what decodes, and encodes in the first run")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_intermixed_args()
    torch.set_num_threads(args.threads)
    settings = changed(TrackerSettings(), args.changes)
    base = load_predictor(size=args.size, engine=args.engine, threads=args.threads)
    start = time.monotonic()

    def score(sequence: LabelledSequence) -> SequenceScores:
        folder = args.cache / str(args.size) / sequence.name
        folder.mkdir(parents=True, exist_ok=True)

        def make_segmenter(schedule: Sequence[Command]) -> Segmenter:
            return Segmenter(CachedPredictor(base, folder), Tracker(base, settings), Agenda(schedule))

        return evaluate_sequence(Job(sequence, args.seed), make_segmenter)

    all_scores = []
    for sequence in find_sequences(args.dataset, names_file=args.sequences):
        all_scores.append(score(sequence))
        record = video_record(all_scores[-1:])
        print(f"{sequence.name:20} J {record['J']:.3f} F {record['F']:.3f}", file=sys.stderr, flush=True)
    record = video_record(all_scores)
    figures = " ".join(_shown(name, record[name]) for name in FIGURES)
    print(f"{' '.join(args.changes) or 'as it is'}: {figures} ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
