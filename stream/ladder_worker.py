"""The ladder's other thread: runs the real segmenter on the newest frame, again and again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext

from .fleet_gate import Turn
from .ladder import Estimate, Slot
from .telemetry import Clock, StageStats
from .types import Frame, FrameResult


class ThreadWorker:
    """See `ladder.Worker`. Its thread starts with the first frame.

    Args:
        work: the real segmenter, called in one thread.
        stale_ns: a frame that has waited longer is not begun: the next one is about to come.
        clock: monotonic, in ns.
        turn: waited for before a frame is taken up, where others use the networks too: so it is the newest.
    """

    def __init__(
        self,
        work: Callable[[Frame], FrameResult],
        stale_ns: int,
        clock: Clock = time.monotonic_ns,
        turn: Turn = nullcontext,
    ) -> None:
        self._work, self._stale_ns, self._clock, self._turn = work, stale_ns, clock, turn
        self.stats = StageStats(clock)  # waiting for its turn is part of the work
        # A daemon, so that a device driver that never returns cannot keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name="ladder worker", daemon=True)
        self._changed = threading.Condition()
        self._slot = Slot()
        self._in_work: Frame | None = None
        self._started_ns: int | None = None  # of what is worked on, its turn waited for
        self._took = Estimate()
        self._done: deque[FrameResult] = deque()
        self._error: BaseException | None = None
        self._is_closed = False

    def offer(self, frame: Frame, *, must: bool) -> bool:
        """See `ladder.Worker`."""
        with self._changed:
            is_taken = self._slot.offer(frame, must=must)
            self._changed.notify_all()
            if self._thread.ident is None and not self._is_closed:
                self._thread.start()
            return is_taken

    def wait(self, until_ns: int) -> FrameResult | None:
        """See `ladder.Worker`."""
        with self._changed:
            while not self._done:
                if self._error is not None:
                    raise self._error
                left_ns = until_ns - self._clock()
                if left_ns <= 0 or self._is_closed:
                    return None
                self._changed.wait(left_ns / 1e9)
            return self._done.popleft()

    @property
    def indexes(self) -> frozenset[int]:
        """See `ladder.Worker`."""
        with self._changed:
            frames = (self._slot.frame, self._in_work, *(result.frame for result in self._done))
            return frozenset(frame.index for frame in frames if frame is not None)

    @property
    def takes_ns(self) -> int:
        """See `ladder.Worker`."""
        with self._changed:
            return self._took.ns

    @property
    def expected_ns(self) -> int | None:
        """See `ladder.Worker`."""
        with self._changed:
            if self._in_work is None and self._slot.frame is None:
                return None
            started_ns = self._clock() if self._started_ns is None else self._started_ns
            return started_ns + self._took.ns

    def close(self) -> None:
        """See `ladder.Worker`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            has_started = self._thread.ident is not None
        if has_started:
            self._thread.join()

    def _run(self) -> None:
        self.stats.start()
        try:
            while (started_ns := self._wanted_ns()) is not None:
                self.stats.waited()
                with self._turn():
                    frame = self._next()
                    result = None if frame is None else self._work(frame)
                if result is not None:
                    self.stats.worked()
                self.stats.blocked()  # nobody has to take the result at once
                with self._changed:
                    self._started_ns = self._in_work = None
                    if result is None:
                        continue
                    self._took.add(self._clock() - started_ns)
                    self._done.append(result)
                    self._slot.drop_older(self._clock() - self._stale_ns)
                    self._changed.notify_all()
        except BaseException as error:  # it is raised where the next frame is answered
            with self._changed:
                self._error = error
                self._changed.notify_all()
        self.stats.ended()

    def _wanted_ns(self) -> int | None:
        """When there was a frame to work on, as soon as there is; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._slot.frame is not None)
            self._started_ns = None if self._is_closed else self._clock()
            return self._started_ns

    def _next(self) -> Frame | None:
        """The frame to work on; None if the end has come before."""
        with self._changed:
            self._in_work = None if self._is_closed else self._slot.take()
            return self._in_work
