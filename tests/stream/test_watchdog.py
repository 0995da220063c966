from __future__ import annotations

import logging
import threading
import time

import pytest
from maskstream.model.errors import StageStuckError
from maskstream.stream.health import Roster, liveness
from maskstream.stream.ladder_worker import ThreadWorker
from maskstream.stream.pipeline import Pipeline
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.sources import open_source
from maskstream.stream.summary import Tally
from maskstream.stream.telemetry import Activity
from maskstream.stream.types import FrameResult
from maskstream.stream.watchdog import Patience, Watchdog

SOON_S = 10.0
FILE = "synthetic:frames=30,width=64,height=48"
LIVE = "synthetic:frames=100000,width=64,height=48,live=1,fps=200"
PATIENCE = Patience(after_s=30, first_frame_s=180, source_s=50)


def wait_until(is_so):
    until = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


class Clock:
    """Stands still until it is told that time has passed; looks as often as the real thread would."""

    def __init__(self):
        self.now_ns = time.monotonic_ns()

    def __call__(self):
        return self.now_ns

    def pass_s(self, seconds, watchdog):
        for _ in range(int(seconds)):
            self.now_ns += 10**9
            watchdog.look()


class Gate:
    """Work that waits at one frame until it is let through."""

    def __init__(self, at):
        self.at, self.is_there, self.open = at, threading.Event(), threading.Event()

    def pass_through(self, frame):
        if frame.index == self.at:
            self.is_there.set()
            assert self.open.wait(SOON_S)

    def segment(self, frame):
        self.pass_through(frame)
        return FrameResult(frame, (), 0, 1.0, 1.0, time.monotonic_ns())

    def write(self, result):
        self.pass_through(result.frame)


class Sink:
    """Does nothing but wait where it is told to."""

    def __init__(self, gate):
        self.gate, self.closed = gate, 0

    def check(self):
        pass

    def open(self, info):
        pass

    def write(self, result):
        self.gate.write(result)

    def close(self):
        self.closed += 1


def make(gate, spec=FILE, sinks=(), names=("Sink",), **options):
    clock = Clock()
    pipeline = Pipeline(open_source(spec), gate.segment, sinks, clock=clock, sink_names=names[: len(sinks)])
    watchdog = Watchdog("bench", pipeline, PATIENCE, clock=clock, **options)
    roster = Roster()
    roster.add("bench", pipeline, Tally(), watchdog)
    return clock, pipeline, watchdog, roster


def test_a_stage_that_hangs_at_a_frame_is_named_once_and_again_when_it_goes_on(caplog):
    gate = Gate(at=5)
    clock, pipeline, watchdog, roster = make(gate)
    with pipeline:
        assert gate.is_there.wait(SOON_S)
        clock.pass_s(29, watchdog)
        assert not watchdog.incidents
        assert liveness(roster).is_good
        clock.pass_s(60, watchdog)
        (incident,) = watchdog.incidents
        assert (incident.stage, incident.for_s) == ("segmenter", pytest.approx(89, abs=2))
        verdict = liveness(roster)
        assert not verdict.is_good
        assert verdict.details["stuck"][0]["stage"] == "segmenter"
        gate.open.set()
        wait_until(lambda: pipeline.report().segmented > 6)
        watchdog.look()
        assert liveness(roster).is_good
    assert watchdog.counts == {"segmenter": 1}
    assert [record.event for record in caplog.records] == ["stage_stuck", "stage_goes_on"]
    assert "bench: stuck: segmenter has been at one frame for 31 s" in caplog.messages[0]
    assert caplog.records[0].fields["stage"] == "segmenter"


def test_the_networks_may_take_longer_for_their_first_frame():
    gate = Gate(at=0)
    clock, pipeline, watchdog, _ = make(gate)
    with pipeline:
        assert gate.is_there.wait(SOON_S)
        clock.pass_s(170, watchdog)
        assert not watchdog.incidents
        clock.pass_s(20, watchdog)
        assert watchdog.incidents
        gate.open.set()


def test_who_waits_for_the_one_that_hangs_is_not_named():
    gate = Gate(at=5)
    hanging, fine = Sink(gate), Sink(Gate(at=-1))
    clock, pipeline, watchdog, _ = make(Gate(at=-1), FILE, [hanging, fine], ["hanging", "fine"])
    with pipeline:
        assert gate.is_there.wait(SOON_S)
        wait_until(lambda: pipeline.stopwatches[1][1].moment().activity is Activity.HANDING_ON)
        clock.pass_s(40, watchdog)
        assert [one.stage for one in watchdog.incidents] == ["hanging"]
        gate.open.set()


def test_a_sink_that_may_take_its_time_is_left_out():
    gate = Gate(at=5)
    clock, pipeline, watchdog, _ = make(Gate(at=-1), sinks=[Sink(gate)], leave_out=["Sink"])
    with pipeline:
        assert gate.is_there.wait(SOON_S)
        clock.pass_s(100, watchdog)
        assert not watchdog.incidents
        gate.open.set()


