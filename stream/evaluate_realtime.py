"""What a live stream would have got, worked out without a clock: the ladder's decisions by given costs.

A frame comes every 1/rate s. Encoding and tracking a frame takes the worker so long, moving masks the ladder
so long; what is computed is computed for real, only time is made up. The same costs give the same masks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from maskstream.model.coast import Coaster, Imprint, held
from maskstream.model.drift import Drift, Thumb
from maskstream.model.guided_motion import Guide
from maskstream.model.types import ObjectMask, RgbImage

from .costs import Costs, Realtime
from .ladder import STALE, Ladder, Segmenting, Slot
from .pipeline import LIVE_PLAN
from .telemetry import StageStats
from .types import Frame, FrameResult


class VirtualClock:
    """Time that passes when somebody says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """Now."""
        return self.now_ns

    def pass_ms(self, duration_ms: float) -> None:
        """Let so much time pass."""
        self.now_ns += round(1e6 * duration_ms)

    def pass_until(self, then_ns: int) -> None:
        """Let time pass; it does not run backwards."""
        self.now_ns = max(self.now_ns, then_ns)


class SimulatedWorker:
    """See `ladder.Worker`: works at once, and lets nobody see the result before its time."""

    def __init__(
        self, work: Callable[[Frame], FrameResult], took_ns: int, stale_ns: int, clock: VirtualClock
    ) -> None:
        self._work, self._took_ns, self._stale_ns, self._clock = work, took_ns, stale_ns, clock
        self.stats = StageStats(clock)
        self._slot = Slot()
        self._in_work: FrameResult | None = None
        self._done_ns = 0  # when it will be, or was
        self._done: deque[FrameResult] = deque()

    def offer(self, frame: Frame, *, must: bool) -> bool:
        """See `ladder.Worker`."""
        self._catch_up()
        is_taken = self._slot.offer(frame, must=must)
        if self._in_work is None:
            self._begin(self._clock())
        return is_taken

    def wait(self, until_ns: int) -> FrameResult | None:
        """See `ladder.Worker`."""
        self._catch_up()
        if not self._done and self._in_work is not None:
            self._clock.pass_until(min(until_ns, self._done_ns))
            self._catch_up()
        return self._done.popleft() if self._done else None

    @property
    def indexes(self) -> frozenset[int]:
        """See `ladder.Worker`."""
        results = [*self._done, *([self._in_work] if self._in_work else [])]
        waiting = [self._slot.frame.index] if self._slot.frame else []
        return frozenset([result.frame.index for result in results] + waiting)

    @property
    def takes_ns(self) -> int:
        """See `ladder.Worker`."""
        return self._took_ns

    @property
    def expected_ns(self) -> int | None:
        """See `ladder.Worker`."""
        return None if self._in_work is None else self._done_ns

    def close(self) -> None:
        """Nothing to stop."""

    def _begin(self, now_ns: int) -> None:
        frame = self._slot.take()
        if frame is not None:
            self._done_ns = now_ns + self._took_ns
            self._in_work = replace(self._work(frame), done_ns=self._done_ns)

    def _catch_up(self) -> None:
        while self._in_work is not None and self._done_ns <= self._clock():
            self._done.append(self._in_work)
            self._in_work = None
            self._slot.drop_older(self._done_ns - self._stale_ns)
            self._begin(self._done_ns)


class TimedCoaster(Coaster):
    """A Coaster whose work takes its time on a virtual clock."""

    def __init__(self, costs: Costs, clock: VirtualClock) -> None:
        super().__init__()
        self._costs, self._clock = costs, clock

    def step(self, image: RgbImage) -> tuple[Drift, Drift]:
        """See `Coaster`."""
        self._clock.pass_ms(self._costs.flow)
        return super().step(image)

    def carry(self, imprints: Sequence[Imprint], drift: Drift, now: Thumb, age_ms: float) -> list[ObjectMask]:
        """See `Coaster`."""
        self._clock.pass_ms(self._costs.move)
        return super().carry(imprints, drift, now, age_ms)


class RealtimeSegmenter:
    """Frame -> what was published for it, for one stream's frames in order of time.

    Args:
        segmenter: what the worker runs.
        guide: its tracker's.
        realtime: how fast frames come, and what the stages cost.
    """

    def __init__(
        self, segmenter: Segmenting, guide: Callable[[Sequence[Guide]], None], realtime: Realtime
    ) -> None:
        self._clock, costs = VirtualClock(), realtime.costs
        self._interval_ns = round(1e9 / realtime.rate)
        took_ns, stale_ns = round(1e6 * (costs.encode + costs.track)), round(STALE * self._interval_ns)
        worker = SimulatedWorker(segmenter, took_ns, stale_ns, self._clock)
        coaster = TimedCoaster(costs, self._clock)
        self._ladder = Ladder(segmenter, worker, coaster, self._interval_ns, self._clock, guide)
        self._frames = 0
        self._last: FrameResult | None = None

    def __call__(self, frame: Frame) -> FrameResult:
        """Its own masks, or the last ones that were published if it was dropped from the queue."""
        arrived_ns = self._frames * self._interval_ns
        self._frames += 1
        frame = replace(frame, captured_ns=arrived_ns)
        # Dropped: before the ladder was free to take it, so many newer ones came that the queue let it go.
        if self._last is not None and self._clock() >= arrived_ns + LIVE_PLAN.capacity * self._interval_ns:
            return _late(self._last, frame)
        self._clock.pass_until(arrived_ns)
        self._last = self._ladder(frame)
        return self._last


def _late(last: FrameResult, frame: Frame) -> FrameResult:
    """What somebody who looks at a dropped frame's time has: the masks of a frame before."""
    later_ms = (frame.captured_ns - last.frame.captured_ns) / 1e6
    objects = tuple(held(found, found.age_ms + later_ms) for found in last.objects)
    return replace(last, frame=frame, objects=objects)
