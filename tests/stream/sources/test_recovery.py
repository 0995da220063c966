"""Live sources that come back: waits and times on clocks that are told, and a real server that is killed."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from maskstream.model.errors import SourceError, StreamBrokenError
from maskstream.stream.av_dialer import AvDialer
from maskstream.stream.av_source import AvSource
from maskstream.stream.av_target import known_already, url_target
from maskstream.stream.recovery import RecoveringSource, connect_first
from maskstream.stream.recovery_backoff import BackOff
from maskstream.stream.recovery_connector import KNOCK_S, Connector, GaveUpError
from maskstream.stream.recovery_joint import Joint
from maskstream.stream.recovery_knock import knocker
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.source_base import BaseSource, UnreadyError
from maskstream.stream.source_status import SourceState
from maskstream.stream.sources import open_source
from maskstream.stream.types import Frame, StreamInfo

QUICK = ReconnectConfig(first_delay_s=0.001, longest_delay_s=0.01)
INFO = StreamInfo("door", 4, 4, Fraction(1, 1000), Fraction(25), is_live=True)


def frame(pts, captured_s=0.0, index=0, time_base=INFO.time_base, hw=(4, 4)):
    image = np.zeros((*hw, 3), np.uint8)
    return Frame(image, index, pts, time_base, round(captured_s * 1e9), 0, "door")


class Scripted(BaseSource):
    """A connection that gives frames and then breaks, ends or waits for its closing."""

    def __init__(self, frames, ending="break"):
        super().__init__(INFO)
        self._given, self._ending = frames, ending

    def _frames(self):
        yield from self._given
        if self._ending == "break":
            raise StreamBrokenError("door broke off after frame 1: it rained") from OSError("it rained")
        if self._ending == "wait":
            self._closed.wait(30)


class Line:
    """What each try to connect comes to, in turn."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.tries = 0

    def __call__(self, closed):
        self.tries += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def away(message="cannot open door: connection refused", nobody=True):
    return UnreadyError(message, nobody_is_there=nobody)


def recovering(*outcomes, settings=QUICK, notes=None, **arguments):
    line = Line(*outcomes)
    connector = Connector(line, settings, **arguments)
    notify = (notes if notes is not None else []).append
    return RecoveringSource(connector.once(), connector, settings, notify), line


# waits


def test_waits_grow_from_the_first_to_the_longest_and_are_spread_from_nothing():
    def waits(seed):
        back_off = BackOff(0.25, 10, Random(seed))
        return [back_off.next_s() for _ in range(8)]

    runs = np.array([waits(seed) for seed in range(300)])
    bounds = np.array([0.25, 0.5, 1, 2, 4, 8, 10, 10])
    assert (runs <= bounds).all()
    assert (runs.min(axis=0) < 0.05 * bounds).all()
    assert np.abs(runs.mean(axis=0) / bounds - 0.5).max() < 0.1
    assert waits(7) == waits(7)  # a seed says it all


def test_after_a_good_connection_waits_are_short_again():
    back_off = BackOff(0.25, 10, Random(0))
    for _ in range(6):
        back_off.next_s()
    back_off.reset()
    assert back_off.next_s() <= 0.25


class FakeTime:
    """Passes only in pauses."""

    def __init__(self):
        self.now_s = 0.0
        self.pauses = []

    def clock(self):
        return self.now_s

    def pause(self, timeout_s):
        self.pauses.append(timeout_s)
        self.now_s += timeout_s
        return False


def make_connector(*outcomes, settings=None, answers=None):
    fake = FakeTime()
    line = Line(*outcomes)
    settings = settings or ReconnectConfig()
    connector = Connector(line, settings, answers=answers, rng=Random(0), clock=fake.clock, pause=fake.pause)
    return connector, line, fake


