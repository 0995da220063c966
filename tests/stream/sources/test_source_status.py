"""What any thread can see of a source, on clocks that stand still until told."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
from maskstream.stream.source_status import SourceCounts, SourceState, StatusBoard
from maskstream.stream.sources import open_source
from maskstream.stream.types import Frame


class FakeClock:
    def __init__(self):
        self.now_ns = 5_000_000_000

    def __call__(self):
        return self.now_ns


def make_board(stall_after_s=2.0):
    clock = FakeClock()
    return StatusBoard(stall_after_s, SourceCounts(), clock, clock), clock


def frame(pts):
    return Frame(np.zeros((2, 2, 3), np.uint8), 0, pts, Fraction(1, 10), 0, 77, "shapes")


def test_a_frame_that_does_not_come_is_a_stall():
    board, clock = make_board()
    board.waits()
    clock.now_ns += 1_999_999_999
    assert board.snapshot().state is SourceState.RUNNING
    clock.now_ns += 500_000_001
    status = board.snapshot()
    assert (status.state, status.since_unix_ns) == (SourceState.STALLED, 7_000_000_000)
    assert status.counts.stalls == 1
    board.gives(frame(3))
    status = board.snapshot()
    assert (status.state, status.frames, status.last_pts) == (SourceState.RUNNING, 1, 3)
    assert (status.last_captured_unix_ns, status.counts.stalls) == (77, 1)


def test_a_frame_that_nobody_asks_for_is_no_stall():
    board, clock = make_board()
    board.waits()
    board.gives(frame(0))
    clock.now_ns += 60_000_000_000
    assert board.snapshot().state is SourceState.RUNNING
    board.waits()
    clock.now_ns += 500_000_000  # a camera that pauses at its key frames
    assert board.snapshot().state is SourceState.RUNNING
    assert board.snapshot().counts.stalls == 0


def test_a_stall_that_ends_in_a_break_is_counted_once():
    board, clock = make_board()
    board.waits()
    clock.now_ns += 3_000_000_000
    board.went_wrong("no picture came for 3 s")
    board.change(SourceState.RECONNECTING)
    clock.now_ns += 10_000_000_000
    board.went_wrong("connection refused", is_try=True)
    board.went_wrong("connection refused", is_try=True)
    status = board.snapshot()
    assert (status.state, status.since_unix_ns) == (SourceState.RECONNECTING, 8_000_000_000)
    assert (status.failed_tries, status.last_error) == (2, "connection refused")
    assert status.counts.stalls == 1
    board.change(SourceState.RUNNING)
    assert board.snapshot().failed_tries == 0


def test_a_snapshot_does_not_change():
    board, _ = make_board()
    before = board.snapshot()
    board.counts.corrupt_packets += 1
    assert before.counts.corrupt_packets == 0


def test_a_source_s_life():
    source = open_source("synthetic:objects=1,frames=3")
    assert source.status().state is SourceState.RUNNING
    frames = list(source)
    status = source.status()
    assert (status.state, status.frames, status.last_pts) == (SourceState.ENDED, 3, 2)
    assert status.last_captured_unix_ns == frames[-1].captured_unix_ns
    closed = open_source("synthetic:objects=1,frames=3")
    closed.close()
    assert closed.status().state is SourceState.ENDED


def test_asking_does_not_wait_for_the_source():
    with open_source("synthetic:objects=1,frames=2,fps=1/60", realtime=True) as source:
        next(source)
        waiting = threading.Thread(target=lambda: list(source))
        waiting.start()  # for a minute, if nobody closes it
        assert source.status().frames == 1
        source.close()
        waiting.join(5)
        assert not waiting.is_alive()
