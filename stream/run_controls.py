"""What can be done to a run from outside, and what it tells: see control_desk.Controls."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import Future
from enum import Enum
from typing import Any

from .agenda import Agenda
from .commands import Applied, Command
from .pipeline import Pipeline
from .stream_status import first_status, with_last, with_source
from .types import FrameResult, StreamInfo
from .wire import status_record


class RunControls:
    """The handles of one run. Any thread may use them.

    Args:
        info: of the stream.
        agenda: what the segmenter does when.
        pipeline: the run's.
    """

    def __init__(self, info: StreamInfo, agenda: Agenda, pipeline: Pipeline) -> None:
        self._info, self._agenda, self._pipeline = info, agenda, pipeline
        self._status = first_status(info, 0.0)  # replaced as a whole, so that every thread sees one moment
        self.was_shut_down = False
        self._lock = threading.Lock()
        self._carried_out: list[tuple[Applied, Future[Applied]]] = []  # on frames that saw() is yet to see
        self._is_over = False

    def saw(self, result: FrameResult) -> None:
        """Take note of a result; called in the segmenter's thread."""
        self._status = with_last(self._status, result)
        self._answer()

    def close(self) -> None:
        """No more results come. May be called twice."""
        self._agenda.close()
        self._is_over = True
        self._answer()

    @property
    def picture_hw(self) -> tuple[int, int]:
        """Height and width of the stream's pictures, px."""
        return self._status.height_px, self._status.width_px

    def submit(self, command: Command) -> Future[Applied]:
        """Have something done to the objects; once that is answered, situation() tells of it too."""
        answer: Future[Applied] = Future()

        def carried_out(done: Future[Applied]) -> None:
            error = done.exception()
            if error is not None:
                answer.set_exception(error)
                return
            with self._lock:
                self._carried_out.append((done.result(), answer))
            self._answer()

        self._agenda.submit(command).add_done_callback(carried_out)
        return answer

    def _answer(self) -> None:
        """Answer what has been seen."""
        last = -1 if self._status.index is None else self._status.index
        with self._lock:
            seen = [one for one in self._carried_out if self._is_over or one[0].index <= last]
            self._carried_out = [one for one in self._carried_out if one not in seen]
        for effect, answer in seen:
            answer.set_result(effect)

    def pause(self) -> None:
        """Look at no more frames."""
        self._pipeline.pause()

    def resume(self) -> None:
        """Look at frames again."""
        self._pipeline.resume()

    def shut_down(self) -> None:
        """End the run."""
        self.was_shut_down = True
        self._pipeline.stop()

    def situation(self) -> dict[str, Any]:
        """The stream and its objects, plain values."""
        status = with_source(self._status, self._pipeline.source_status(), self._pipeline.is_paused)
        record = status_record(status)
        del record["heartbeat_s"]  # of messages
        return {"source": self._info.source_id, **record}

    def metrics(self) -> dict[str, Any]:
        """Counts and times so far, plain values."""
        source = self._pipeline.source_status()
        return {
            "pipeline": _plain(dataclasses.asdict(self._pipeline.report())),
            "source": None if source is None else _plain(dataclasses.asdict(source)),
        }


def _plain(value: Any) -> Any:
    """Enums as their values, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.value if isinstance(value, Enum) else value
