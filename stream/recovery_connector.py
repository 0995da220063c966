"""Tries to connect to a source, again and again, until it is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from random import Random

from maskstream.model.errors import SourceError

from .recovery_backoff import BackOff
from .recovery_settings import ReconnectConfig
from .source_base import BaseSource, UnreadyError

KNOCK_S = 0.25  # how often to look whether somebody is there again

Connect = Callable[[threading.Event], BaseSource]
"""Opens a connection. Raises SourceError where it cannot, and soon after the event is set."""


Pause = Callable[[float], bool]
"""Waits, at most so many s; True if that was cut short because nobody wants the source any more."""


class GaveUpError(Exception):
    """It was tried for as long as is allowed."""


class Connector:
    """Connects, with waits between the tries.

    Args:
        connect: one try.
        settings: how long to wait, and for how long to try.
        answers: whether somebody listens there at all: a cheap look, which shortens the wait for a server
            that was gone; None where there is no such way.
        rng: for the jitter.
        closed: set when the source is not wanted any more.
        clock: monotonic, in s.
        pause: waits.
    """

    def __init__(
        self,
        connect: Connect,
        settings: ReconnectConfig,
        *,
        answers: Callable[[], bool] | None = None,
        rng: Random | None = None,
        closed: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause | None = None,
    ) -> None:
        self.closed = closed or threading.Event()
        self._connect, self._answers, self._clock = connect, answers, clock
        self._give_up_after_s = settings.give_up_after_s
        self._back_off = BackOff(settings.first_delay_s, settings.longest_delay_s, rng or Random())
        self._pause: Pause = pause or self.closed.wait

    def once(self) -> BaseSource:
        """One try.

        Raises:
            SourceError: it cannot be opened.
        """
        return self._connect(self.closed)

    def until_connected(
        self, on_failure: Callable[[SourceError], None], error: SourceError | None = None
    ) -> BaseSource | None:
        """Wait and try until it works; None if it is not wanted any more.

        Args:
            on_failure: told of every try that failed.
            error: why the last try failed, if there was one just now.

        Raises:
            GaveUpError: it has been tried for as long as is allowed.
        """
        began_s = self._clock()
        while True:
            self._wait(began_s, error)
            if self.closed.is_set():
                return None
            try:
                return self._wanted(self.once())
            except SourceError as failure:
                if self.closed.is_set():
                    return None
                error = failure
                on_failure(failure)

    def worked(self) -> None:
        """The connection is a good one: the next break is answered quickly again."""
        self._back_off.reset()

    def _wanted(self, source: BaseSource) -> BaseSource | None:
        if not self.closed.is_set():
            return source
        source.close()
        return None

    def _wait(self, began_s: float, error: SourceError | None) -> None:
        now_s = self._clock()
        until_s = now_s + self._back_off.next_s()
        if self._give_up_after_s is not None:
            if now_s - began_s >= self._give_up_after_s:
                raise GaveUpError
            until_s = min(until_s, began_s + self._give_up_after_s)
        knocks = isinstance(error, UnreadyError) and error.nobody_is_there
        while (left_s := until_s - self._clock()) > 0:
            if self._pause(min(left_s, KNOCK_S) if knocks else left_s):
                return
            if knocks and self._answers is not None and self._answers():
                self._back_off.reset()
                return
