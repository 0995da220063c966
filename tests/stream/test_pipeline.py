from __future__ import annotations

import signal
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from maskstream.model.errors import StreamBrokenError
from maskstream.stream.pipeline import FILE_PLAN, LIVE_PLAN, Pipeline, QueuePlan
from maskstream.stream.queues import Overflow
from maskstream.stream.source_status import SourceState
from maskstream.stream.sources import open_source
from maskstream.stream.types import Frame, FrameResult, StreamInfo

SOON_S = 5.0
TIGHT = QueuePlan(capacity=1, sink_capacity=1, overflow=Overflow.BLOCK)
DEEP = QueuePlan(capacity=64, sink_capacity=64, overflow=Overflow.BLOCK)
TIGHT_LIVE = QueuePlan(capacity=1, sink_capacity=1, overflow=Overflow.DROP_OLDEST)


class CountingSource:
    """Tiny frames 0, 1, 2, ...; ends, raises or goes on for ever."""

    def __init__(self, count=None, error=None, is_live=False, before_frame=lambda index: None):
        self.info = StreamInfo("test", 4, 2, Fraction(1, 10), Fraction(10), is_live)
        self.count, self.error, self.before_frame = count, error, before_frame
        self.closed = threading.Event()

    def __iter__(self):
        index = 0
        while not self.closed.is_set() and index != self.count:
            self.before_frame(index)
            yield Frame(
                np.zeros((2, 4, 3), np.uint8), index, index, Fraction(1, 10), time.monotonic_ns(), 0, "test"
            )
            index += 1
        if self.error and not self.closed.is_set():
            raise self.error

    def close(self):
        self.closed.set()


class ListSink:
    """Keeps what it is given; can be told to fail or to wait."""

    def __init__(self, fail_in=None, error=None, at=0, gate=None):
        self.fail_in, self.error, self.at, self.gate = fail_in, error, at, gate
        self.opened, self.closed, self.results = None, 0, []

    def _may_fail(self, where):
        if self.fail_in == where:
            raise self.error

    def check(self):
        pass

    def open(self, info):
        self.opened = info
        self._may_fail("open")

    def write(self, result):
        assert self.opened
        if self.gate:
            assert self.gate.wait(SOON_S)
        if len(self.results) == self.at:
            self._may_fail("write")
        self.results.append(result)

    def close(self):
        self.closed += 1
        self._may_fail("close")

    @property
    def indices(self):
        return [result.frame.index for result in self.results]


def segment(frame):
    return FrameResult(frame, (), 0, 0.0, 0.0, time.monotonic_ns())


def segment_and_fail(error, at):
    def work(frame):
        if frame.index == at:
            raise error
        return segment(frame)

    return work


@pytest.fixture(autouse=True)
def no_thread_left_behind():
    before = threading.active_count()
    yield
    settled = time.monotonic() + 5  # an interrupted join leaves its threads a moment to end
    while threading.active_count() > before and time.monotonic() < settled:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_file_loses_nothing_in_any_sink():
    sinks = [ListSink(), ListSink()]
    with Pipeline(CountingSource(100), segment, sinks, plan=TIGHT) as pipeline:
        pipeline.join()
    assert sinks[0].indices == sinks[1].indices == list(range(100))
    assert [sink.closed for sink in sinks] == [1, 1]
    report = pipeline.report()
    assert (report.captured, report.dropped, report.segmented) == (100, 0, 100)
    assert [(sink.name, sink.dropped, sink.stage.items) for sink in report.sinks] == [
        ("ListSink", 0, 100)
    ] * 2


def test_the_plan_follows_the_kind_of_source():
    assert Pipeline(CountingSource(0), segment).plan is FILE_PLAN
    assert Pipeline(CountingSource(0, is_live=True), segment).plan is LIVE_PLAN
    assert FILE_PLAN.overflow is Overflow.BLOCK
    assert LIVE_PLAN.overflow is Overflow.DROP_OLDEST


def test_a_slow_segmenter_on_a_live_stream_drops_counts_and_says_so_in_the_results():
    all_captured, sink = threading.Event(), ListSink()

    def slow(frame):
        assert all_captured.wait(SOON_S)
        return segment(frame)

    def before_frame(index):
        if index == 40:
            all_captured.set()

    source = CountingSource(41, is_live=True, before_frame=before_frame)
    with Pipeline(source, slow, [sink], plan=TIGHT_LIVE) as pipeline:
        pipeline.join()
    report = pipeline.report()
    assert report.captured == 41
    assert report.dropped >= 38  # all but the one being worked on, the one waiting, and the last
    assert report.segmented + report.dropped == report.captured
    assert sink.results[-1].frame.index == 40
    assert sink.results[-1].dropped == report.dropped