def test_it_tries_until_it_works():
    source = Scripted([])
    connector, line, fake = make_connector(*[away("busy", nobody=False)] * 9, source)
    failures = []
    assert connector.until_connected(failures.append) is source
    assert (line.tries, len(failures), len(fake.pauses)) == (10, 9, 10)
    assert 5 < fake.now_s < 40


def test_it_gives_up_when_it_may():
    connector, line, fake = make_connector(
        *[away("busy", nobody=False)] * 99, settings=ReconnectConfig(give_up_after_s=30)
    )
    with pytest.raises(GaveUpError):
        connector.until_connected(lambda error: None)
    assert fake.now_s == pytest.approx(30)
    assert line.tries < 30


def test_a_server_that_was_gone_is_looked_for_often_and_tried_when_it_answers():
    looks = []

    def answers():
        looks.append(1)
        return len(looks) == 100

    source = Scripted([])
    settings = ReconnectConfig(first_delay_s=60, longest_delay_s=60)
    connector, line, fake = make_connector(source, settings=settings, answers=answers)
    assert connector.until_connected(lambda error: None, away()) is source
    assert max(fake.pauses) <= KNOCK_S
    assert line.tries == 1
    assert fake.now_s <= 100 * KNOCK_S


def test_a_server_that_refuses_for_another_reason_is_not_knocked_at():
    def answers():
        raise AssertionError

    connector, _, fake = make_connector(Scripted([]), answers=answers)
    connector.until_connected(lambda error: None, away("cannot open door: 503", nobody=False))
    assert len(fake.pauses) == 1


def test_knocking():
    closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://me:secret@127.0.0.1:{server.getsockname()[1]}/x"
        knock = knocker(url, closed)
        assert knock()
    assert not knock()
    assert knocker("udp://127.0.0.1:1234", closed) is None
    assert knocker("rtsp://[half", closed) is None
    closed.set()
    assert not knocker("rtsp://no-such-host.invalid/x", closed)()


# one stream from many connections


def test_a_gap_is_as_long_as_it_was_and_frames_keep_counting():
    joint = Joint(INFO)
    joint.place(frame(1000, captured_s=50.0))
    joint.place(frame(1040, captured_s=50.04, index=1))
    joint.broke()
    ticks = Fraction(1, 90000)
    after = [
        joint.place(frame(7_000_000, captured_s=53.54, index=0, time_base=ticks)),
        joint.place(frame(7_003_600, captured_s=53.58, index=1, time_base=ticks)),
        joint.place(frame(7_010_800, captured_s=53.66, index=3, time_base=ticks)),
    ]
    assert [placed.pts for placed in after] == [1040 + 3500, 1040 + 3540, 1040 + 3620]
    assert [placed.index for placed in after] == [2, 3, 5]
    assert {placed.time_base for placed in after} == {INFO.time_base}
    assert {placed.stretch for placed in after} == {1}


def test_time_grows_even_where_ticks_are_too_coarse():
    joint = Joint(INFO)
    fine = Fraction(1, 10_000_000)
    placed = [joint.place(frame(pts, time_base=fine)) for pts in (0, 10, 20, 30)]
    joint.broke()
    placed.append(joint.place(frame(0, time_base=fine)))
    assert all(np.diff([one.pts for one in placed]) >= 1)


def test_a_recording_s_gap_is_one_frame():
    joint = Joint(StreamInfo("clip", 4, 4, Fraction(1, 1000), Fraction(25), is_live=False))
    joint.place(frame(0, captured_s=0))
    joint.broke()
    assert joint.place(frame(500, captured_s=60)).pts == 40


