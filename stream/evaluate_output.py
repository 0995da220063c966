"""The folder that an evaluation leaves behind: figures, label pictures, and pictures for people."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
from maskstream.model.errors import SinkError
from maskstream.model.types import RgbImage

from .evaluate_data import LabelledSequence
from .evaluate_pictures import plot_j, worst_frames, worst_sheet
from .evaluate_scores import SequenceScores
from .evaluate_stills import InstanceScore
from .mask_sink import write_whole
from .records import Record
from .targets import cannot_write, check_folder

RESULTS, FRAMES, INSTANCES, WORST = "results.json", "frames.csv", "instances.csv", "worst.jpg"
PREDICTIONS, PLOTS = "predictions", "plots"


class EvaluationFolder:
    """Where results go. What an earlier evaluation left there is removed by `begin`.

    Args:
        folder: made if missing; its parent must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.predictions = folder / PREDICTIONS

    def check(self) -> None:
        """See that it can be made or written to; creates nothing.

        Raises:
            SinkError: it cannot, or it holds things that are not an evaluation's.
        """
        if not self.folder.exists():
            check_folder(self.folder.parent)
            return
        check_folder(self.folder)
        if any(self.folder.iterdir()) and not (self.folder / RESULTS).exists():
            raise SinkError(f"{self.folder} holds other files; choose an empty or new folder for --out")

    def begin(self, settings: Record, sequences: Iterable[str]) -> None:
        """Make the folders, and note what is being measured.

        Raises:
            SinkError: something cannot be written.
        """
        try:
            for name in (PREDICTIONS, PLOTS):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            for name in (FRAMES, INSTANCES, WORST):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.mkdir(exist_ok=True)
            for sequence in sequences:
                self.predictions_of(sequence).mkdir(parents=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        self._write(RESULTS, json_bytes({"is_complete": False, **settings}))

    def predictions_of(self, sequence: str) -> Path:
        """Where the label pictures of a sequence go."""
        return self.predictions / sequence

    def write_video(self, sequences: Sequence[LabelledSequence], scores: Sequence[SequenceScores]) -> None:
        """A row for each scored frame, the plots, and the sheet of the worst frames."""
        self._write(FRAMES, _csv(_frame_rows(scores)))
        try:
            (self.folder / PLOTS).mkdir()
        except OSError as error:
            raise cannot_write(self.folder / PLOTS, error) from error
        for one in scores:
            self._write(f"{PLOTS}/{one.name}.png", _encoded(plot_j(one), ".png"))
        worst = worst_frames(scores)
        if worst:
            self._write(WORST, _encoded(worst_sheet(worst, sequences, self.predictions), ".jpg"))

    def write_stills(self, scores: Sequence[InstanceScore]) -> None:
        """A row for each thing."""
        self._write(INSTANCES, _csv([asdict(score) for score in scores]))

    def finish(self, record: Record) -> None:
        """The figures: the sign that everything is there."""
        self._write(RESULTS, json_bytes({"is_complete": True, **record}))

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self.folder / name, data)


def _frame_rows(scores: Iterable[SequenceScores]) -> list[Record]:
    return [
        {"sequence": sequence.name, "object": found.object_id, **asdict(score)}
        for sequence in scores
        for found in sequence.objects
        for score in found.scores
    ]


def _csv(rows: Sequence[Record]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def json_bytes(record: Record) -> bytes:
    """A JSON file that people can read too."""
    return json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"


def _encoded(image: RgbImage, suffix: str) -> bytes:
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return bytes(data)