@pytest.mark.parametrize("sink_capacity", [1, 64])
def test_a_stuck_sink_stalls_neither_the_worker_nor_the_other_sink(sink_capacity):
    last_segmented = threading.Event()
    stuck, healthy = ListSink(gate=last_segmented), ListSink()  # the one moves when the worker is through

    def on_result(result):
        if result.frame.index == 49:
            last_segmented.set()

    plan = QueuePlan(64, sink_capacity, Overflow.DROP_OLDEST)
    source = CountingSource(50, is_live=True)
    with Pipeline(source, segment, [stuck, healthy], plan=plan, on_result=on_result) as pipeline:
        pipeline.join()
    report = pipeline.report()
    assert report.segmented == 50
    assert [sink.stage.items + sink.dropped for sink in report.sinks] == [50, 50]
    assert stuck.indices[-1] == healthy.indices[-1] == 49  # the newest is never lost
    assert report.sinks[0].dropped >= (47 if sink_capacity == 1 else 0)


def test_a_broken_stream_delivers_everything_before_the_break():
    broken, sinks = StreamBrokenError("lost at 0:42"), [ListSink(), ListSink()]
    pipeline = Pipeline(CountingSource(30, broken), segment, sinks, plan=TIGHT)
    with pytest.raises(StreamBrokenError) as caught, pipeline:
        pipeline.join()
    assert caught.value is broken
    assert sinks[0].indices == sinks[1].indices == list(range(30))
    assert [sink.closed for sink in sinks] == [1, 1]


def test_stop_finishes_what_is_segmented_and_begins_nothing_more():
    source, sink = CountingSource(), ListSink()

    def stop_when_frames_wait(result):
        deadline = time.monotonic() + SOON_S
        while pipeline.report().captured < DEEP.capacity and time.monotonic() < deadline:
            time.sleep(0.001)
        if result.frame.index == 2:
            pipeline.stop()

    pipeline = Pipeline(source, segment, [sink], plan=DEEP, on_result=stop_when_frames_wait)
    with pipeline:
        pipeline.join()
    assert source.closed.is_set()
    assert sink.indices == [0, 1, 2]
    assert sink.closed == 1
    report = pipeline.report()
    assert report.captured == report.segmented + report.dropped >= DEEP.capacity


def test_that_stopping_broke_the_stream_is_no_error():
    class Sore(CountingSource):
        def __iter__(self):
            yield from super().__iter__()
            raise StreamBrokenError("closed under my feet")

    pipeline = Pipeline(Sore(), segment, on_result=lambda result: pipeline.stop())
    with pipeline:
        pipeline.join()
    assert pipeline.error is None


def test_abort_drops_what_waits_but_closes_the_sinks():
    gate = threading.Event()
    sink = ListSink(gate=gate)
    reached = threading.Event()
    pipeline = Pipeline(CountingSource(), segment, [sink], plan=TIGHT, on_result=lambda result: reached.set())
    pipeline.start()
    assert reached.wait(SOON_S)
    pipeline.abort()
    gate.set()
    pipeline.join()
    assert len(sink.results) <= 1
    assert sink.closed == 1


def test_a_hurried_stop_does_not_wait_for_a_frame_that_takes_long():
    gate, began, sink = threading.Event(), threading.Event(), ListSink()

    def slow(frame):
        if frame.index == 3:
            began.set()
            gate.wait(SOON_S)
        return segment(frame)

    with Pipeline(CountingSource(), slow, [sink]) as pipeline:
        assert began.wait(SOON_S)
        pipeline.hurry(0.1)
        pipeline.stop()
        assert pipeline.wait(SOON_S / 2)
        assert pipeline.is_alive()
        assert (sink.indices, sink.closed) == ([0, 1, 2], 1)
        gate.set()
    assert pipeline.error is None


def test_a_hurried_stop_drops_what_a_slow_sink_has_not_got_to_and_closes_it():
    full, sink = threading.Event(), ListSink(gate=threading.Event())
    plan = QueuePlan(capacity=1, sink_capacity=50, overflow=Overflow.BLOCK)
    pipeline = Pipeline(
        CountingSource(),
        segment,
        [sink],
        plan=plan,
        on_result=lambda one: one.frame.index == 20 and full.set(),
    )
    with pipeline:
        assert full.wait(SOON_S)
        pipeline.hurry(0.05)
        pipeline.stop()
        assert not pipeline.wait(0.5)  # for a write that has begun everybody waits, or the file would be torn
        sink.gate.set()
    assert (len(sink.results), sink.closed) == (1, 1)
    assert pipeline.report().sinks[0].dropped >= 19


