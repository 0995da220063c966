"""What the stages of a live stream take on this machine, measured while all of them are at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import cycle, islice
from statistics import median
from typing import TypeVar

from maskstream.model.coast import Coaster, Imprint
from maskstream.model.drift import Drift, Thumb
from maskstream.model.guided_motion import GuidedMotion
from maskstream.model.lifecycle import AnyTracker
from maskstream.model.predictor import Predictor
from maskstream.model.tracker_choice import make_tracker
from maskstream.model.types import ObjectMask, RgbImage

from .agenda import Agenda
from .costs import Costs
from .evaluate_data import LabelledSequence
from .evaluate_seeds import schedule_seeds
from .ladder import STALE, Ladder
from .ladder_worker import ThreadWorker
from .picture_source import PictureSource
from .segmenter import Segmenter
from .types import Frame, FrameResult

SECONDS = 5.0  # of play
WARM_UP = 3  # encoded frames, and as many flows, that do not count

T = TypeVar("T")


class TimedSegmenter(Segmenter):
    """Keeps what each frame took."""

    def __init__(self, predictor: Predictor, tracker: AnyTracker, agenda: Agenda) -> None:
        super().__init__(predictor, tracker, agenda)
        self.encode_ms: list[float] = []
        self.track_ms: list[float] = []

    def __call__(self, frame: Frame) -> FrameResult:
        """See `Segmenter`."""
        result = super().__call__(frame)
        self.encode_ms.append(result.encode_ms)
        self.track_ms.append(result.track_ms)
        return result


class TimedCoaster(Coaster):
    """Keeps what each call took."""

    def __init__(self) -> None:
        super().__init__()
        self.flow_ms: list[float] = []
        self.move_ms: list[float] = []

    def step(self, image: RgbImage) -> tuple[Drift, Drift]:
        """See `Coaster`."""
        return _timed(self.flow_ms, lambda: super(TimedCoaster, self).step(image))

    def carry(self, imprints: Sequence[Imprint], drift: Drift, now: Thumb, age_ms: float) -> list[ObjectMask]:
        """See `Coaster`."""
        return _timed(self.move_ms, lambda: super(TimedCoaster, self).carry(imprints, drift, now, age_ms))


def measure_costs(
    predictor: Predictor, sequence: LabelledSequence, rate: float, seconds: float = SECONDS
) -> Costs:
    """Medians over some seconds of the real ladder, with its thread, on the sequence's frames at this rate.

    Where the machine encodes every frame in time no mask is carried; flow and moving are then timed by
    themselves.
    """
    frame_rate = Fraction(rate).limit_denominator(1000)
    motion, coaster = GuidedMotion(), TimedCoaster()
    agenda = Agenda(schedule_seeds(sequence, "mask", frame_rate))
    segmenter = TimedSegmenter(predictor, make_tracker(predictor, motion=motion), agenda)
    budget_ns = round(1e9 / rate)
    worker = ThreadWorker(segmenter, round(STALE * budget_ns))
    ladder = Ladder(segmenter, worker, coaster, budget_ns, time.monotonic_ns, motion.guide)
    count = max(round(seconds * rate), 2 * WARM_UP)
    pictures = tuple(islice(cycle(sequence.pictures), count))
    last: FrameResult | None = None
    try:
        with PictureSource(pictures, source_id=sequence.name, frame_rate=frame_rate, realtime=True) as source:
            for frame in source:
                last = ladder(frame)
    finally:
        ladder.close()
    assert last is not None
    if len(coaster.move_ms) <= WARM_UP:
        _move_by_itself(coaster, last)
    return Costs(
        *(
            median(ms[WARM_UP:] or ms)
            for ms in (segmenter.encode_ms, segmenter.track_ms, coaster.flow_ms, coaster.move_ms)
        )
    )


def _move_by_itself(coaster: TimedCoaster, last: FrameResult) -> None:
    imprints = [Imprint.of(found, Thumb.of(last.frame.image)) for found in last.objects]
    for _ in range(3 * WARM_UP):
        drift, own = coaster.step(last.frame.image)
        coaster.carry(imprints, drift, own.origin, 0.0)


def _timed(kept_ms: list[float], work: Callable[[], T]) -> T:
    started_ns = time.monotonic_ns()
    result = work()
    kept_ms.append((time.monotonic_ns() - started_ns) / 1e6)
    return result