@pytest.mark.parametrize("spec", [FILE, LIVE])
def test_a_paused_run_is_well(spec):
    clock, pipeline, watchdog, roster = make(Gate(at=-1), spec=spec)
    with pipeline:
        pipeline.pause()
        wait_until(lambda: pipeline.stopwatches[1][1].moment().activity is Activity.WAITING)
        clock.pass_s(1000, watchdog)
        assert liveness(roster).is_good
        pipeline.stop()


def test_a_program_that_was_stopped_and_goes_on_is_not_stuck():
    gate = Gate(at=5)
    clock, pipeline, watchdog, _ = make(gate)
    with pipeline:
        assert gate.is_there.wait(SOON_S)
        clock.now_ns += 3600 * 10**9  # nobody looked meanwhile
        watchdog.look()
        assert not watchdog.incidents
        clock.pass_s(40, watchdog)
        assert watchdog.incidents
        gate.open.set()


def test_if_told_to_the_run_is_ended_and_other_stages_finish():
    gate, sink = Gate(at=5), Sink(Gate(at=-1))
    clock, pipeline, watchdog, _ = make(gate, sinks=[sink], end=True)
    pipeline.start()
    assert gate.is_there.wait(SOON_S)
    clock.pass_s(31, watchdog)
    wait_until(lambda: sink.closed == 1)
    assert not pipeline.wait(0)
    clock.pass_s(5, watchdog)
    with pytest.raises(
        StageStuckError, match=r"bench: segmenter has been at one frame for 31 s; the run was"
    ):
        pipeline.join()
    assert watchdog.counts == {"segmenter": 1}
    gate.open.set()
    wait_until(lambda: not pipeline.is_alive())


def chaos(tmp_path, stall_s=1000):
    script = tmp_path / "faults.yaml"
    script.write_text(
        "source: synthetic:frames=100000,width=64,height=48,fps=100\n"
        f"faults: [{{at: 5, do: stall, seconds: {stall_s}}}]\n"
    )
    return open_source(f"chaos:{script}", reconnect=ReconnectConfig(first_delay_s=0.01, stall_after_s=0.1))


def test_a_source_that_hangs_is_connected_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    source, gate = chaos(tmp_path), Gate(at=-1)
    pipeline = Pipeline(source, gate.segment)
    watchdog = Watchdog("bench", pipeline, Patience(30, 180, source_s=0.2), end=True)
    pipeline.accompany(watchdog.open, watchdog.close)
    with pipeline:
        wait_until(lambda: source.status().counts.reconnects == 1)
        wait_until(lambda: pipeline.report().captured > 20)
        pipeline.stop()
    assert watchdog.restarts == {"source": 1}
    assert "bench: stuck: source has given no frame for 0 s; it is connected again" in caplog.text


def test_a_source_that_only_pauses_is_left_alone(tmp_path):
    source, gate = chaos(tmp_path, stall_s=0.5), Gate(at=-1)
    pipeline = Pipeline(source, gate.segment)
    watchdog = Watchdog("bench", pipeline, PATIENCE)
    pipeline.accompany(watchdog.open, watchdog.close)
    with pipeline:
        wait_until(lambda: source.status().counts.stalls == 1)
        wait_until(lambda: pipeline.report().captured > 20)
        pipeline.stop()
    assert source.status().counts.reconnects == 0
    assert not watchdog.counts


def test_what_cannot_be_connected_again_says_so():
    with open_source(LIVE) as source:
        assert not Pipeline(source, Gate(at=-1).segment).reconnect("a try")


def test_networks_that_hang_beside_the_ladder_are_seen():
    gate, done = Gate(at=1), []
    worker = ThreadWorker(gate.segment, stale_ns=10**9)
    with open_source(FILE) as source:
        frames = [next(source), next(source)]
    assert worker.stats.moment().activity is Activity.IDLE
    for frame in frames:
        worker.offer(frame, must=True)
        done.append(worker.wait(0))
        wait_until(lambda: worker.stats.moment().items == 1)
    assert gate.is_there.wait(SOON_S)
    moment = worker.stats.moment()
    assert (moment.activity, moment.items) == (Activity.WORKING, 1)
    gate.open.set()
    wait_until(lambda: worker.stats.moment().items == 2)
    worker.close()


def test_what_cannot_be_asked_does_not_end_the_watch(caplog):
    gate, asked = Gate(at=-1), threading.Event()
    calls = iter([ValueError("how it is, nobody knows")] * 2)

    def ask():
        for error in calls:
            raise error
        asked.set()

    with open_source(FILE) as source:
        watchdog = Watchdog("bench", Pipeline(source, gate.segment), PATIENCE, also=[ask])
        watchdog.open()
        assert asked.wait(SOON_S)
        watchdog.close()
    assert caplog.messages == ["bench: the watchdog cannot see everything"]


def test_close_leaves_no_thread_and_may_come_first():
    with open_source(FILE) as source:
        watchdog = Watchdog("bench", Pipeline(source, Gate(at=-1).segment), PATIENCE)
        watchdog.close()
        before = threading.active_count()
        watchdog = Watchdog("bench", Pipeline(source, Gate(at=-1).segment), PATIENCE)
        watchdog.open()
        watchdog.close()
        watchdog.close()
        assert threading.active_count() == before
