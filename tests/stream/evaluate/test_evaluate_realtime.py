"""What a live stream would have got: arrivals, drops and answers by a clock that nobody waits for."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from maskstream.model.types import MaskOrigin, ObjectMask, TrackState, box_of_mask
from maskstream.stream.costs import Costs, Realtime
from maskstream.stream.evaluate_realtime import RealtimeSegmenter, VirtualClock
from maskstream.stream.types import Frame, FrameResult

HW = (24, 48)
QUICK = Costs(encode=20, track=5, flow=4, move=1)
SLOW = Costs(encode=90, track=20, flow=4, move=1)
HOPELESS = Costs(encode=90, track=20, flow=200, move=1)  # longer than a queue of two frames lasts


def frame_of(index):
    return Frame(np.zeros((*HW, 3), np.uint8), index, index, Fraction(1, 25), 7, 0, "x")


class Segmenter:
    def __init__(self):
        self.encoded = []

    def __call__(self, frame):
        self.encoded.append(frame.index)
        mask = np.zeros(HW, bool)
        mask[5:15, 10:20] = True
        found = ObjectMask(1, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, 0.9)
        return FrameResult(frame, (found,), 0, 1.0, 1.0, 0)

    def is_due(self, frame):
        return False


def play(costs, frames=25, rate=25):
    segmenter = Segmenter()
    stream = RealtimeSegmenter(segmenter, list, Realtime(rate, costs))
    results = [stream(frame_of(index)) for index in range(frames)]
    return segmenter, results


def test_frames_keep_their_index_and_get_the_time_at_which_they_would_come():
    _, results = play(SLOW)
    assert [result.frame.index for result in results] == list(range(25))
    assert [result.frame.captured_ns for result in results] == [40_000_000 * index for index in range(25)]


def test_a_machine_that_keeps_up_encodes_everything():
    segmenter, results = play(QUICK)
    assert segmenter.encoded == list(range(25))
    assert {found.how for result in results for found in result.objects} == {MaskOrigin.FRESH}
    assert [result.done_ns - result.frame.captured_ns for result in results] == [25_000_000] * 25


def test_a_slow_one_encodes_what_there_is_time_for():
    segmenter, results = play(SLOW)
    assert segmenter.encoded == list(range(0, 25, 3))  # 110 ms each, and 10 ms to wait for a new one
    assert max(result.done_ns - result.frame.captured_ns for result in results) <= 40_000_000


def test_a_frame_that_the_queue_drops_shows_what_was_published_last():
    _, results = play(HOPELESS)
    objects = [result.objects[0] for result in results if result.objects]
    held = [found for found in objects if found.how is MaskOrigin.HELD]
    assert len(held) > 10
    ages_ms = [found.age_ms for found in objects]
    assert all(later - earlier <= 40 + 1e-6 for earlier, later in zip(ages_ms, ages_ms[1:], strict=False))


@pytest.mark.parametrize("costs", [SLOW, HOPELESS])
def test_the_same_costs_give_the_same_masks(costs):
    first, again = (play(costs)[1] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert len(one.objects) == len(other.objects)
        for found, same in zip(one.objects, other.objects, strict=True):
            np.testing.assert_array_equal(found.mask, same.mask)
            assert (found.how, found.age_ms, found.quality) == (same.how, same.age_ms, same.quality)


def test_nobody_waits():
    started_s = time.monotonic()
    play(Costs(encode=40_000, track=20_000, flow=4, move=1), frames=5, rate=1)
    assert time.monotonic() - started_s < 2


def test_time_does_not_run_backwards():
    clock = VirtualClock()
    clock.pass_until(100)
    clock.pass_until(50)
    assert clock() == 100
    clock.pass_ms(1.5)
    assert clock() == 1_500_100
