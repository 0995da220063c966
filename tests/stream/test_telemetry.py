from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maskstream.stream.telemetry import Activity, DurationHistogram, Durations, StageStats, StepTimes

MS = 1_000_000


class FakeClock:
    def __init__(self):
        self.now_ns = 10**15

    def __call__(self):
        return self.now_ns

    def pass_ms(self, ms):
        self.now_ns += int(ms * MS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.02, 1e6), min_size=1, max_size=60), st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_within_two_percent(durations, percent):
    histogram = DurationHistogram()
    for duration in durations:
        histogram.add(duration)
    truth = np.percentile(durations, percent, method="inverted_cdf")
    assert histogram.percentile_ms(percent) == pytest.approx(truth, rel=0.021)


def test_extreme_durations_are_counted_not_lost():
    histogram = DurationHistogram()
    for duration in (0.0, 1e12):
        histogram.add(duration)
    assert histogram.total == 2
    assert histogram.percentile_ms(1) < 0.02
    assert histogram.max_ms == 1e12


def test_an_empty_histogram_reads_zero():
    assert DurationHistogram().percentile_ms(95) == 0.0


def test_time_is_split_into_waiting_working_and_blocked():
    clock = FakeClock()
    stats = StageStats(clock)
    clock.pass_ms(500)  # before the start: counts for nothing
    stats.start()
    for work_ms in (10, 20, 30):
        clock.pass_ms(5)
        stats.waited()
        clock.pass_ms(work_ms)
        stats.worked()
        clock.pass_ms(1)
        stats.blocked()
    report = stats.report()
    assert report.items == 3
    assert report.waited_s == pytest.approx(0.015)
    assert report.blocked_s == pytest.approx(0.003)
    assert report.work_p50_ms == pytest.approx(20, rel=0.02)
    assert report.work_p95_ms == pytest.approx(30, rel=0.02)
    assert report.fps == pytest.approx(3 / 0.078)


def test_recent_fps_forgets_the_past_and_falls_when_the_stream_stalls():
    clock = FakeClock()
    stats = StageStats(clock)
    clock.pass_ms(60_000)  # loading
    for _ in range(100):
        clock.pass_ms(20)
        stats.worked()
    assert stats.report().recent_fps == pytest.approx(50)
    assert stats.report().fps < 2
    clock.pass_ms(60_000)
    assert stats.report().recent_fps < 1


def test_latency_is_separate_from_work():
    stats = StageStats(FakeClock())
    for latency_ms in (100.0, 200.0, 300.0):
        stats.add_latency(latency_ms)
    report = stats.report()
    assert (report.items, report.work_p50_ms) == (0, 0.0)
    assert report.latency_p50_ms == pytest.approx(200, rel=0.02)
    assert report.latency_p95_ms == pytest.approx(300, rel=0.02)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.02, 1e6), min_size=1, max_size=60), st.floats(0.05, 1e5))
def test_how_many_do_not_exceed_a_bound_is_met_within_two_percent(durations, bound):
    histogram = DurationHistogram()
    for duration in durations:
        histogram.add(duration)
    found = histogram.up_to([bound])
    assert sum(duration < bound / 1.021 for duration in durations) <= found.counts[0]
    assert found.counts[0] <= sum(duration < bound * 1.021 for duration in durations)
    assert (found.total, found.sum_ms) == (len(durations), pytest.approx(sum(durations)))


def test_bounds_beyond_all_durations_hold_all_of_them():
    histogram = DurationHistogram()
    assert histogram.up_to([1, 10]) == Durations((0, 0), 0, 0.0)
    for duration in (0.0, 5.0, 1e12):
        histogram.add(duration)
    assert histogram.up_to([0.0001, 1, 10, 1e13]).counts == (0, 1, 2, 3)


def test_a_stage_says_what_it_is_doing_and_since_when():
    clock = FakeClock()
    stats = StageStats(clock)
    steps = (
        (stats.start, Activity.WAITING, 0),
        (stats.waited, Activity.WORKING, 0),
        (stats.worked, Activity.HANDING_ON, 1),
        (stats.blocked, Activity.WAITING, 1),
        (stats.ending, Activity.ENDING, 1),
    )
    assert stats.moment().activity is Activity.IDLE
    for step, activity, items in steps:
        clock.pass_ms(10)
        step()
        began_ns = clock.now_ns
        clock.pass_ms(5)
        moment = stats.moment()
        assert (moment.activity, moment.since_ns, moment.items) == (activity, began_ns, items)
    stats.ended()
    assert stats.moment().activity is Activity.ENDED


def test_steps_are_timed_each_by_itself():
    steps = StepTimes("encode", "track")
    steps.add(encode=20.0, track=2.0)
    steps.add(encode=30.0)
    found = steps.durations([10])
    assert found == {"encode": Durations((0,), 2, 50.0), "track": Durations((1,), 1, 2.0)}
