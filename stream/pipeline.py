"""Wires source -> segmenter -> sinks, each in a thread of its own, and answers for how it ends."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from maskstream.model.errors import StreamBrokenError

from .queues import Overflow, StageQueue
from .source_status import SourceStatus
from .stage import Stage
from .stopping import stop_and_wait
from .telemetry import Clock, StageReport, StageStats, StepTimes
from .types import Frame, FrameResult

if TYPE_CHECKING:
    from .sinks import Sink
    from .sources import Source

_GRACE_S = 0.5  # after a failure: how long sinks may go on writing what they were already given
_GIVE_UP_S = 2.0  # where a stage hangs for good: how long the others may take to finish
_POLL_S = 0.05  # how often a waiting caller looks whether that time is over


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """How much may wait between the stages, and what a full queue does."""

    capacity: int  # frames between the source and the segmenter
    sink_capacity: int  # results before each sink
    overflow: Overflow


FILE_PLAN = QueuePlan(capacity=4, sink_capacity=8, overflow=Overflow.BLOCK)
# Two frames ride out a hiccup of the worker and never make it work on an older picture than that. A sink may
# fall further behind: half a second of video, then it loses the oldest.
LIVE_PLAN = QueuePlan(capacity=2, sink_capacity=16, overflow=Overflow.DROP_OLDEST)


@dataclass(frozen=True, slots=True)
class SinkReport:
    """What became of the results for one sink."""

    name: str
    dropped: int
    stage: StageReport


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """Counts and times so far. Once it has ended without error, `captured == segmented + dropped`."""

    captured: int  # frames that came from the source
    dropped: int  # frames the source's queue lost
    segmented: int
    capture: StageReport
    segmenter: StageReport  # with the latency from capture to result
    sinks: tuple[SinkReport, ...]


class Pipeline:
    """Runs a source through a segmenter into sinks; a slow sink never stalls the segmenter of a live stream.

    Files block and lose nothing; live streams drop the oldest and count it. How it ends:

    - the source ends: everything in flight is finished, sinks are closed, join() returns.
    - the source breaks (StreamBrokenError): the same, then join() raises that error.
    - stop(): the source is closed and what waits for the segmenter is dropped, then the same as when it ends.
    - anything raises: all stages stop. Sinks go on writing what they were given for half a second and are
      closed, so that their output stays readable; join() raises that very error.

        with Pipeline(source, segmenter, sinks) as pipeline:
            pipeline.join()

    Args:
        source: closed by the pipeline.
        segmenter: any function Frame -> FrameResult; called in one thread, as is its close(), if it has one,
            when there are no more frames.
        sinks: opened, written and closed by the pipeline, each in its own thread.
        plan: queue sizes and overflow; by default FILE_PLAN or LIVE_PLAN, as the source is.
        on_result: called with each result in the segmenter's thread; it must be quick.
        sink_names: for reports; by default the classes' names.
        clock: monotonic, in ns.
    """

    def __init__(
        self,
        source: Source,
        segmenter: Callable[[Frame], FrameResult],
        sinks: Sequence[Sink] = (),
        *,
        plan: QueuePlan | None = None,
        on_result: Callable[[FrameResult], None] | None = None,
        sink_names: Sequence[str] | None = None,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self.info = source.info
        self.plan = plan or (LIVE_PLAN if source.info.is_live else FILE_PLAN)
        self._segmenter, self._on_result, self._clock = segmenter, on_result, clock
        self._tap = _SourceTap(source)
        self._sinks = list(sinks)
        self._sink_names = list(sink_names or (type(sink).__name__ for sink in sinks))
        self._frames: StageQueue[Frame] = StageQueue(self.plan.capacity, self.plan.overflow)
        self._results: list[StageQueue[FrameResult]] = [
            StageQueue(self.plan.sink_capacity, self.plan.overflow) for _ in self._sinks
        ]
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self._failed_ns: int | None = None
        self._hurry_ns: int | None = None  # when all should have ended
        self._given_up_ns: int | None = None
        self._companions: list[tuple[Callable[[], object] | None, Callable[[], object]]] = []
        self._make_stages()

    def _make_stages(self) -> None:
        def stats() -> StageStats:
            return StageStats(self._clock)

        fail = self._stage_failed
        self._capture = Stage(
            "capture", self._tap, _same, [self._frames], on_error=self._capture_failed, stats=stats()
        )
        self._worker = Stage(
            "segmenter",
            self._frames,
            self._segment,
            self._results,
            finish=getattr(self._segmenter, "close", None),
            on_error=fail,
            stats=stats(),
        )
        self._writers = [
            Stage(name, queue, sink.write, finish=sink.close, on_error=fail, stats=stats())
            for name, queue, sink in zip(self._sink_names, self._results, self._sinks, strict=True)
        ]
        self._stages: tuple[Stage[Any, Any], ...] = (self._capture, self._worker, *self._writers)

    def _segment(self, frame: Frame) -> FrameResult:
        result = dataclasses.replace(self._segmenter(frame), dropped=self._frames.dropped)
        self._worker.stats.add_latency(result.latency_ms)
        if self._on_result:
            self._on_result(result)
        return result

    def accompany(self, start: Callable[[], object] | None, close: Callable[[], object]) -> None:
        """Start something before frames flow, and close it when they have ended and close() is called.

        `close` may be called twice, and where `start` was not; `start` may be None.
        """
        self._companions.append((start, close))

    def start(self) -> None:
        """Open the sinks, then let frames flow. Raises what a sink's open() raises; all else is join()'s."""
        opened: list[Sink] = []
        try:
            for sink in self._sinks:
                opened.append(sink)
                self._let_watch(sink)
                sink.open(self.info)
            for begin, _ in self._companions:
                if begin is not None:
                    begin()
            for stage in reversed(self._stages):
                stage.start()
        except BaseException as error:  # a Ctrl-C may come when half of the threads run
            self._undo_start(opened, error)
            raise

    def _let_watch(self, sink: Sink) -> None:
        watch = getattr(sink, "watch", None)  # only those that tell others have it
        if watch is not None:
            watch(self.source_status, lambda: self.is_paused)

    def _undo_start(self, opened: Sequence[Sink], cause: BaseException) -> None:
        steps: list[Callable[[], object]] = [self.abort, self.wait, *(sink.close for sink in opened)]
        steps += [close for _, close in self._companions]
        for step in steps:
            try:
                step()
            except Exception as error:  # the cause matters more than what it brought about
                cause.add_note(f"then closing failed too: {error}")

    def source_status(self) -> SourceStatus | None:
        """How the source is doing, if it can tell; any thread."""
        return self._tap.status()

    def reconnect(self, why: str) -> bool:
        """Have a source that hangs connect anew; False if that is not in its nature. Any thread."""
        return self._tap.reconnect(why)

    @property
    def steps(self) -> StepTimes | None:
        """How long the steps of the segmenter's work take, if it can tell."""
        return getattr(self._segmenter, "steps", None)

    @property
    def queues(self) -> tuple[tuple[str, StageQueue[Any]], ...]:
        """The queue before each stage that has one, with the stage's name."""
        return tuple(zip(("segmenter", *self._sink_names), (self._frames, *self._results), strict=True))

    @property
    def stopwatches(self) -> list[tuple[str, StageStats]]:
        """Each stage's name and stopwatch; last the segmenter's helper's, if it has one."""
        named = [(stage.name, stage.stats) for stage in self._stages]
        helper = getattr(self._segmenter, "helper_stats", None)  # only the ladder has it
        return named if helper is None else [*named, ("ladder worker", helper)]

    def pause(self) -> None:
        """Begin no more frames until resume(): a file waits, a live stream drops and counts."""
        self._frames.hold()

    def resume(self) -> None:
        """Go on; a live stream with its newest frames."""
        self._frames.release()

    @property
    def is_paused(self) -> bool:
        """Whether pause() was called last."""
        return self._frames.is_held

    def stop(self) -> None:
        """End early: segment no more frames, let the results reach the sinks. Returns at once; see join()."""
        self._frames.abort()
        self._tap.close()

    def hurry(self, within_s: float) -> None:
        """End in that time, by the stop() that follows; may be called in a signal handler.

        Sinks wait for nobody longer than that. What they have not got to by then is dropped, and they are
        closed; nobody waits any more for a frame that is still being segmented, or a source that hangs.
        """
        self._hurry_ns = self._clock() + int(within_s * 1e9)
        self._hurry_sinks(within_s)

    def abort(self) -> None:
        """End now: as stop(), but what waits for the sinks is dropped too. Returns at once."""
        self._hurry_sinks()
        for queue in self._results:
            queue.abort()
        self.stop()

    def give_up(self, error: BaseException) -> None:
        """Fail with this error, because a stage hangs: others may finish, and nobody waits for that one."""
        self._keep(error)
        self._given_up_ns = self._clock()
        self._shut_down()

    def _hurry_sinks(self, within_s: float = 0.0) -> None:
        for sink in self._sinks:
            hurry = getattr(sink, "hurry", None)  # only those that wait for others have it
            if hurry is not None:
                hurry(within_s)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all stages have ended, at most `timeout_s`; True if so. Raises none of their errors.

        After give_up() it is True soon, though one stage hangs.
        """
        deadline_ns = None if timeout_s is None else self._clock() + int(timeout_s * 1e9)
        for stage in self._stages:
            while stage.is_alive() and not self._is_left_behind(stage):
                stage.join(_POLL_S)
                self._abort_when_overdue()
                if self._given_up_ns is not None and self._clock() - self._given_up_ns > _GIVE_UP_S * 1e9:
                    return True
                if deadline_ns is not None and self._clock() >= deadline_ns:
                    return not self.is_alive()
        return True

    def join(self) -> None:
        """Wait for the end, then raise the first error: the very object a stage raised. Ctrl-C interrupts it.

        Raises:
            StreamBrokenError: the source broke; everything before the break has reached the sinks.
        """
        self.wait()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Stop and wait; a Ctrl-C meanwhile aborts. May be called twice. Errors of stages stay in `error`."""
        try:
            stop_and_wait(self)
        finally:
            for _, close in self._companions:
                close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            self.join()

    def is_alive(self) -> bool:
        """Whether any stage is still at work."""
        return any(stage.is_alive() for stage in self._stages)

    @property
    def error(self) -> BaseException | None:
        """The first error of any stage; later ones hang on it as notes."""
        return self._errors[0] if self._errors else None

    def report(self) -> PipelineReport:
        """Counts and times so far; cheap enough for a live display."""
        frames = self._frames.counts()
        return PipelineReport(
            captured=frames.put_count,
            dropped=frames.dropped,
            segmented=self._worker.stats.report().items,
            capture=self._capture.stats.report(),
            segmenter=self._worker.stats.report(),
            sinks=tuple(
                SinkReport(stage.name, queue.dropped, stage.stats.report())
                for stage, queue in zip(self._writers, self._results, strict=True)
            ),
        )

    def _capture_failed(self, error: BaseException) -> None:
        if isinstance(error, StreamBrokenError):
            self._keep(error)  # it ends like any other stream: what was captured before is worth finishing
        else:
            self._stage_failed(error)

    def _stage_failed(self, error: BaseException) -> None:
        self._keep(error)
        self._shut_down()

    def _keep(self, error: BaseException) -> None:
        with self._lock:
            self._errors.append(error)
            if error is not self._errors[0]:
                self._errors[0].add_note(f"then another stage failed too: {error}")

    def _shut_down(self) -> None:
        """Free every stage that waits. Queues go first: closing the source may wait for its thread."""
        self._failed_ns = self._failed_ns or self._clock()
        self._hurry_sinks()  # before their queues end, for then they close
        self._frames.abort()
        for queue in self._results:
            queue.close()
        try:
            self._tap.close()
        except Exception as error:
            self._keep(error)

    def _is_left_behind(self, stage: Stage[Any, Any]) -> bool:
        """Whether nobody waits for it any more; for a sink everybody does, or its file would not be whole."""
        return self._is_overdue() and stage not in self._writers

    def _is_overdue(self) -> bool:
        return self._hurry_ns is not None and self._clock() >= self._hurry_ns

    def _abort_when_overdue(self) -> None:
        has_failed = self._failed_ns is not None and self._clock() - self._failed_ns > _GRACE_S * 1e9
        if has_failed or self._is_overdue():
            for queue in self._results:
                queue.abort()


class _SourceTap:
    """A source as the capture stage's inbox, which a second thread can turn off."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._closing = threading.Event()
        self._is_closed = False

    def __iter__(self) -> Iterator[Frame]:
        try:
            for frame in self._source:
                if self._closing.is_set():
                    return
                yield frame
        except StreamBrokenError:
            if not self._closing.is_set():  # else we broke it
                raise

    def status(self) -> SourceStatus | None:
        status = getattr(self._source, "status", None)  # users' own sources need not have it
        return None if status is None else status()

    def reconnect(self, why: str) -> bool:
        reconnect = getattr(self._source, "reconnect", None)
        return reconnect is not None and bool(reconnect(why))

    def close(self) -> None:
        self._closing.set()
        if not self._is_closed:  # one that hangs is waited for once
            self._source.close()
            self._is_closed = True


def _same(frame: Frame) -> Frame:
    return frame
