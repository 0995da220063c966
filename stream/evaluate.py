"""Runs sequences with known masks through the segmenter, frame by frame, and scores what comes out."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from maskstream.model.errors import MaskstreamError

from .commands import Command
from .evaluate_data import LabelledSequence, read_labels
from .evaluate_scores import FrameScore, ObjectScores, SequenceScores, score_frame
from .evaluate_seeds import Seed, schedule_seeds
from .mask_sink import label_picture, labels_png, write_whole
from .picture_source import PictureSource
from .summary import Tally
from .types import Frame, FrameResult

FRAME_RATE = Fraction(24)  # DAVIS's

Segment = Callable[[Frame], FrameResult]
OnFrames = Callable[[int], None]  # takes how many more frames are done


MakeSegmenter = Callable[[Sequence[Command]], Segment]
"""Begins a new stream whose objects are shown as scheduled. Picklable where several processes are used."""


@dataclass(frozen=True, slots=True)
class Job:
    """One sequence and what is to be done with it."""

    sequence: LabelledSequence
    seed: Seed
    predictions: Path | None = None  # a folder for this sequence's label pictures


def evaluate(
    jobs: Sequence[Job], make_segmenter: MakeSegmenter, *, workers: int = 1, on_frames: OnFrames | None = None
) -> Iterator[SequenceScores]:
    """Scores of each job as it is done, in the order of the jobs.

    Args:
        jobs: the sequences.
        make_segmenter: begins each sequence's stream.
        workers: processes; each holds its own networks.
        on_frames: told of progress, after each frame or, with several workers, each sequence.

    Raises:
        StreamBrokenError: a picture is damaged.
        SinkError: a prediction cannot be written.
        MaskstreamError: a worker was killed.
    """
    advance = on_frames or _ignore
    if workers == 1:
        for job in jobs:
            yield evaluate_sequence(job, make_segmenter, advance)
        return
    work = partial(evaluate_sequence, make_segmenter=make_segmenter)
    for scores in _side_by_side(work, jobs, workers):
        advance(len(scores.encode_ms))
        yield scores


def _side_by_side(
    work: Callable[[Job], SequenceScores], jobs: Sequence[Job], workers: int
) -> Iterator[SequenceScores]:
    # Forked processes would share locks that torch's threads hold.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn) as pool:
        try:
            yield from pool.map(work, jobs)
        except BrokenProcessPool as error:
            raise MaskstreamError(
                "a worker process was ended from outside, most likely for want of memory; try fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def evaluate_sequence(
    job: Job, make_segmenter: MakeSegmenter, on_frames: OnFrames | None = None
) -> SequenceScores:
    """Run one sequence and score it; its label pictures are written as they come."""
    advance = on_frames or _ignore
    sequence = job.sequence
    segment = make_segmenter(schedule_seeds(sequence, job.seed, FRAME_RATE))
    scores: dict[int, list[FrameScore]] = {object_id: [] for object_id in sequence.first_frames}
    times: list[tuple[float, float]] = []
    tally = Tally()
    with PictureSource(sequence.pictures, source_id=sequence.name, frame_rate=FRAME_RATE) as source:
        for frame in source:
            result = segment(frame)
            times.append((result.encode_ms, result.track_ms))
            tally.add(result)
            for object_id, score in _score(sequence, result, job.predictions).items():
                scores[object_id].append(score)
            advance(1)
    objects = [
        ObjectScores(object_id, first, tuple(scores[object_id]))
        for object_id, first in sequence.first_frames.items()
    ]
    encode_ms, track_ms = zip(*times, strict=True)
    return SequenceScores(sequence.name, tuple(objects), encode_ms, track_ms, tally.encoded)


def _score(
    sequence: LabelledSequence, result: FrameResult, predictions: Path | None
) -> dict[int, FrameScore]:
    """Scores by object id; none for the first and the last frame, nor before an object's first."""
    frame = result.frame.index
    labels = label_picture(result)
    if predictions:
        write_whole(predictions / f"{sequence.annotations[frame].stem}.png", labels_png(labels))
    if not 0 < frame < len(sequence.pictures) - 1:
        return {}
    truth = read_labels(sequence.annotations[frame])
    found = {one.object_id: one for one in result.objects}
    return {
        object_id: score_frame(frame, truth == object_id, labels == object_id, found.get(object_id))
        for object_id, first in sequence.first_frames.items()
        if frame >= first
    }


def _ignore(frames: int) -> None:
    pass
