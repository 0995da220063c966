"""Who may use the networks next, where several streams share them: none waits for ever, none is favoured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from .types import Frame, FrameResult

if TYPE_CHECKING:
    from .segmenter import Segmenter
    from .telemetry import StepTimes

Turn = Callable[[], AbstractContextManager[None]]
"""Waits until it is one's turn; the turn is over when the `with` is."""


class Gate:
    """Lets so many in at once: always the one whose last turn is longest ago, whoever else asks how often.

    Newcomers go first. Whoever is inside and takes long keeps one place from the others, not all of them.

    Args:
        places: how many may be inside at once.
    """

    def __init__(self, places: int) -> None:
        if places < 1:
            raise ValueError(f"places must be at least 1, got {places}")
        self._places = places
        self._changed = threading.Condition()
        self._waiting: dict[int, str] = {}  # names by arrival
        self._last_turns: dict[str, int] = {}  # numbers of turns by name
        self._arrivals = self._turns = self._inside = 0

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for a place, have it, and leave it."""
        self._enter(name)
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who waits, in order of arrival."""
        with self._changed:
            return tuple(self._waiting.values())

    def _enter(self, name: str) -> None:
        with self._changed:
            ticket = self._arrivals
            self._arrivals += 1
            self._waiting[ticket] = name
            try:
                self._changed.wait_for(lambda: self._inside < self._places and self._next() == ticket)
            finally:  # an interrupt must not leave somebody in the queue who is not there
                del self._waiting[ticket]
                self._changed.notify_all()
            self._inside += 1
            self._turns += 1
            self._last_turns[name] = self._turns

    def _next(self) -> int:
        return min(self._waiting, key=lambda ticket: (self._last_turns.get(self._waiting[ticket], 0), ticket))


class InTurn:
    """A segmenter that waits for its turn with each frame."""

    def __init__(self, segmenter: Segmenter, turn: Turn) -> None:
        self._segmenter, self._turn = segmenter, turn

    @property
    def steps(self) -> StepTimes:
        """See `Segmenter`."""
        return self._segmenter.steps

    def __call__(self, frame: Frame) -> FrameResult:
        """See `Segmenter`."""
        with self._turn():
            return self._segmenter(frame)

    def close(self) -> None:
        """See `Segmenter`."""
        self._segmenter.close()
