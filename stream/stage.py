"""One thread that runs one function over a stream of items. All threads of the pipeline start here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from .queues import QueueClosed, StageQueue
from .telemetry import StageStats

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")


class Inbox(Protocol[T_co]):
    """Where a stage's items come from: a StageQueue, or a source."""

    def __iter__(self) -> Iterator[T_co]:
        """Items until the end; raises when there should have been more."""
        ...

    def close(self) -> None:
        """End the iteration, from any thread; may be called twice."""
        ...


def _ignore(error: BaseException) -> None:
    return None


class Stage(Generic[T, R]):
    """Takes items from `inbox`, works on each, puts the result into every outbox.

    When the inbox ends, the outboxes are closed: the end of the stream travels the same road as data. When
    `work` raises, both neighbours are closed, so that no one waits for this stage, and the error is kept.

    Args:
        name: the thread's name.
        inbox: ends by itself, or when someone closes it.
        work: a plain function of one item.
        outboxes: each gets every result.
        finish: called once at the end, in the stage's thread, whatever happened.
        on_error: told of each error, in the stage's thread, before anything else is closed.
        stats: the stage's stopwatch.
    """

    def __init__(
        self,
        name: str,
        inbox: Inbox[T],
        work: Callable[[T], R],
        outboxes: Sequence[StageQueue[R]] = (),
        *,
        finish: Callable[[], None] | None = None,
        on_error: Callable[[BaseException], None] = _ignore,
        stats: StageStats | None = None,
    ) -> None:
        self.name = name
        self.error: BaseException | None = None
        self.stats = stats or StageStats()
        self._inbox, self._work, self._outboxes = inbox, work, outboxes
        self._finish, self._on_error = finish, on_error
        # A daemon, so that a device driver that never returns cannot keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work in a thread of its own."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread's end, at most `timeout_s`; the error, if any, is in `error`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._guard(self._loop)
        self.stats.ending()
        for step in (*(box.close for box in self._outboxes), self._inbox.close, self._finish):
            if step is not None:
                self._guard(step)
        self.stats.ended()

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:  # what an error means is decided by the caller of Pipeline.join()
            self.error = self.error or error
            self._on_error(error)

    def _loop(self) -> None:
        self.stats.start()
        for item in self._inbox:
            self.stats.waited()
            result = self._work(item)
            self.stats.worked()
            if not self._hand_on(result):
                return
            self.stats.blocked()

    def _hand_on(self, result: R) -> bool:
        try:
            for outbox in self._outboxes:
                outbox.put(result)
        except QueueClosed:
            return False  # the next stage stopped first; it knows why
        return True
