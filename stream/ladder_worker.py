"""The ladder's other thread: runs the real segmenter on the newest frame, again and again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from .ladder import Estimate, Slot
from .telemetry import Clock
from .types import Frame, FrameResult


class ThreadWorker:
    """See `ladder.Worker`. Its thread starts with the first frame.

    Args:
        work: the real segmenter, called in one thread.
        stale_ns: a frame that has waited longer is not begun: the next one is about to come.
        clock: monotonic, in ns.
    """

    def __init__(
        self, work: Callable[[Frame], FrameResult], stale_ns: int, clock: Clock = time.monotonic_ns
    ) -> None:
        self._work, self._stale_ns, self._clock = work, stale_ns, clock
        # A daemon, so that a device driver that never returns cannot keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name="ladder worker", daemon=True)
        self._changed = threading.Condition()
        self._slot = Slot()
        self._in_work: Frame | None = None
        self._started_ns = 0
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
            started_ns = self._clock() if self._in_work is None else self._started_ns
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
        try:
            while (frame := self._next()) is not None:
                result = self._work(frame)
                with self._changed:
                    self._took.add(self._clock() - self._started_ns)
                    self._done.append(result)
                    self._in_work = None
                    self._slot.drop_older(self._clock() - self._stale_ns)
                    self._changed.notify_all()
        except BaseException as error:  # it is raised where the next frame is answered
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> Frame | None:
        """The frame to work on, as soon as there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._slot.frame is not None)
            if self._is_closed:
                return None
            self._in_work, self._started_ns = self._slot.take(), self._clock()
            return self._in_work
