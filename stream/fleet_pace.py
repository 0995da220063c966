"""How far a thread may run ahead of the GPU that it gives work to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

AHEAD = 1  # jobs that the GPU has not begun, or is at: enough for it never to wait for the next one


class Moment(Protocol):
    """When the work that was given so far is done; see `device_time.Moment`."""

    def wait(self) -> None:
        """Until it is."""


class Pace:
    """Keeps what is to be done waiting here, where it can be joined and put in order, not in the GPU's queue.

    A GPU takes work in a fraction of the time that it needs to do it. A thread that gave away all at once
    would find nothing to join, and what is urgent would wait behind all that was given before.

    Args:
        moment: takes note of what has been given so far; None where work is done when its call returns.
    """

    def __init__(self, moment: Callable[[], Moment] | None) -> None:
        self._moment = moment
        self._given: deque[Moment] = deque()

    def gave(self) -> None:
        """One more job was given; wait until no more than AHEAD are left undone."""
        if self._moment is None:
            return
        with suppress(RuntimeError):  # CUDA's: the next job fails by the same, and its stream is told
            self._given.append(self._moment())
            while len(self._given) > AHEAD:
                self._given.popleft().wait()