def test_ctrl_c_interrupts_join_then_what_is_segmented_is_written():
    source, sink, joining = CountingSource(), ListSink(), threading.Event()
    main = threading.main_thread().ident

    def interrupt_once(result):
        if result.frame.index == 5:
            assert joining.wait(SOON_S)
            signal.pthread_kill(main, signal.SIGINT)

    pipeline = Pipeline(source, segment, [sink], on_result=interrupt_once)
    with pytest.raises(KeyboardInterrupt), pipeline:
        joining.set()
        pipeline.join()
    assert len(sink.indices) >= 6
    assert sink.indices == list(range(pipeline.report().segmented))
    assert sink.closed == 1


@pytest.mark.parametrize("stage", ["_worker", "_capture"])
def test_ctrl_c_while_threads_are_started_leaves_none(monkeypatch, stage):
    source, sink = CountingSource(), ListSink()
    pipeline = Pipeline(source, segment, [sink])

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(getattr(pipeline, stage), "start", interrupted)
    with pytest.raises(KeyboardInterrupt), pipeline:
        pass
    assert source.closed.is_set()
    assert sink.closed >= 1


def test_wait_gives_up_after_its_timeout():
    gate = threading.Event()
    with Pipeline(CountingSource(1), segment, [ListSink(gate=gate)]) as pipeline:
        assert not pipeline.wait(0.01)
        gate.set()
        assert pipeline.wait(SOON_S)


def test_close_may_come_first_and_twice():
    source = CountingSource()
    pipeline = Pipeline(source, segment, [ListSink()])
    pipeline.close()
    pipeline.close()
    assert source.closed.is_set()


def failing(place, error, at):
    """A pipeline's parts, one of which raises `error`, and one more sink that is healthy."""
    source, work, sink = CountingSource(), segment, ListSink()
    if place == "source":
        source = CountingSource(at, error)
    elif place == "segmenter":
        work = segment_and_fail(error, at)
    else:
        sink = ListSink(place, error, at)
    if place == "close":
        source = CountingSource(at)
    return source, work, sink


@pytest.mark.parametrize("plan", [TIGHT, DEEP, TIGHT_LIVE], ids=["tight", "deep", "live"])
@pytest.mark.parametrize("at", [0, 1, 7, 70])
@pytest.mark.parametrize("place", ["source", "segmenter", "open", "write", "close"])
def test_whatever_raises_stops_everything_at_once_and_reaches_the_caller(place, at, plan):
    boom, healthy = RuntimeError("boom"), ListSink()
    if plan is TIGHT_LIVE and place != "source":
        at = min(at, 1)  # a live stream may drop frame 70, and with it the failure
    source, work, sink = failing(place, boom, at)
    if plan is TIGHT_LIVE and place == "segmenter":
        work = segment_and_fail_always(boom)
    began = time.monotonic()
    with (
        pytest.raises(RuntimeError) as caught,
        Pipeline(source, work, [sink, healthy], plan=plan) as pipeline,
    ):
        pipeline.join()
    assert time.monotonic() - began < 1.0
    assert caught.value is boom
    assert source.closed.is_set()
    if place != "open":
        assert (sink.closed, healthy.closed) == (1, 1)
        assert healthy.indices == sorted(set(healthy.indices))


def segment_and_fail_always(error):
    def work(frame):
        raise error

    return work


@pytest.mark.parametrize("place", ["segmenter", "write"])
def test_the_queues_being_full_when_it_raises_changes_nothing(place):
    # The known deadlock: the failing side waits for a reader that waits for room.
    full, boom, source = threading.Event(), RuntimeError("boom"), CountingSource()

    def fail_when_full(item):
        assert full.wait(SOON_S)
        raise boom

    sink = ListSink()
    if place == "write":
        sink.write = fail_when_full
    work = fail_when_full if place == "segmenter" else segment
    pipeline = Pipeline(source, work, [sink], plan=TIGHT)
    pipeline.start()
    # One in work, one in each queue, one in the hands of each blocked stage: then all stand still.
    captured, deadline = 2 if place == "segmenter" else 4, time.monotonic() + SOON_S
    while pipeline.report().captured < captured and time.monotonic() < deadline:
        time.sleep(0.001)
    assert pipeline.report().captured == captured
    full.set()
    began = time.monotonic()
    with pytest.raises(RuntimeError) as caught:
        pipeline.join()
    assert caught.value is boom
    assert time.monotonic() - began < 1.0


def test_after_a_failure_a_healthy_sink_gets_to_write_what_it_was_given():
    boom, gate = RuntimeError("boom"), threading.Event()
    healthy = ListSink(gate=gate)
    pipeline = Pipeline(CountingSource(), segment_and_fail(boom, 5), [healthy], plan=DEEP)
    pipeline.start()
    pipeline.wait(0.05)
    gate.set()
    with pytest.raises(RuntimeError):
        pipeline.join()
    assert healthy.indices == list(range(5))


