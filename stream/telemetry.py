"""Where the time goes, in fixed memory however long the stream runs."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

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
        self.max_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one duration."""
        self._counts[_bucket_of(duration_ms)] += 1
        self.total += 1
        self.max_ms = max(self.max_ms, duration_ms)

    def percentile_ms(self, percent: float) -> float:
        """The duration that `percent` of all do not exceed, within 2 %; 0.0 while there are none."""
        rank, seen = max(1, math.ceil(self.total * percent / 100)), 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(_SMALLEST_MS * math.pow(_BUCKET_RATIO, bucket + 0.5), self.max_ms)
        return 0.0


def _bucket_of(duration_ms: float) -> int:
    if duration_ms <= _SMALLEST_MS:
        return 0
    return min(int(math.log(duration_ms / _SMALLEST_MS, _BUCKET_RATIO)), _BUCKETS - 1)


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
        self._started_ns = self._lap_ns = clock()
        self._done_ns: deque[int] = deque(maxlen=_RECENT)

    def start(self) -> None:
        """The stage begins now; without this call, at construction."""
        with self._lock:
            self._started_ns = self._lap_ns = self._clock()

    def waited(self) -> None:
        """The last span was spent waiting for an item."""
        with self._lock:
            self._waited_ns += self._lap()

    def worked(self) -> None:
        """The last span was spent on an item, which is done now."""
        with self._lock:
            self._work.add(self._lap() / 1e6)
            self._done_ns.append(self._lap_ns)

    def blocked(self) -> None:
        """The last span was spent waiting for room downstream."""
        with self._lock:
            self._blocked_ns += self._lap()

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


def _per_second(count: int, span_ns: int) -> float:
    return count * 1e9 / span_ns if span_ns > 0 else 0.0
