from __future__ import annotations

import threading

import pytest
from maskstream.stream.queues import Overflow, StageQueue
from maskstream.stream.stage import Stage

SOON_S = 5.0


def filled(*items, capacity=8):
    queue = StageQueue(capacity)
    for item in items:
        queue.put(item)
    queue.close()
    return queue


def run(stage):
    stage.start()
    stage.join(SOON_S)
    assert not stage.is_alive()


def test_a_stage_hands_each_result_to_every_outbox_and_passes_the_end_on():
    outboxes = [StageQueue(8), StageQueue(8)]
    stage = Stage("double", filled(1, 2, 3), lambda item: 2 * item, outboxes)
    run(stage)
    assert [list(outbox) for outbox in outboxes] == [[2, 4, 6], [2, 4, 6]]
    assert stage.error is None
    assert stage.stats.report().items == 3


def test_the_error_is_kept_and_both_neighbours_are_freed():
    boom = ValueError("two")

    def work(item):
        if item == 2:
            raise boom
        return item

    inbox, outbox, told = StageQueue(1), StageQueue(8), []
    stage = Stage("work", inbox, work, [outbox], on_error=told.append)
    upstream = Stage("upstream", filled(1, 2, 3, 4, 5), lambda item: item, [inbox])
    upstream.start()  # it blocks: its inbox has room for one
    run(stage)
    upstream.join(SOON_S)
    assert not upstream.is_alive()
    assert upstream.error is None  # that the next stage stopped is no error of its own
    assert stage.error is boom
    assert told == [boom]
    assert list(outbox) == [1]


def test_a_slow_neighbour_does_not_stall_a_stage_that_drops():
    slow = StageQueue(1, Overflow.DROP_OLDEST)
    run(Stage("fast", filled(*range(8)), lambda item: item, [slow]))
    assert list(slow) == [7]
    assert slow.dropped == 7


@pytest.mark.parametrize("fails", [False, True])
def test_finish_runs_once_in_the_stages_thread_whatever_happened(fails):
    calls = []

    def work(item):
        if fails:
            raise ValueError(item)

    run(Stage("sink", filled(1, 2), work, finish=lambda: calls.append(threading.current_thread().name)))
    assert calls == ["sink"]


def test_the_first_of_two_errors_is_kept_and_both_are_told():
    first, second, told = ValueError("write"), OSError("close"), []

    def work(item):
        raise first

    def finish():
        raise second

    stage = Stage("sink", filled(1), work, finish=finish, on_error=told.append)
    run(stage)
    assert stage.error is first
    assert told == [first, second]


def test_even_a_system_exit_reaches_the_caller():
    leave = SystemExit(3)

    def work(item):
        raise leave

    stage = Stage("work", filled(1), work)
    run(stage)
    assert stage.error is leave