def test_after_a_failure_a_slow_sink_is_cut_short():
    boom, slow = RuntimeError("boom"), ListSink()

    def write(result):
        time.sleep(0.03)
        slow.results.append(result)

    slow.write = write
    began = time.monotonic()
    with (
        pytest.raises(RuntimeError),
        Pipeline(CountingSource(), segment_and_fail(boom, 60), [slow], plan=DEEP) as p,
    ):
        p.join()
    assert time.monotonic() - began < 1.0
    assert 0 < len(slow.results) < 60
    assert slow.closed == 1


class WaitingSink(ListSink):
    """One whose close() would wait for somebody."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def hurry(self, within_s):
        self.calls.append("hurry")

    def close(self):
        super().close()
        self.calls.append("close")


def test_sinks_that_wait_for_others_are_hurried_when_a_run_fails_or_is_aborted_and_only_then():
    fine, failed, aborted = WaitingSink(), WaitingSink(), WaitingSink()
    with Pipeline(CountingSource(3), segment, [fine]) as pipeline:
        pipeline.join()
    with (
        pytest.raises(RuntimeError),
        Pipeline(CountingSource(), segment_and_fail(RuntimeError("boom"), 3), [failed]) as pipeline,
    ):
        pipeline.join()
    with Pipeline(CountingSource(), segment, [aborted]) as pipeline:
        pipeline.abort()
    assert fine.calls == ["close"]
    assert failed.calls == aborted.calls == ["hurry", "close"]


def test_the_first_error_wins_and_carries_the_others():
    first, second = RuntimeError("segmenter"), RuntimeError("close")
    sink = ListSink("close", second)
    with (
        pytest.raises(RuntimeError) as caught,
        Pipeline(CountingSource(), segment_and_fail(first, 3), [sink]) as p,
    ):
        p.join()
    assert caught.value is first
    assert first.__notes__ == ["then another stage failed too: close"]


def test_when_the_second_sink_cannot_open_the_first_is_closed_and_no_frame_flows():
    boom = RuntimeError("read-only")
    first, second, source = ListSink(), ListSink("open", boom), CountingSource()
    with pytest.raises(RuntimeError) as caught, Pipeline(source, segment, [first, second]):
        pass
    assert caught.value is boom
    assert (first.closed, second.closed, first.results) == (1, 1, [])
    assert source.closed.is_set()


def test_leaving_the_with_block_early_raises_what_a_stage_raised():
    boom = RuntimeError("boom")
    with (
        pytest.raises(RuntimeError) as caught,
        Pipeline(CountingSource(), segment_and_fail_always(boom)) as pipeline,
    ):
        pipeline.wait()
    assert caught.value is boom


def test_a_paused_file_waits_and_a_live_stream_drops():
    for is_live in (False, True):
        sink, first = ListSink(), threading.Event()

        def work(frame, first=first):
            first.set()
            return segment(frame)

        source = CountingSource(is_live=is_live)
        with Pipeline(source, work, [sink], plan=TIGHT_LIVE if is_live else TIGHT) as pipeline:
            assert first.wait(SOON_S)
            pipeline.pause()
            assert pipeline.is_paused
            while pipeline.report().captured != pipeline.report().segmented + pipeline.report().dropped + 1:
                pass  # until one frame waits that was not begun
            begun = pipeline.report()
            while is_live and pipeline.report().dropped < begun.dropped + 100:
                pass
            assert pipeline.report().segmented == begun.segmented
            pipeline.resume()
            while pipeline.report().segmented == begun.segmented:
                pass
            pipeline.stop()
        if not is_live:
            assert sink.indices == list(range(len(sink.indices)))


def test_a_paused_pipeline_can_be_stopped():
    with Pipeline(CountingSource(), segment, [ListSink()]) as pipeline:
        pipeline.pause()
        pipeline.stop()
        assert pipeline.wait(SOON_S)


class Watching(ListSink):
    def watch(self, source, is_paused):
        assert self.opened is None
        self.source, self.is_paused = source, is_paused


def test_a_sink_may_ask_how_the_stream_is_doing():
    sink, own = Watching(), CountingSource(3)
    with Pipeline(own, segment, [sink]) as pipeline:
        assert sink.source() is None
        pipeline.pause()
        assert sink.is_paused()
        pipeline.resume()
    sink.opened = None
    with open_source("synthetic:frames=3,width=64,height=48") as source:
        with Pipeline(source, segment, [sink]) as pipeline:
            pipeline.join()
        assert sink.source().state is SourceState.ENDED
