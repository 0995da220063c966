"""Where the time goes, in fixed memory however long the stream runs."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

Clock = Callable[[], int]  # monotonic, in ns

_SMALLEST_MS = 0.01
_BUCKET_RATIO = 1.04  # a percentile is within 2 % of the true value
_BUCKETS = 1 + math.ceil(math.log(1e7 / _SMALLEST_MS, _BUCKET_RATIO))  # up to 1e7 ms, about three hours
_RECENT = 33  # items behind the "recent" frame rate: about one second of video


class DurationHistogram:
    """Percentiles of any number of durations; logarithmic buckets instead of samples."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.total = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one duration."""
        self._counts[_bucket_of(duration_ms)] += 1
        self.total += 1
        self.sum_ms += duration_ms
        self.max_ms = max(self.max_ms, duration_ms)

    def up_to(self, bounds_ms: Sequence[float]) -> Durations:
        """How many durations there are up to each of the growing bounds, which are met within 2 %."""
        sums = list(accumulate(self._counts, initial=0))
        # A bucket that a bound runs through belongs below it if its middle does.
        counts = tuple(sums[min(round(_place_of(bound)), _BUCKETS)] for bound in bounds_ms)
        return Durations(counts, self.total, self.sum_ms)

    def percentile_ms(self, percent: float) -> float:
        """The duration that `percent` of all do not exceed, within 2 %; 0.0 while there are none."""
        rank, seen = max(1, math.ceil(self.total * percent / 100)), 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(_SMALLEST_MS * math.pow(_BUCKET_RATIO, bucket + 0.5), self.max_ms)
        return 0.0


def _bucket_of(duration_ms: float) -> int:
    return min(int(_place_of(duration_ms)), _BUCKETS - 1)


def _place_of(duration_ms: float) -> float:
    """Buckets from the smallest duration to this one."""
    return 0.0 if duration_ms <= _SMALLEST_MS else math.log(duration_ms / _SMALLEST_MS, _BUCKET_RATIO)


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram for others: how many durations do not exceed each bound."""

    counts: tuple[int, ...]  # one for each bound, growing
    total: int
    sum_ms: float


class Activity(Enum):
    """What a stage is doing."""

    IDLE = "idle"  # not started
    WAITING = "waiting"  # for an item
    WORKING = "working"  # on an item
    HANDING_ON = "handing on"  # the result; a full queue makes it wait
    ENDING = "ending"  # there are no more items: finishes its output
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Moment:
    """A stage at one moment."""

    activity: Activity
    since_ns: int  # of the stage's clock: when that began
    items: int  # done so far


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage did so far."""

    items: int
    fps: float  # over the whole run
    recent_fps: float  # over about the last second of video; falls when the stream stalls
    work_p50_ms: float
    work_p95_ms: float
    waited_s: float  # for something to do
    blocked_s: float  # for room downstream: backpressure
    latency_p50_ms: float  # capture to result; zeros for stages that do not record it
    latency_p95_ms: float


class StageStats:
    """A stopwatch for one stage: each call says what the time since the call before was spent on.

    One thread writes, any thread may ask for a report().
    """

    def __init__(self, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._work, self._latency = DurationHistogram(), DurationHistogram()
        self._waited_ns = self._blocked_ns = 0
        self._started_ns = self._lap_ns = self._ending_ns = clock()
        self._done_ns: deque[int] = deque(maxlen=_RECENT)
        self._activity = Activity.IDLE

    def start(self) -> None:
        """The stage begins now; without this call, at construction."""
        with self._lock:
            self._started_ns = self._lap_ns = self._clock()
            self._activity = Activity.WAITING

    def waited(self) -> None:
        """The last span was spent waiting for an item."""
        with self._lock:
            self._waited_ns += self._lap()
            self._activity = Activity.WORKING

    def worked(self) -> None:
        """The last span was spent on an item, which is done now."""
        with self._lock:
            self._work.add(self._lap() / 1e6)
            self._done_ns.append(self._lap_ns)
            self._activity = Activity.HANDING_ON

    def blocked(self) -> None:
        """The last span was spent waiting for room downstream."""
        with self._lock:
            self._blocked_ns += self._lap()
            self._activity = Activity.WAITING

    def ending(self) -> None:
        """There are no more items."""
        with self._lock:
            self._activity, self._ending_ns = Activity.ENDING, self._clock()

    def ended(self) -> None:
        """Nothing is left to do."""
        with self._lock:
            self._activity = Activity.ENDED

    def moment(self) -> Moment:
        """What the stage is doing."""
        with self._lock:
            return Moment(self._activity, max(self._lap_ns, self._ending_ns), self._work.total)

    def durations(self, bounds_ms: Sequence[float]) -> tuple[Durations, Durations]:
        """Work on an item, and latency, as histograms with these bounds."""
        with self._lock:
            return self._work.up_to(bounds_ms), self._latency.up_to(bounds_ms)

    def add_latency(self, latency_ms: float) -> None:
        """Record one item's age, capture to result."""
        with self._lock:
            self._latency.add(latency_ms)

    def report(self) -> StageReport:
        """Everything so far."""
        with self._lock:
            return StageReport(
                items=self._work.total,
                fps=_per_second(self._work.total, self._lap_ns - self._started_ns),
                recent_fps=self._recent_fps(),
                work_p50_ms=self._work.percentile_ms(50),
                work_p95_ms=self._work.percentile_ms(95),
                waited_s=self._waited_ns / 1e9,
                blocked_s=self._blocked_ns / 1e9,
                latency_p50_ms=self._latency.percentile_ms(50),
                latency_p95_ms=self._latency.percentile_ms(95),
            )

    def _lap(self) -> int:
        before, self._lap_ns = self._lap_ns, self._clock()
        return self._lap_ns - before

    def _recent_fps(self) -> float:
        gaps = len(self._done_ns) - 1
        if gaps < 1:
            return 0.0
        span_ns = self._done_ns[-1] - self._done_ns[0]
        # A next item that is overdue counts as a gap that is still growing.
        overdue_ns = self._clock() - self._done_ns[-1] - span_ns // gaps
        return _per_second(gaps, span_ns + max(0, overdue_ns))


class StepTimes:
    """How long each step of some work took; one thread writes, any may ask.

    Args:
        names: of the steps.
    """

    def __init__(self, *names: str) -> None:
        self._steps = {name: DurationHistogram() for name in names}
        self._lock = threading.Lock()

    def add(self, **durations_ms: float) -> None:
        """Count one duration of each of these steps."""
        with self._lock:
            for name, duration_ms in durations_ms.items():
                self._steps[name].add(duration_ms)

    def durations(self, bounds_ms: Sequence[float]) -> dict[str, Durations]:
        """Each step's, as a histogram with these bounds."""
        with self._lock:
            return {name: step.up_to(bounds_ms) for name, step in self._steps.items()}


def _per_second(count: int, span_ns: int) -> float:
    return count * 1e9 / span_ns if span_ns > 0 else 0.0
