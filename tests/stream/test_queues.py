from __future__ import annotations

import threading
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maskstream.stream.queues import Overflow, QueueClosed, StageQueue

SOON_S = 5.0  # how long a thread may take to do what it must do at once


def in_thread(work, *args):
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def ended(thread):
    thread.join(SOON_S)
    return not thread.is_alive()


def balanced(queue):
    counts = queue.counts()
    return counts.put_count == counts.delivered + counts.dropped + counts.waiting


def test_items_come_out_in_order():
    queue = StageQueue(capacity=3)
    for item in "abc":
        queue.put(item)
    queue.close()
    assert list(queue) == ["a", "b", "c"]


def test_capacity_must_hold_something():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        StageQueue(capacity=0)


def test_drop_oldest_keeps_the_newest_and_counts():
    queue = StageQueue(capacity=2, overflow=Overflow.DROP_OLDEST)
    for item in range(5):
        queue.put(item)
    queue.close()
    assert list(queue) == [3, 4]
    assert (queue.put_count, queue.delivered, queue.dropped) == (5, 2, 3)


def test_block_waits_for_room():
    queue = StageQueue(capacity=1)
    queue.put("first")
    putter = in_thread(queue.put, "second")
    putter.join(0.05)
    assert putter.is_alive()
    assert queue.get() == "first"
    assert ended(putter)
    assert queue.get() == "second"


def test_close_frees_a_blocked_put():
    queue, outcome = StageQueue(capacity=1), []
    queue.put("first")

    def put():
        try:
            queue.put("second")
        except QueueClosed:
            outcome.append("refused")

    putter = in_thread(put)
    queue.close()
    assert ended(putter)
    assert outcome == ["refused"]
    assert list(queue) == ["first"]
    assert balanced(queue)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_end_frees_a_waiting_get(end):
    queue, got = StageQueue(capacity=1), []
    getter = in_thread(lambda: got.extend(queue))
    getattr(queue, end)()
    assert ended(getter)
    assert got == []


@pytest.mark.parametrize("overflow", Overflow)
def test_a_closed_queue_takes_nothing(overflow):
    queue = StageQueue(capacity=2, overflow=overflow)
    queue.close()
    queue.close()
    with pytest.raises(QueueClosed):
        queue.put(1)
    with pytest.raises(QueueClosed):
        queue.get()
    assert queue.put_count == 0


def test_abort_drops_what_is_inside_and_counts_it():
    queue = StageQueue(capacity=4)
    for item in range(3):
        queue.put(item)
    queue.get()
    queue.abort()
    queue.abort()
    assert list(queue) == []
    assert (queue.put_count, queue.delivered, queue.dropped, queue.waiting) == (3, 1, 2, 0)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    capacity=st.integers(1, 4),
    overflow=st.sampled_from(Overflow),
    operations=st.lists(st.sampled_from(["put", "put", "put", "get", "close", "abort"]), max_size=30),
)
def test_a_queue_does_what_a_plain_list_would(capacity, overflow, operations):
    queue = StageQueue(capacity, overflow)
    model, closed, delivered, dropped = deque(), False, 0, 0
    for number, operation in enumerate(operations):
        if operation == "put" and closed:
            with pytest.raises(QueueClosed):
                queue.put(number)
        elif operation == "put" and (overflow is Overflow.DROP_OLDEST or len(model) < capacity):
            queue.put(number)
            model.append(number)
            if len(model) > capacity:
                model.popleft()
                dropped += 1
        elif operation == "get" and model:
            assert queue.get() == model.popleft()
            delivered += 1
        elif operation == "close":
            queue.close()
            closed = True
        elif operation == "abort":
            queue.abort()
            dropped += len(model)
            model.clear()
            closed = True
        assert (queue.delivered, queue.dropped, queue.waiting) == (delivered, dropped, len(model))
        assert balanced(queue)


def test_a_held_queue_gives_out_nothing_until_it_is_released():
    queue, got = StageQueue(2, Overflow.DROP_OLDEST), []
    queue.hold()
    taker = in_thread(lambda: got.extend(queue))
    for number in range(5):
        queue.put(number)
    queue.close()
    taker.join(0.1)
    assert taker.is_alive()
    assert (queue.is_held, queue.dropped, got) == (True, 3, [])
    queue.release()
    assert ended(taker)
    assert (queue.is_held, got) == (False, [3, 4])


def test_a_held_queue_can_be_aborted():
    queue, got = StageQueue(2), []
    queue.hold()
    queue.put(1)
    taker = in_thread(lambda: got.extend(queue))
    queue.abort()
    assert ended(taker)
    assert got == []
    assert balanced(queue)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    capacity=st.integers(1, 3),
    overflow=st.sampled_from(Overflow),
    per_producer=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    consumers=st.integers(1, 2),
)
def test_counts_hold_between_threads(capacity, overflow, per_producer, consumers):
    queue, got, odd = StageQueue(capacity, overflow), [], []
    takers = [in_thread(lambda: got.extend(queue)) for _ in range(consumers)]

    def produce(producer, count):
        for number in range(count):
            queue.put((producer, number))
            if not balanced(queue) or queue.waiting > capacity:
                odd.append(queue.counts())

    makers = [in_thread(produce, *pair) for pair in enumerate(per_producer)]
    assert all(ended(maker) for maker in makers)
    queue.close()
    assert all(ended(taker) for taker in takers)
    assert not odd
    assert queue.put_count == sum(per_producer)
    assert queue.delivered == len(got) == len(set(got))
    assert queue.delivered + queue.dropped == queue.put_count
    if overflow is Overflow.BLOCK:
        assert queue.dropped == 0
