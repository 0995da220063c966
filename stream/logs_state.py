"""Tells the log how a stream is getting on: each change of state, each connection, pauses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .logs import log_event
from .source_status import SourceState, SourceStatus

if TYPE_CHECKING:
    from .pipeline import Pipeline

log = logging.getLogger("maskstream")


class StateLog:
    """Compares what it sees with what it saw.

    Args:
        name: the stream's.
        pipeline: what is looked at.
    """

    def __init__(self, name: str, pipeline: Pipeline) -> None:
        self._name, self._pipeline = name, pipeline
        self._state: SourceState | None = None
        self._reconnects = 0
        self._is_paused = False

    def look(self) -> None:
        """Look once; one thread at a time."""
        status, is_paused = self._pipeline.source_status(), self._pipeline.is_paused
        if status is not None:
            self._compare(status)
        if is_paused != self._is_paused:
            self._is_paused = is_paused
            self._log("paused" if is_paused else "resumed", "paused" if is_paused else "goes on")

    def _compare(self, status: SourceStatus) -> None:
        state, before = status.state, self._state
        if state is not before:
            self._state = state
            why = status.last_error if state in (SourceState.RECONNECTING, SourceState.FAILED) else None
            self._log(
                "source_state",
                f"{state.value}{f': {why}' if why else ''}",
                state=state.value,
                before=None if before is None else before.value,
                reason=why,
                frames=status.frames,
            )
        if status.counts.reconnects != self._reconnects:
            count = self._reconnects = status.counts.reconnects
            self._log("reconnected", f"connected again, {count} so far", reconnects=count)

    def _log(self, event: str, words: str, **fields: object) -> None:
        log_event(log, logging.INFO, event, f"{self._name}: {words}", source=self._name, **fields)
