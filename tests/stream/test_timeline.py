from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maskstream.stream.source_status import SourceCounts
from maskstream.stream.timeline import Timeline


@pytest.fixture
def counts():
    return SourceCounts()


@pytest.fixture
def timeline(counts):
    """Ticks of 1 ms, 25 frames/s: 40 ticks from frame to frame."""
    return Timeline(Fraction(1, 1000), Fraction(25), counts)


def test_good_times_pass_unchanged(timeline, counts):
    times = [7, 47, 48, 3000, 10**12]
    assert [timeline.place(pts) for pts in times] == times
    assert counts == SourceCounts()


def test_leading_frames_without_pts_are_counted_back_from_the_first_with_one(timeline, counts):
    assert not timeline.started
    assert timeline.begin([0, 0, 50], first_pts=500) == [370, 410, 450]
    assert timeline.started
    assert timeline.place(500) == 500
    assert counts.derived_pts == 3


def test_time_begins_at_zero_where_no_frame_has_a_pts(timeline, counts):
    assert timeline.begin([0, 0], first_pts=None) == [0, 40]
    assert [timeline.place(None), timeline.place(None, duration=100), timeline.place(None)] == [80, 120, 220]
    assert counts.derived_pts == 5


def test_a_missing_pts_follows_the_frame_before_by_its_duration(timeline, counts):
    assert timeline.place(1000, duration=33) == 1000
    assert timeline.place(None) == 1033
    assert timeline.place(1080) == 1080
    assert counts.derived_pts == 1


def test_a_repeated_or_early_pts_moves_one_tick_behind_the_last(timeline, counts):
    assert [timeline.place(pts) for pts in (100, 100, 90, 140)] == [100, 101, 102, 140]
    assert counts.corrected_pts == 2


def test_a_clock_that_began_anew_after_less_than_a_second_is_found_out(timeline, counts):
    times = (0, 40, 80, 120, 160, 200, 240, 0, 40, 80, 120, 160, 200)
    assert [timeline.place(pts) for pts in times][6:] == [240, 241, 242, 243, 283, 323, 363]
    assert counts.corrected_pts == 4


def test_after_a_jump_back_time_goes_on(timeline, counts):
    assert [timeline.place(pts) for pts in (5000, 5040, 0, 40, 80)] == [5000, 5040, 5080, 5120, 5160]
    assert counts.corrected_pts == 1


def test_a_late_frame_of_a_damaged_stream_does_not_move_those_behind_it(timeline, counts):
    times = (5000, 1000, 5040, 1040, 5080, 5120, 5160)
    assert [timeline.place(pts) for pts in times] == [5000, 5040, 5041, 5081, 5082, 5120, 5160]
    assert counts.corrected_pts == 4


def test_two_jumps_back(timeline):
    assert [timeline.place(pts) for pts in (5000, 0, 2000, 0)] == [5000, 5040, 7040, 7080]


def live(timeline, *frames):
    """Places frames given as (PTS, time of arrival in ms)."""
    return [timeline.place(pts, came_ns=came_ms * 1_000_000) for pts, came_ms in frames]


def test_live_times_pass_unchanged_whatever_the_network_does(timeline, counts):
    steady = [(1000, 0), (1040, 41), (1080, 2000), (1120, 2001), (1160, 2002), (6000, 7000)]
    assert live(timeline, *steady) == [1000, 1040, 1080, 1120, 1160, 6000]
    assert counts == SourceCounts()


def test_a_live_clock_that_jumps_ahead_is_moved_to_the_time_that_passed(timeline, counts):
    hour = 3_600_000
    placed = live(timeline, (0, 0), (40, 40), (hour, 90), (hour + 40, 130), (hour + 80, 170))
    assert placed == [0, 40, 90, 130, 170]
    assert counts.corrected_pts == 1


def test_one_live_frame_far_ahead_does_not_move_those_behind_it(timeline, counts):
    assert live(timeline, (0, 0), (40, 40), (10**9, 80), (120, 120), (160, 160)) == [0, 40, 80, 120, 160]
    assert counts.corrected_pts == 1


def test_a_live_clock_that_wraps_goes_on_by_the_time_that_passed(timeline, counts):
    top = 2**33 // 90  # MPEG's 33 bits of 1/90000 s, in ms
    placed = live(timeline, (top - 40, 0), (top, 40), (0, 540), (40, 580))
    assert placed == [top - 40, top, top + 500, top + 540]
    assert counts.corrected_pts == 1


def test_live_frames_without_pts_are_timed_by_their_arrival(timeline, counts):
    assert live(timeline, (1000, 0), (None, 70), (None, 70), (1200, 200)) == [1000, 1070, 1071, 1200]
    assert counts.derived_pts == 2


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(-(2**40), 2**40)), st.integers(0, 30_000)), max_size=60
    )
)
def test_whatever_a_live_stream_says_time_grows_and_stays_near_the_clock(frames):
    timeline = Timeline(Fraction(1, 1000), Fraction(25), SourceCounts())
    came_ms = 0
    last = None
    for pts, waited_ms in frames:
        came_ms += waited_ms
        placed = timeline.place(pts, came_ns=came_ms * 1_000_000)
        if last is not None:
            assert 1 <= placed - last <= waited_ms + 10_001
        last = placed
