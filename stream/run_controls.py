"""What can be done to a run from outside, and what it tells: see control_desk.Controls."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .agenda import Agenda
from .commands import Applied, Command, Remove
from .pipeline import Pipeline
from .stream_status import first_status, with_last, with_source
from .types import FrameResult, StreamInfo
from .wire import status_record

_ROUNDING_NS = 1e5  # ages are in ms
_LONG_NS = 5e9  # by then every result rests on a later frame, even if another command left nothing to see


@dataclass(frozen=True, slots=True, eq=False)
class _CarriedOut:
    """A command that was carried out, and who waits to hear of it."""

    command: Command
    effect: Applied
    answer: Future[Applied]


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
        self._carried_out: list[_CarriedOut] = []  # and not seen in a result
        self._is_over = False

    def saw(self, result: FrameResult) -> None:
        """Take note of a result; called in the pipeline's thread for it."""
        self._status = with_last(self._status, result)
        with self._lock:
            seen = [one for one in self._carried_out if _shows(result, one)]
            self._carried_out = [one for one in self._carried_out if one not in seen]
        for one in seen:
            one.answer.set_result(_moved(one.effect, result))

    def close(self) -> None:
        """No more results come. May be called twice."""
        self._agenda.close()
        with self._lock:
            self._is_over, rest, self._carried_out = True, self._carried_out, []
        for one in rest:
            one.answer.set_result(one.effect)

    @property
    def picture_hw(self) -> tuple[int, int]:
        """Height and width of the stream's pictures, px."""
        return self._status.height_px, self._status.width_px

    def submit(self, command: Command) -> Future[Applied]:
        """Have something done to the objects; answered with the first result that shows it.

        Where the deadline ladder answers frames before they are encoded, that is a later frame than the one
        on which it was carried out.
        """
        answer: Future[Applied] = Future()

        def carried_out(done: Future[Applied]) -> None:
            error = done.exception()
            if error is not None:
                answer.set_exception(error)
                return
            with self._lock:
                if not self._is_over:
                    self._carried_out.append(_CarriedOut(command, done.result(), answer))
                    return
            answer.set_result(done.result())

        self._agenda.submit(command).add_done_callback(carried_out)
        return answer

    @property
    def is_paused(self) -> bool:
        """Whether no frames are looked at."""
        return self._pipeline.is_paused

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


def _shows(result: FrameResult, one: _CarriedOut) -> bool:
    """Whether a result rests on the frame on which a command was carried out, or on a later one."""
    effect, frame = one.effect, result.frame
    if frame.index < effect.index:
        return False
    evidence_ns = [frame.captured_ns - found.age_ms * 1e6 for found in result.objects]
    if any(time_ns > effect.captured_ns - _ROUNDING_NS for time_ns in evidence_ns):
        return True
    is_bare = isinstance(one.command, Remove) and not result.objects
    return is_bare or frame.captured_ns - effect.captured_ns > _LONG_NS


def _moved(effect: Applied, result: FrameResult) -> Applied:
    """The effect, on the frame of a result."""
    frame = result.frame
    later_s = float((frame.pts - effect.pts) * frame.time_base)
    return dataclasses.replace(
        effect,
        index=frame.index,
        pts=frame.pts,
        time_s=effect.time_s + later_s,
        captured_ns=frame.captured_ns,
    )


def _plain(value: Any) -> Any:
    """Enums as their values, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.value if isinstance(value, Enum) else value