def test_a_stream_goes_on_over_breaks():
    notes = []
    source, line = recovering(
        Scripted([frame(0, 0.0, 0), frame(40, 0.04, 1)]),
        away(),
        away(),
        Scripted([frame(9000, 5.0, 0)]),
        Scripted([frame(70, 8.0, 0), frame(110, 8.04, 1)], ending="end"),
        notes=notes,
    )
    with source:
        frames = list(source)
    assert [(one.index, one.pts, one.stretch) for one in frames] == [
        (0, 0, 0), (1, 40, 0), (2, 5000, 1), (3, 8000, 2), (4, 8040, 2),
    ]  # fmt: skip
    assert line.tries == 5
    status = source.status()
    assert (status.state, status.frames, status.counts.reconnects) == (SourceState.ENDED, 5, 2)
    assert notes[0] == "door broke off: it rained; trying to connect again"
    assert notes[1].startswith("door is back after ")
    assert len(notes) == 4


def test_it_ends_for_good_when_it_gives_up():
    settings = ReconnectConfig(give_up_after_s=0)
    source, _ = recovering(Scripted([frame(0, 0, 0), frame(40, 0.04, 1)]), settings=settings)
    with (
        source,
        pytest.raises(StreamBrokenError, match=r"^door broke off after frame 1 at 0\.040 s: it rained$"),
    ):
        list(source)
    assert source.status().state is SourceState.FAILED


def test_the_last_refusal_is_told():
    fake = FakeTime()
    settings = ReconnectConfig(give_up_after_s=3)
    source, _ = recovering(
        Scripted([]), *[away()] * 99, settings=settings, clock=fake.clock, pause=fake.pause, rng=Random(0)
    )
    expected = r"broke off at its first frame: it rained; \d+ tries .*, the last: .*: connection refused"
    with source, pytest.raises(StreamBrokenError, match=expected):
        list(source)


def test_closing_ends_a_long_wait_at_once():
    settings = ReconnectConfig(first_delay_s=3600, longest_delay_s=3600)
    source, _ = recovering(Scripted([]), settings=settings, rng=Random(1))
    reading = threading.Thread(target=lambda: list(source))
    reading.start()
    wait_until(lambda: source.status().state is SourceState.RECONNECTING)
    began_s = time.monotonic()
    source.close()
    assert time.monotonic() - began_s < 0.5
    reading.join(1)
    assert not reading.is_alive()
    assert source.status().state is SourceState.ENDED


def test_closing_while_a_frame_is_waited_for_after_a_break():
    source, _ = recovering(Scripted([frame(0)]), Scripted([frame(0, 1.0)], ending="wait"))
    reading = threading.Thread(target=lambda: list(source))
    reading.start()
    wait_until(lambda: source.status().frames == 2)
    source.close()
    reading.join(2)
    assert not reading.is_alive()


def test_a_connection_that_comes_too_late_is_closed():
    closed, late = threading.Event(), Scripted([frame(0)])

    def connect(_):
        closed.set()
        return late

    assert Connector(connect, QUICK, closed=closed).until_connected(lambda error: None) is None
    assert list(late) == []


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


# the first connection


def test_the_first_connection_may_fail_too():
    notes, source = [], Scripted([])
    line = Line(away(), away(), away("cannot open door: 503", nobody=False), source)
    assert connect_first(Connector(line, QUICK), lambda error: True, notes.append) is source
    assert notes == [
        "cannot open door: connection refused; trying until it is there",
        "cannot open door: 503",
    ]


def test_what_cannot_pass_is_refused_at_once_or_when_it_shows():
    for outcomes, tries in (
        ([SourceError("wrong password")], 1),
        ([away(), SourceError("wrong password")], 2),
    ):
        line = Line(*outcomes)
        connector = Connector(line, QUICK)
        with pytest.raises(SourceError, match="wrong password"):
            connect_first(connector, lambda error: isinstance(error, UnreadyError), lambda note: None)
        assert line.tries == tries


