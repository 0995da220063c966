"""Calls into FFmpeg that may hang, run where their caller can walk away from them.

FFmpeg cannot be interrupted while it resolves a host name or waits in a device driver, and closing a
container under its feet crashes. So such calls get a thread of their own; who waits for them waits here, and
is freed by a deadline or by `close()`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


_LOOK_S = 0.05  # how often a waiting caller looks whether the value is still wanted


def call_with_deadline(
    work: Callable[[], T],
    timeout_s: float,
    discard: Callable[[T], None],
    cancelled: threading.Event | None = None,
) -> T:
    """`work()`'s value, or TimeoutError after `timeout_s`; a value that comes too late goes to `discard`.

    Raises:
        TimeoutError: the deadline passed, or `cancelled` was set; `work` is left to end by itself.
    """
    call = _Call(work, discard)
    threading.Thread(target=call.run, name="maskstream-connect", daemon=True).start()
    try:
        in_time = _wait(call.done, timeout_s, cancelled)
    except BaseException:  # Ctrl-C while waiting
        call.abandon()
        raise
    if not in_time and call.abandon():
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    return call.value()


def _wait(done: threading.Event, timeout_s: float, cancelled: threading.Event | None) -> bool:
    if cancelled is None:
        return done.wait(timeout_s)
    deadline_s = time.monotonic() + timeout_s
    while not cancelled.is_set() and (left_s := deadline_s - time.monotonic()) > 0:
        if done.wait(min(left_s, _LOOK_S)):
            return True
    return done.is_set()


class _Call(Generic[T]):
    """One piece of work on its thread, and who owns its value."""

    def __init__(self, work: Callable[[], T], discard: Callable[[T], None]) -> None:
        self.done = threading.Event()
        self._work, self._discard = work, discard
        self._lock = threading.Lock()
        self._abandoned = False
        self._values: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            value = self._work()
        except BaseException as error:
            self._error = error
            self.done.set()
            return
        with self._lock:
            if not self._abandoned:
                self._values.append(value)
                self.done.set()
                return
        self._discard(value)

    def abandon(self) -> bool:
        """Give up on the value; False where it has come meanwhile."""
        with self._lock:
            self._abandoned = not self.done.is_set()
            return self._abandoned

    def value(self) -> T:
        if self._error is not None:
            raise self._error
        return self._values[0]


class ReaderThread(Generic[T]):
    """Runs an iterator on its own thread, one item ahead; `close()` frees whoever waits on either side."""

    def __init__(self, items: Iterator[T], on_end: Callable[[], None]) -> None:
        """`on_end` runs on the reader's thread after the last item, or after `close()` was noticed."""
        self._items, self._on_end = items, on_end
        self._changed = threading.Condition()
        self._slot: list[T] = []
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="maskstream-reader", daemon=True)
        self._thread.start()

    def get(self, timeout_s: float) -> T | None:
        """The next item; None at the end or after `close()`.

        Raises:
            TimeoutError: nothing came for `timeout_s`.
            Exception: what the iterator raised, after all its items were given out.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._slot or self._ended or self._closed, timeout_s):
                raise TimeoutError(f"nothing came for {timeout_s:g} s")
            if self._closed:
                return None
            if self._slot:
                self._changed.notify_all()
                return self._slot.pop()
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Ask the thread to stop and free a waiting `get`; returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False where it still hangs in a call."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._offer(item):
                    break
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:  # first: closing may take its time, as when a server says nothing more
                self._ended = True
                self._changed.notify_all()
            self._on_end()

    def _offer(self, item: T) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self._slot or self._closed)
            if self._closed:
                return False
            self._slot.append(item)
            self._changed.notify_all()
            return True
