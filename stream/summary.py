"""What happened in a run: counted while it runs, told when it has ended."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from maskstream.model.errors import StreamBrokenError
from maskstream.model.types import MaskOrigin, TrackState

from .commands import Command
from .pipeline import PipelineReport
from .types import FrameResult, StreamInfo


class Ending(Enum):
    """Why a run ended."""

    COMPLETE = "complete"  # the source's end, or as many frames as were asked for
    STOPPED = "stopped"  # Ctrl-C, SIGTERM or Pipeline.stop()
    BROKEN = "broken"  # the source failed in the middle
    FAILED = "failed"  # anything else: a full disk, a prompt that did not fit


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """One object over the run."""

    object_id: int
    frames: int  # since its first prompt
    tracked_share: float  # of those frames, 0..1
    mean_quality: float  # 0..1
    last_state: str


@dataclass(frozen=True, slots=True)
class SinkSummary:
    """One output."""

    name: str
    written: int  # results
    dropped: int  # results lost because the sink was slower than a live stream


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The whole run, in numbers."""

    source_id: str
    is_live: bool
    ending: Ending
    reason: str  # one sentence: where and why it ended
    frames: int  # that were segmented
    dropped: int  # by the source's queue
    media_s: float  # media time from the first to the last frame
    fps: float  # throughput
    fresh_fps: float  # of frames that were encoded, and whose masks reached the results: at once or later
    latency_p50_ms: float  # capture to result
    latency_p95_ms: float
    objects: tuple[ObjectSummary, ...]
    sinks: tuple[SinkSummary, ...]
    notes: tuple[str, ...]  # what was odd

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "ending": self.ending.value}


@dataclass(slots=True)
class _Count:
    """One object so far."""

    frames: int = 0
    tracked: int = 0
    quality_sum: float = 0.0
    last_state: TrackState = TrackState.TRACKED


class Tally:
    """Counts results as they come; one thread adds, any thread may look."""

    def __init__(self) -> None:
        self.last_index = -1  # of the last result's frame
        self.media_s = 0.0  # media time from the first result to the last
        self.encoded = 0  # frames whose encoding is behind the results
        self._evidence_ns = -math.inf  # when the newest of them was captured
        self._start_s: float | None = None
        self._counts: dict[int, _Count] = {}
        self._last_states: Counter[TrackState] = Counter()  # of objects on the last result's frame
        self._origins: Counter[MaskOrigin] = Counter()  # of all masks
        self._lock = threading.Lock()

    def add(self, result: FrameResult) -> None:
        """Count one result."""
        with self._lock:
            if self._start_s is None:
                self._start_s = result.frame.time_s
            self.last_index, self.media_s = result.frame.index, result.frame.time_s - self._start_s
            self._count_evidence(result)
            self._last_states = Counter(found.state for found in result.objects)
            self._origins.update(found.how for found in result.objects)
            for found in result.objects:
                count = self._counts.setdefault(found.object_id, _Count())
                count.frames += 1
                count.tracked += found.state is TrackState.TRACKED
                count.quality_sum += found.quality
                count.last_state = found.state

    def _count_evidence(self, result: FrameResult) -> None:
        ages_ms = [found.age_ms for found in result.objects if found.how is not MaskOrigin.REFINED]
        newest_ns = result.frame.captured_ns - 1e6 * min(ages_ms, default=math.inf)
        if newest_ns > self._evidence_ns + 1e3:  # ages are rounded
            self._evidence_ns = newest_ns
            self.encoded += 1

    def last_states(self) -> Counter[TrackState]:
        """How many objects of the last result were in each state."""
        return self._last_states

    def origins(self) -> Counter[MaskOrigin]:
        """How many masks so far rest on what."""
        with self._lock:
            return self._origins.copy()

    def objects(self) -> tuple[ObjectSummary, ...]:
        """Every object so far, by id."""
        with self._lock:
            return tuple(
                ObjectSummary(
                    object_id,
                    count.frames,
                    tracked_share=count.tracked / count.frames,
                    mean_quality=count.quality_sum / count.frames,
                    last_state=count.last_state.value,
                )
                for object_id, count in sorted(self._counts.items())
            )


def summarise(
    info: StreamInfo,
    tally: Tally,
    report: PipelineReport,
    *,
    error: BaseException | None,
    stopped: bool,
    schedule: Sequence[Command] = (),
    notes: Sequence[str] = (),
) -> RunSummary:
    """The summary of a run that has ended with `error`, or because it was `stopped`, or of itself."""
    ending = _ending(error, stopped)
    return RunSummary(
        source_id=info.source_id,
        is_live=info.is_live,
        ending=ending,
        reason=_reason(ending, error, tally),
        frames=report.segmented,
        dropped=report.dropped,
        media_s=tally.media_s,
        fps=report.segmenter.fps,
        fresh_fps=report.segmenter.fps * tally.encoded / report.segmented if report.segmented else 0.0,
        latency_p50_ms=report.segmenter.latency_p50_ms,
        latency_p95_ms=report.segmenter.latency_p95_ms,
        objects=tally.objects(),
        sinks=tuple(SinkSummary(sink.name, sink.stage.items, sink.dropped) for sink in report.sinks),
        notes=(*notes, *_unreached(schedule, tally)),
    )


def clock_text(seconds: float) -> str:
    """`1:02:03.4`, or `2:03.4` below an hour."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _ending(error: BaseException | None, stopped: bool) -> Ending:
    if isinstance(error, StreamBrokenError):
        return Ending.BROKEN
    if error is not None:
        return Ending.FAILED
    return Ending.STOPPED if stopped else Ending.COMPLETE


def _reason(ending: Ending, error: BaseException | None, tally: Tally) -> str:
    if ending is Ending.BROKEN:
        return str(error)  # names the source, the last frame, and why
    if tally.last_index < 0:
        where = "before the first frame"
    else:
        where = f"after frame {tally.last_index}, at {clock_text(tally.media_s)}"
    what = {Ending.COMPLETE: "ended", Ending.STOPPED: "stopped on request"}.get(ending, "broke off")
    return f"{what} {where}" + (f": {error}" if error is not None else "")


def _unreached(schedule: Sequence[Command], tally: Tally) -> list[str]:
    timed = ((command.time_s or 0.0, command.what) for command in schedule)
    return [
        f"the {what} at {clock_text(time_s)} was not reached"
        for time_s, what in timed
        if tally.last_index < 0 or time_s > tally.media_s + 1e-6
    ]
