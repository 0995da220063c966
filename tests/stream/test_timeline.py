from __future__ import annotations

from fractions import Fraction

import pytest
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


def test_after_a_jump_back_time_goes_on(timeline, counts):
    assert [timeline.place(pts) for pts in (5000, 5040, 0, 40, 80)] == [5000, 5040, 5080, 5120, 5160]
    assert counts.corrected_pts == 1


def test_a_late_frame_of_a_damaged_stream_does_not_move_those_behind_it(timeline, counts):
    times = (5000, 1000, 5040, 1040, 5080, 5120, 5160)
    assert [timeline.place(pts) for pts in times] == [5000, 5040, 5041, 5081, 5082, 5120, 5160]
    assert counts.corrected_pts == 4


def test_two_jumps_back(timeline):
    assert [timeline.place(pts) for pts in (5000, 0, 2000, 0)] == [5000, 5040, 7040, 7080]
