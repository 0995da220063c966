"""The worker's thread: what it is given, when it answers, and how it ends."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
from maskstream.stream.ladder_worker import ThreadWorker
from maskstream.stream.types import Frame, FrameResult

SOON_NS = 5_000_000_000
NEVER = 1 << 62  # ns


def frame_of(index):
    return Frame(np.zeros((2, 4, 3), np.uint8), index, index, Fraction(1, 25), 0, 0, "x")


def result_of(frame):
    return FrameResult(frame, (), 0, 1.0, 1.0, 0)


class Gate:
    """Work that goes on when it is told to."""

    def __init__(self):
        self.begun, self.go, self.seen = threading.Semaphore(0), threading.Semaphore(0), []

    def __call__(self, frame):
        self.seen.append(frame.index)
        self.begun.release()
        assert self.go.acquire(timeout=5)
        return result_of(frame)


def soon():
    return time.monotonic_ns() + SOON_NS


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def worker(gate):
    worker = ThreadWorker(gate, NEVER)
    yield worker
    gate.go.release(100)
    worker.close()


def test_a_result_is_waited_for(worker, gate):
    worker.offer(frame_of(0), must=False)
    gate.go.release()
    assert worker.wait(soon()).frame.index == 0


def test_nothing_is_waited_for_beyond_its_time(worker, gate):
    worker.offer(frame_of(0), must=False)
    assert worker.wait(0) is None
    assert worker.wait(time.monotonic_ns() + 10_000_000) is None


def test_the_newest_frame_is_next(worker, gate):
    worker.offer(frame_of(0), must=False)
    assert gate.begun.acquire(timeout=5)
    for index in (1, 2, 3):
        worker.offer(frame_of(index), must=False)
    assert worker.indexes == {0, 3}
    gate.go.release(2)
    assert [worker.wait(soon()).frame.index for _ in range(2)] == [0, 3]
    assert gate.seen == [0, 3]


def test_the_newest_frame_is_taken_up_when_its_turn_has_come(gate):
    asked, come = threading.Semaphore(0), threading.Semaphore(0)

    @contextmanager
    def turn():
        asked.release()
        assert come.acquire(timeout=5)
        yield

    worker = ThreadWorker(gate, NEVER, turn=turn)
    worker.offer(frame_of(0), must=False)
    assert asked.acquire(timeout=5)
    worker.offer(frame_of(1), must=False)
    assert worker.indexes == {1}
    assert worker.expected_ns is not None
    come.release()
    gate.go.release()
    assert worker.wait(soon()).frame.index == 1
    worker.offer(frame_of(2), must=False)
    assert asked.acquire(timeout=5)
    closing = threading.Thread(target=worker.close)
    closing.start()
    while not worker._is_closed:
        time.sleep(0.001)
    come.release()
    closing.join(5)
    assert gate.seen == [1]  # what waits at the end is not begun


def test_a_frame_that_must_be_done_is_not_passed_over(worker, gate):
    worker.offer(frame_of(0), must=False)
    assert gate.begun.acquire(timeout=5)
    assert worker.offer(frame_of(1), must=True)
    assert not worker.offer(frame_of(2), must=False)
    gate.go.release(2)
    assert [worker.wait(soon()).frame.index for _ in range(2)] == [0, 1]


def test_a_frame_that_has_waited_for_long_makes_room_for_the_next(gate):
    clock_ms = [0]
    worker = ThreadWorker(gate, 10_000_000, clock=lambda: clock_ms[0] * 1_000_000)
    worker.offer(frame_of(0), must=False)
    assert gate.begun.acquire(timeout=5)
    worker.offer(frame_of(1), must=False)
    clock_ms[0] = 11
    gate.go.release(2)
    while worker.expected_ns is not None:
        time.sleep(0.001)
    worker.offer(frame_of(2), must=False)  # as old by its capture: but it has not waited
    assert gate.begun.acquire(timeout=5)
    worker.close()
    assert gate.seen == [0, 2]


def test_results_that_are_done_count_as_held(worker, gate):
    worker.offer(frame_of(0), must=False)
    gate.go.release()
    gate.begun.acquire(timeout=5)
    while worker.expected_ns is not None:
        time.sleep(0.001)
    assert worker.indexes == {0}
    assert worker.wait(0).frame.index == 0
    assert worker.indexes == frozenset()


def test_what_it_expects(gate):
    clock_ms = [0]
    worker = ThreadWorker(gate, NEVER, clock=lambda: clock_ms[0] * 1_000_000)
    assert (worker.takes_ns, worker.expected_ns) == (0, None)
    worker.offer(frame_of(0), must=False)
    assert gate.begun.acquire(timeout=5)
    clock_ms[0] = 100
    gate.go.release()
    while worker.expected_ns is not None:
        time.sleep(0.001)
    assert worker.takes_ns == 100_000_000
    clock_ms[0] = 150
    worker.offer(frame_of(1), must=False)
    assert gate.begun.acquire(timeout=5)
    clock_ms[0] = 170
    assert worker.expected_ns == 250_000_000
    gate.go.release()
    worker.close()


def test_an_error_is_raised_where_results_are_taken():
    error = RuntimeError("out of memory")

    def fail(frame):
        raise error

    worker = ThreadWorker(fail, NEVER)
    worker.offer(frame_of(0), must=False)
    with pytest.raises(RuntimeError) as caught:
        worker.wait(soon())
    assert caught.value is error
    with pytest.raises(RuntimeError):
        worker.wait(0)
    worker.close()


def test_close_ends_the_thread_after_the_frame_in_work(worker, gate):
    worker.offer(frame_of(0), must=False)
    assert gate.begun.acquire(timeout=5)
    worker.offer(frame_of(1), must=True)
    closer = threading.Thread(target=worker.close)
    closer.start()
    gate.go.release(2)
    closer.join(5)
    assert not closer.is_alive()
    assert not worker._thread.is_alive()
    assert gate.seen == [0]
    worker.close()


def test_closing_what_never_began():
    worker = ThreadWorker(result_of, NEVER)
    worker.close()
    worker.offer(frame_of(0), must=False)
    assert worker._thread.ident is None
