"""Turns at what streams share: order, fairness whatever the rates, and who takes long."""

from __future__ import annotations

import threading
import time

import pytest
from maskstream.stream.fleet_gate import Gate, InTurn


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Visitor:
    """Goes through a gate in a thread of its own, and stays inside until it is let go."""

    def __init__(self, gate, name, visits=1, log=None):
        self.name, self.inside, self.go = name, threading.Semaphore(0), threading.Semaphore(0)
        self._gate, self._visits, self._log = gate, visits, [] if log is None else log
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for _ in range(self._visits):
            with self._gate.turn(self.name):
                self._log.append(self.name)
                self.inside.release()
                assert self.go.acquire(timeout=10)

    def leave(self):
        assert self.inside.acquire(timeout=10)
        self.go.release()


def test_those_who_wait_come_in_order():
    gate, log = Gate(1), []
    first = Visitor(gate, "a", log=log)
    wait_until(lambda: log == ["a"])
    others = []
    for name in "bcd":
        others.append(Visitor(gate, name, log=log))
        wait_until(lambda: len(gate.waiting) == len(others))
    for visitor in (first, *others):
        visitor.leave()
    for visitor in (first, *others):
        visitor.thread.join(10)
    assert log == ["a", "b", "c", "d"]


def test_a_stream_that_asks_at_once_again_waits_for_three_that_ask_seldom():
    gate, log = Gate(1), []
    fast = Visitor(gate, "fast", 8, log)
    wait_until(lambda: log == ["fast"])
    slow = [Visitor(gate, name, 2, log) for name in ("slow 1", "slow 2", "slow 3")]
    wait_until(lambda: len(gate.waiting) == 3)
    everybody = {visitor.name: visitor for visitor in (fast, *slow)}
    visits = {name: 8 if name == "fast" else 2 for name in everybody}
    for turn in range(sum(visits.values())):
        wait_until(lambda turn=turn: len(log) == turn + 1)
        # All others who want another turn have asked for it before the one inside leaves.
        asking = sum(log.count(name) < visits[name] for name in everybody if name != log[-1])
        wait_until(lambda asking=asking: len(gate.waiting) == asking)
        everybody[log[-1]].leave()
    for visitor in everybody.values():
        visitor.thread.join(10)
    assert sorted(log[:4]) == ["fast", "slow 1", "slow 2", "slow 3"]
    assert sorted(log[4:8]) == ["fast", "slow 1", "slow 2", "slow 3"]
    assert log[8:] == ["fast"] * 6


def test_two_of_one_name_never_keep_another_out():
    gate, log = Gate(1), []
    first = Visitor(gate, "greedy", log=log)
    wait_until(lambda: log == ["greedy"])
    more = []
    for name in ("greedy", "greedy", "modest"):
        more.append(Visitor(gate, name, log=log))
        wait_until(lambda: len(gate.waiting) == len(more))
    first.leave()
    wait_until(lambda: len(log) == 2)
    assert log[1] == "modest"
    for visitor in (more[2], more[0], more[1]):
        visitor.leave()


def test_who_takes_long_keeps_one_place():
    gate, log = Gate(2), []
    stuck = Visitor(gate, "stuck", log=log)
    wait_until(lambda: log == ["stuck"])
    for _ in range(3):
        other = Visitor(gate, "other", log=log)
        other.leave()
        other.thread.join(10)
    assert log == ["stuck", "other", "other", "other"]
    stuck.leave()


def test_a_place_is_free_again_after_an_error():
    gate = Gate(1)
    with pytest.raises(RuntimeError), gate.turn("a"):
        raise RuntimeError
    with gate.turn("b"):
        assert gate.waiting == ()
    with pytest.raises(ValueError, match="at least 1"):
        Gate(0)


def test_a_segmenter_that_waits_for_its_turn():
    class Segmenter:
        closed = False

        def __call__(self, frame):
            return frame, gate.waiting

        def close(self):
            self.closed = True

    gate, own = Gate(1), Segmenter()
    segmenter = InTurn(own, lambda: gate.turn("a"))
    assert segmenter("frame") == ("frame", ())
    segmenter.close()
    assert own.closed
