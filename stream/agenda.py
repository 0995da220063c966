"""Carries commands from whoever gives them, in any thread and at any time, to the segmenter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from maskstream.model.errors import ControlError, PromptError

from .commands import NOW, Applied, Command, Show
from .types import Frame

MAX_WAITING = 1024  # commands; more than anybody means, and a bound for memory
_TICK_S = 1e-6  # times come from fractions by way of floats

log = logging.getLogger("maskstream")


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A command, and who waits for what becomes of it."""

    command: Command
    answer: Future[Applied] = field(default_factory=Future)

    def applied(self, effect: Applied) -> None:
        """It has taken effect."""
        self.answer.set_result(effect)

    def refused(self, error: BaseException) -> None:
        """It cannot be done, and nothing has changed."""
        self.answer.set_exception(error)


def log_refusal(command: Command, answer: Future[Applied]) -> None:
    """A warning in the log where nobody else may look at what became of a command."""
    error = None if answer.cancelled() else answer.exception()
    if error is not None:
        log.warning("refused, %s: %s", command.what, error)


class Agenda:
    """What is to be done when: a schedule that was known before, and commands that come while it runs.

    Any thread may submit(); the segmenter asks for what is due on each frame.

    Args:
        schedule: in order of time; its commands without a time are due on the first frame.
    """

    def __init__(self, schedule: Sequence[Command] = ()) -> None:
        self.schedule = tuple(schedule)
        self.refusals: list[str] = []  # of the schedule's commands, one sentence each
        self._lock = threading.Lock()
        self._waiting = [self._noted(command) for command in self.schedule]
        self._start_s: float | None = None
        self._is_closed = False

    @property
    def objects_shown(self) -> int:
        """How many objects its schedule shows, be it at different times."""
        return len({command.prompt.object_id for command in self.schedule if isinstance(command, Show)})

    def submit(self, command: Command) -> Future[Applied]:
        """Have a command carried out on the first frame at or after its time; any thread.

        The future gives the first frame in effect, or raises what was wrong: PromptError for a command that
        cannot be done, ControlError when the stream ended before.
        """
        order = Order(command)
        with self._lock:
            if self._is_closed:
                order.refused(ControlError("the stream has ended"))
            elif len(self._waiting) >= MAX_WAITING:
                order.refused(
                    ControlError(f"{MAX_WAITING} commands are waiting already; wait for their answers")
                )
            else:
                self._waiting.append(order)
        return order.answer

    def due(self, frame: Frame) -> list[Order]:
        """Take what is to be done on this frame: by time, then what has no time, in the order it came."""
        if self._start_s is None:
            self._start_s = frame.time_s
        due: list[Order] = []
        later: list[Order] = []
        with self._lock:
            for order in self._waiting:
                (due if self._is_due(order.command, frame) else later).append(order)
            self._waiting = later
        due.sort(key=lambda order: (order.command.when == NOW, self._due_s(order.command, frame)))
        return [order for order in due if order.answer.set_running_or_notify_cancel()]

    def peek(self, frame: Frame) -> list[Command]:
        """What would be due on this frame, in no certain order; any thread."""
        with self._lock:
            return [order.command for order in self._waiting if self._is_due(order.command, frame)]

    def time_s(self, frame: Frame) -> float:
        """The frame's media time after the first one."""
        return frame.time_s - (frame.time_s if self._start_s is None else self._start_s)

    def close(self) -> None:
        """No more frames come: refuse what waits, and what is yet submitted. May be called twice."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
        for order in waiting:
            if order.answer.set_running_or_notify_cancel():
                order.answer.set_exception(ControlError("the stream ended before this could take effect"))

    def _is_due(self, command: Command, frame: Frame) -> bool:
        return self._due_s(command, frame) <= self.time_s(frame) + _TICK_S

    def _due_s(self, command: Command, frame: Frame) -> float:
        if command.pts is not None:
            return self.time_s(frame) + float((command.pts - frame.pts) * frame.time_base)
        return 0.0 if command.time_s is None else command.time_s

    def _noted(self, command: Command) -> Order:
        order = Order(command)

        def note(answer: Future[Applied]) -> None:
            error = answer.exception()
            if isinstance(error, PromptError):
                log_refusal(command, answer)
                self.refusals.append(f"the {command.what} was refused: {error}")

        order.answer.add_done_callback(note)
        return order
