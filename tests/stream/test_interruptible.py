from __future__ import annotations

import threading

import pytest
from maskstream.stream.interruptible import ReaderThread, call_with_deadline


def test_a_value_in_time():
    assert call_with_deadline(lambda: 7, 5, discard=pytest.fail) == 7


def test_an_error_in_time_is_raised():
    def fail():
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        call_with_deadline(fail, 5, discard=pytest.fail)


def test_a_value_that_comes_too_late_is_discarded():
    may_answer, discarded = threading.Event(), threading.Event()
    values = []

    def hang():
        may_answer.wait(5)
        return "late"

    def discard(value):
        values.append(value)
        discarded.set()

    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        call_with_deadline(hang, 0.01, discard)
    may_answer.set()
    assert discarded.wait(5)
    assert values == ["late"]


def test_a_reader_gives_all_items_and_then_none():
    ended = threading.Event()
    reader = ReaderThread(iter("abc"), on_end=ended.set)
    assert [reader.get(5) for _ in range(5)] == ["a", "b", "c", None, None]
    assert reader.join(5)
    assert ended.is_set()


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken")

    reader = ReaderThread(items(), on_end=lambda: None)
    assert reader.get(5) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            reader.get(5)


def test_the_end_is_told_before_what_takes_its_time_to_close():
    closing = threading.Event()
    reader = ReaderThread(iter("a"), on_end=lambda: closing.wait(10))
    assert [reader.get(5), reader.get(5)] == ["a", None]
    closing.set()
    assert reader.join(5)


def test_who_does_not_want_the_value_any_more_need_not_wait_for_it():
    cancelled, release = threading.Event(), threading.Event()
    discarded = []
    threading.Timer(0.05, cancelled.set).start()
    with pytest.raises(TimeoutError):
        call_with_deadline(lambda: release.wait(20), 30, discarded.append, cancelled)
    release.set()


def test_a_reader_that_hangs_times_out_and_close_frees_it():
    may_go_on, ended = threading.Event(), threading.Event()

    def items():
        may_go_on.wait(5)
        yield "never taken"

    reader = ReaderThread(items(), on_end=ended.set)
    with pytest.raises(TimeoutError, match=r"nothing came for 0\.01 s"):
        reader.get(0.01)
    closing = threading.Timer(0.01, reader.close)
    closing.start()
    assert reader.get(5) is None
    assert not reader.join(0.01)
    may_go_on.set()
    assert ended.wait(5)
    assert reader.join(5)


def test_close_frees_a_reader_whose_items_nobody_takes():
    reader = ReaderThread(iter(range(100)), on_end=lambda: None)
    assert reader.get(5) == 0
    reader.close()
    assert reader.join(5)
