"""All figures of an evaluation as plain data, the headline first. docs/evaluation.md explains each key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

import numpy as np
from maskstream.model.metrics import Statistics

from .costs import Realtime
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

    The first frame of each sequence is left out: the networks may get ready for its size on it. Nulls where
    no frame was encoded for itself, as in a live stream.
    """
    frames = [
        times
        for sequence in sequences
        for times in list(zip(sequence.encode_ms, sequence.track_ms, strict=True))[1:]
        if times[0] > 0
    ]
    total_s = sum(map(sum, frames)) / 1e3
    return {
        "fps": len(frames) / total_s if total_s else None,
        "encode_ms": median(encode_ms for encode_ms, _ in frames) if frames else None,
        "track_ms": median(track_ms for _, track_ms in frames) if frames else None,
    }


def realtime_record(sequences: Sequence[SequenceScores], realtime: Realtime) -> Record:
    """What a live stream was taken for, and how its masks came."""
    scores = [score for found in objects_of(sequences) for score in found.followed]
    frames = sum(len(sequence.encode_ms) for sequence in sequences)
    hows = Counter(score.how for score in scores)
    ages_ms = [score.age_ms for score in scores if score.mask_px]
    return {
        "rate": realtime.rate,
        "costs_ms": asdict(realtime.costs),
        "costs_are_measured": realtime.are_measured,
        "fresh_fps": sum(sequence.encoded for sequence in sequences) * realtime.rate / frames,
        "how": {how: count / len(scores) for how, count in sorted(hows.items())},
        "age_p50_ms": float(np.percentile(ages_ms, 50)) if ages_ms else None,
        "age_p95_ms": float(np.percentile(ages_ms, 95)) if ages_ms else None,
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
