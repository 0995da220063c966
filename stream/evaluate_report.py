"""All figures of an evaluation as plain data, the headline first. docs/evaluation.md explains each key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

from maskstream.model.metrics import Statistics

from .evaluate_calibration import calibration_record, promises_of
from .evaluate_scores import ObjectScores, SequenceScores, absence, mean_statistics, objects_of
from .records import Record


def video_record(sequences: Sequence[SequenceScores]) -> Record:
    """Overall figures under `J`, `F`, `JF`, ..., and each sequence's under `sequences`."""
    objects = objects_of(sequences)
    return {
        **_mean_figures(objects),
        "objects": len(objects),
        "frames": sum(len(sequence.encode_ms) for sequence in sequences),
        **speed_record(sequences),
        **asdict(absence(objects)),
        **calibration_record(promises_of(sequences)),
        "sequences": [_sequence_record(sequence) for sequence in sequences],
    }


def speed_record(sequences: Sequence[SequenceScores]) -> Record:
    """Frames per second of encoding and tracking together (without reading and scoring), and ms per stage.

    The first frame of each sequence is left out: the networks may get ready for its size on it.
    """
    encode_ms = [ms for sequence in sequences for ms in sequence.encode_ms[1:]]
    track_ms = [ms for sequence in sequences for ms in sequence.track_ms[1:]]
    total_s = (sum(encode_ms) + sum(track_ms)) / 1e3
    return {
        "fps": len(encode_ms) / total_s if total_s else None,
        "encode_ms": median(encode_ms),
        "track_ms": median(track_ms),
    }


def _sequence_record(sequence: SequenceScores) -> Record:
    return {
        "name": sequence.name,
        **_mean_figures(sequence.objects),
        "frames": len(sequence.encode_ms),
        **speed_record([sequence]),
        **asdict(absence(sequence.objects)),
        "objects": [
            {"id": found.object_id, "first_frame": found.first_frame, **_figures(found.j, found.f)}
            for found in sequence.objects
        ],
    }


def _mean_figures(objects: Sequence[ObjectScores]) -> Record:
    j, f = mean_statistics([found.j for found in objects]), mean_statistics([found.f for found in objects])
    return _figures(j, f)


def _figures(j: Statistics, f: Statistics) -> Record:
    return {
        "J": j.mean,
        "F": f.mean,
        "JF": (j.mean + f.mean) / 2,
        "J_recall": j.recall,
        "J_decay": j.decay,
        "F_recall": f.recall,
        "F_decay": f.decay,
    }
