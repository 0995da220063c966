"""The ladder's decisions, by a clock that the tests turn."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from maskstream.model.coast import Coaster, resized
from maskstream.model.types import MaskOrigin, ObjectMask, TrackState, box_of_mask
from maskstream.stream.evaluate_realtime import SimulatedWorker, VirtualClock
from maskstream.stream.ladder import Ladder, Slot
from maskstream.stream.types import Frame, FrameResult

HW = (24, 384)  # as wide as a thumb: a picture twice as large is seen as well
INTERVAL_MS = 40
FRESH, REFINED, WARPED, HELD = MaskOrigin.FRESH, MaskOrigin.REFINED, MaskOrigin.WARPED, MaskOrigin.HELD


def ms(duration_ms):
    return round(1e6 * duration_ms)


def frame_of(index):
    return Frame(np.zeros((*HW, 3), np.uint8), index, index, Fraction(1, 25), ms(INTERVAL_MS * index), 0, "x")


def column(index, object_id=1, how=FRESH):
    """An object that is a column of the picture, farther right in each frame."""
    mask = np.zeros(HW, bool)
    mask[:, 10 + index] = True
    return ObjectMask(object_id, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, 0.9, how)


def place(found):
    """The index of the frame on which the object is where it was found."""
    return int(found.box_xyxy[0]) - 10


class Segmenter:
    """Finds object 1 where it is."""

    def __init__(self, due=(), error=None):
        self.due, self.error, self.encoded, self.closed = set(due), error, [], 0

    def __call__(self, frame):
        if self.error:
            raise self.error
        self.encoded.append(frame.index)
        self.due.discard(frame.index)
        return FrameResult(frame, (resized(column(frame.index), frame.hw),), 0, 20.0, 10.0, 0)

    def close(self):
        self.closed += 1

    def is_due(self, frame):
        return frame.index in self.due

    def preview(self, frame):
        return (column(frame.index, object_id=2, how=REFINED),) if self.is_due(frame) else ()


class OneToTheRight(Coaster):
    """Everything moves one pixel a frame, which takes its time to see."""

    def __init__(self, clock, flow_ms, move_ms):
        super().__init__()
        self.clock, self.flow_ms, self.move_ms, self.steps = clock, flow_ms, move_ms, 0

    def step(self, image):
        self.clock.pass_ms(self.flow_ms)
        self.steps += 1
        step, own = super().step(image)
        return replace(step, flow=None if step.flow is None else np.full_like(step.flow, (-1, 0))), own

    def carry(self, imprints, drift, now, age_ms):
        self.clock.pass_ms(self.move_ms)
        return super().carry(imprints, drift, now, age_ms)


class Stream:
    """Feeds frames to a ladder, each at its time or, if the ladder is busy, when it is free."""

    def __init__(self, encode_ms, flow_ms=4.0, move_ms=2.0, stale_ms=1000.0, **options):
        self.clock, self.segmenter, self.guides = VirtualClock(), Segmenter(**options), []
        self.coast = OneToTheRight(self.clock, flow_ms, move_ms)
        self.worker = SimulatedWorker(self.segmenter, ms(encode_ms), ms(stale_ms), self.clock)
        self.ladder = Ladder(
            self.segmenter, self.worker, self.coast, ms(INTERVAL_MS), self.clock, self.guides.append
        )
        self.latencies_ms = []

    def run(self, *indexes):
        results = []
        for index in indexes:
            frame = frame_of(index)
            self.clock.pass_until(frame.captured_ns)
            results.append(self.ladder(frame))
            assert results[-1].frame is frame
            self.latencies_ms.append((self.clock() - frame.captured_ns) / 1e6)
        return results


def the(results, object_id=1):
    return [
        next((found for found in result.objects if found.object_id == object_id), None) for result in results
    ]


def test_a_quick_worker_answers_every_frame_fresh_and_no_flow_is_computed():
    stream = Stream(encode_ms=10)
    found = the(stream.run(*range(5)))
    assert [one.how for one in found] == [FRESH] * 5
    assert [one.age_ms for one in found] == [0.0] * 5
    assert stream.segmenter.encoded == [0, 1, 2, 3, 4]
    assert stream.coast.steps == 0
    assert stream.latencies_ms == [10] * 5


def test_a_slow_worker_is_carried_forward():
    stream = Stream(encode_ms=110)
    results = stream.run(*range(12))
    found = the(results)
    assert found[:2] == [None, None]  # nothing is known yet, and nothing is invented
    assert {one.how for one in found[3:]} == {WARPED}
    for result, one in zip(results[3:], found[3:], strict=True):
        assert place(one) == result.frame.index  # where it is by now, not where it was
        assert one.age_ms > 0


def test_every_frame_is_answered_within_its_budget():
    stream = Stream(encode_ms=110)
    stream.run(*range(40))
    assert max(stream.latencies_ms) <= INTERVAL_MS


def test_the_worker_is_never_idle_and_always_on_the_newest_frame():
    stream = Stream(encode_ms=110)
    stream.run(*range(40))
    # 110 ms a frame, 40 ms apart: 1560 ms are worth 14 frames, and the one that is being worked on.
    assert len(stream.segmenter.encoded) == 15
    assert set(np.diff(stream.segmenter.encoded)) == {2, 3}


def test_a_stale_frame_is_not_begun_when_the_next_is_about_to_come():
    stream = Stream(encode_ms=110, stale_ms=13)
    stream.run(*range(40))
    # Done at 110 ms: frame 2 came 30 ms before, so the worker waits for frame 3, at 120 ms.
    assert stream.segmenter.encoded[:4] == [0, 3, 6, 9]
    shown = Stream(encode_ms=110, stale_ms=13, due={2})
    shown.run(*range(12))
    assert 2 in shown.segmenter.encoded  # it must be


def test_evidence_is_waited_for_where_it_comes_in_time():
    # Begun at 0 ms, done at 110: before frame 2 (80 ms) has to be answered, at 120 ms.
    found = the(Stream(encode_ms=110).run(0, 1, 2))
    assert (found[2].how, found[2].age_ms, place(found[2])) == (WARPED, 80.0, 2)
    # Done at 119: too late to be moved by then.
    assert the(Stream(encode_ms=119).run(0, 1, 2))[2] is None


def test_a_quick_worker_that_is_late_once():
    stream = Stream(encode_ms=10)
    stream.run(0, 1)
    stream.worker._took_ns = ms(60)
    late = the(stream.run(2))[0]
    assert (late.how, late.age_ms) == (WARPED, INTERVAL_MS)
    stream.worker._took_ns = ms(10)
    assert [one.how for one in the(stream.run(3, 4, 5))][-1] is FRESH


def test_masks_are_held_rather_than_frames_lost():
    stream = Stream(encode_ms=110, flow_ms=50)  # moving takes longer than a frame may
    found = the(stream.run(*range(30)))[4:]
    assert {one.how for one in found} == {WARPED, HELD}
    assert max(stream.latencies_ms) < 2 * INTERVAL_MS  # so that a queue of two loses none
    for before, one in zip(found, found[1:], strict=False):
        if one.how is HELD:
            assert place(one) == place(before)
            assert one.age_ms == before.age_ms + INTERVAL_MS
            assert one.quality < before.quality


def test_after_a_held_frame_masks_catch_up():
    stream = Stream(encode_ms=110, flow_ms=50)
    for one, result in zip(the(results := stream.run(*range(30))), results, strict=True):
        if one is not None and one.how is WARPED and result.frame.index > 6:
            # One pixel for each frame that was looked at: at most the held ones are missing.
            assert result.frame.index - place(one) <= one.age_ms / INTERVAL_MS


def test_a_frame_on_which_an_object_is_shown_is_encoded_whatever_comes_after_it():
    stream = Stream(encode_ms=110, due={4})
    stream.run(*range(12))
    assert 4 in stream.segmenter.encoded


def test_what_is_shown_is_answered_at_once_and_until_it_is_encoded():
    stream = Stream(encode_ms=110, due={4})
    results = stream.run(*range(12))
    shown = the(results, object_id=2)
    assert shown[:4] == [None] * 4
    assert (shown[4].how, shown[4].age_ms, place(shown[4])) == (REFINED, 0.0, 4)
    carried_on = [one for one in shown[5:] if one is not None]
    assert carried_on
    assert [place(one) for one in carried_on] == list(range(5, 5 + len(carried_on)))
    assert {one.how for one in carried_on} == {WARPED}
    # Its frame's result does not have object 2, so it goes when that comes.
    newest_gap = next(index for index in range(5, 12) if shown[index] is None)
    assert all(one is None for one in shown[newest_gap:])


def test_frames_lost_before_the_ladder_do_not_disturb_it():
    stream = Stream(encode_ms=110)
    found = the(stream.run(0, 1, 2, 3, 7, 8, 9, 10, 11))
    assert all(one is not None for one in found[3:])


def test_masks_are_as_large_as_their_frames_when_the_stream_changes_its_size():
    stream = Stream(encode_ms=110)
    stream.run(*range(8))
    frame = frame_of(8)
    large = replace(frame, image=np.zeros((2 * HW[0], 2 * HW[1], 3), np.uint8))
    stream.clock.pass_until(large.captured_ns)
    for late_ms in (0, 500):  # moved, and held
        stream.clock.pass_ms(late_ms)
        (found,) = stream.ladder(large).objects
        assert found.mask.shape == large.hw
        assert found.mask.sum() == 4 * HW[0]
        assert found.how == (HELD if late_ms else WARPED)


@pytest.mark.parametrize("late_ms", [0, 500])  # also where there is no time to move anything
def test_nothing_is_carried_over_a_break_of_the_stream(late_ms):
    stream = Stream(encode_ms=110)
    assert the(stream.run(*range(8)))[-1].mask.any()
    frame = replace(frame_of(80), stretch=1)
    stream.clock.pass_until(frame.captured_ns + ms(late_ms))
    (found,) = stream.ladder(frame).objects
    assert not found.mask.any()
    assert found.state is TrackState.OCCLUDED


def test_counts():
    stream = Stream(encode_ms=110)
    stream.run(*range(12))
    assert stream.ladder.counts.encoded == len(stream.segmenter.encoded) - 1  # one is in work
    assert stream.ladder.counts.frames == {WARPED: 10}


def test_the_tracker_is_told_how_things_moved_since_the_frame_it_had():
    stream = Stream(encode_ms=110)
    stream.run(0, 1, 2, 3)
    newest = stream.guides[-1][-1]
    assert -3.0 in [drift.flow[0, 0, 0] for drift in newest.drifts]  # from frame 3 to frame 0, step by step


def test_an_error_of_the_segmenter_is_the_callers():
    error = RuntimeError("out of memory")
    with pytest.raises(RuntimeError) as caught:
        Stream(encode_ms=110, error=error).run(*range(5))
    assert caught.value is error


def test_closing_closes_the_segmenter():
    stream = Stream(encode_ms=110)
    stream.run(0, 1)
    stream.ladder.close()
    assert stream.segmenter.closed == 1


def test_a_slot_keeps_the_newest_or_what_must_be_done():
    slot, frames = Slot(), [frame_of(index) for index in range(4)]
    assert slot.take() is None
    assert slot.offer(frames[0], must=False)
    assert slot.offer(frames[1], must=True)
    assert not slot.offer(frames[2], must=False)
    assert not slot.offer(frames[3], must=True)
    assert slot.take() is frames[1]
    assert slot.take() is None
    assert slot.offer(frames[3], must=False)
    assert slot.take() is frames[3]
    for must in (False, True):
        slot.offer(frames[1], must=must)
        slot.drop_older(frames[1].captured_ns)
        assert slot.frame is frames[1]
        slot.drop_older(frames[2].captured_ns)
        assert (slot.take() is frames[1]) == must


def test_results_keep_what_they_were_given():
    (result,) = Stream(encode_ms=10).run(0)
    assert (result.encode_ms, result.track_ms) == (20.0, 10.0)
    moved = Stream(encode_ms=110).run(0, 1, 2, 3)[-1]
    assert (moved.encode_ms, moved.track_ms) == (0.0, pytest.approx(6.0))
    assert replace(moved, dropped=3).dropped == 3