def test_which_sources_are_waited_for():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for spec, settings in (
            (f"http://{address}/x", ReconnectConfig()),
            (f"rtsp://{address}/x", ReconnectConfig(at_start="fail")),
            (f"rtsp://{address}/x", ReconnectConfig(enabled=False)),
            ("device:lavfi:nosuch", ReconnectConfig()),
            ("camera:No Such Camera", ReconnectConfig()),
        ):
            with pytest.raises(SourceError):
                open_source(spec, reconnect=settings)
        for spec, at_start in ((f"rtsp://me:secret@{address}/x", "auto"), (f"http://{address}/x", "wait")):
            settings = ReconnectConfig(at_start=at_start, give_up_after_s=0.5, first_delay_s=0.1)
            notes = []
            with pytest.raises(SourceError, match="connection refused"):
                open_source(spec, reconnect=settings, notify=notes.append)
            assert "trying until it is there" in notes[0]
            assert "secret" not in notes[0]


def test_a_recording_on_a_server_is_not_begun_anew(make_clip, serve_http, tmp_path):
    make_clip("clip.mp4")
    with open_source(f"{serve_http(folder=tmp_path)}/clip.mp4", reconnect=QUICK) as source:
        assert not isinstance(source, RecoveringSource)
        assert len(list(source)) == 30


# a real server


def test_a_server_that_is_killed_and_started_again(start_rtsp):
    process, address = start_rtsp("--user", "viewer", "--password", "secret")
    settings = ReconnectConfig(longest_delay_s=60)
    notes = []
    source = open_source(f"rtsp://viewer:secret@{address}/live", reconnect=settings, notify=notes.append)
    with source:
        frames = [next(source) for _ in range(5)]
        process.kill()
        process.wait()

        def restart():
            wait_until(lambda: source.status().failed_tries >= 1)
            assert source.status().state is SourceState.RECONNECTING
            assert "connection refused" in source.status().last_error
            start_rtsp("--user", "viewer", "--password", "secret", "--port", address.split(":")[1])

        restarting = threading.Thread(target=restart)
        restarting.start()
        while frames[-1].stretch == 0 or len(frames) < 10:
            frames.append(next(source))
        restarting.join()
        assert source.status().counts.reconnects == 1
    assert [one.index for one in frames] == list(range(len(frames)))
    steps = np.diff([one.time_s for one in frames])
    captured = np.diff([one.captured_ns for one in frames]) / 1e9
    gap = [one.stretch for one in frames].index(1) - 1
    assert steps.min() > 0
    assert steps[gap] == pytest.approx(captured[gap], abs=0.001)
    assert not any("secret" in note for note in notes)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("maskstream-")]


def test_a_server_that_hangs_is_left(start_rtsp):
    process, address = start_rtsp()
    settings = ReconnectConfig(stall_after_s=0.7, give_up_after_s=0)
    with open_source(f"rtsp://{address}/live", read_timeout_s=1, reconnect=settings) as source:
        next(source)
        process.send_signal(signal.SIGSTOP)
        looking = threading.Thread(
            target=wait_until, args=[lambda: source.status().state is SourceState.STALLED]
        )
        looking.start()
        with pytest.raises(StreamBrokenError, match="no picture came for 1 s"):
            list(source)
        looking.join()
        process.kill()
    assert source.status().state is SourceState.FAILED
    assert 1 <= source.status().counts.stalls <= 2  # FFmpeg may give one more frame when its time is up


def test_a_stream_that_is_known_is_opened_the_quick_way(rtsp):
    quick = []

    def open_target(target, *, cancelled):
        quick.append("probesize" in target.options)
        if len(quick) == 3:
            raise away()
        if len(quick) == 4:
            raise SourceError("not one picture")
        return AvSource(target, cancelled=cancelled)

    dial = AvDialer(lambda: url_target(f"rtsp://{rtsp}/live"), open_target)
    for _ in range(6):
        with contextlib.suppress(SourceError), dial(threading.Event()) as source:
            assert next(source).hw == (360, 640)
    assert quick == [False, True, True, True, False, True]
    assert known_already(url_target("udp://127.0.0.1:9")) == url_target("udp://127.0.0.1:9")
