from __future__ import annotations

import pytest
from maskstream.stream.bench_plot import plot_rows
from maskstream.stream.bench_rows import Row, durations
from maskstream.stream.bench_scene import FRAMES, BenchScene
from maskstream.stream.bench_tasks import Task


def test_a_row_of_durations():
    row = durations("frame", "a frame", "openvino", [10.0, 20.0, 30.0, 40.0, 1000.0])
    assert (row.value, row.unit, row.runs, row.times_faster) == (30.0, "ms", 5, None)
    assert row.p95 == pytest.approx(808.0)
    assert row.p99 == pytest.approx(961.6)


def test_times_faster_is_the_median_of_paired_ratios():
    # The third run was disturbed for both: the ratio is not.
    row = durations("frame", "a frame", "openvino", [10.0, 10.0, 100.0], [40.0, 30.0, 400.0])
    assert row.times_faster == pytest.approx(4.0)


def test_a_scene_goes_forth_and_back_without_a_jump():
    scene = BenchScene(48, 32, 2)
    turn = 2 * (FRAMES - 1)
    assert scene.image(0) is scene.image(turn)
    assert scene.image(1) is scene.image(turn - 1)
    assert scene.frame(turn + 3).index == turn + 3
    assert [prompt.object_id for prompt in scene.boxes] == [1, 2]
    assert all(prompt.mask is not None for prompt in scene.masks)


def test_what_contenders_are_called():
    assert Task(size=512).label("openvino") == "openvino, 512 px"
    assert Task(objects=10).label("torch") == "torch, 1024 px, 10 objects"
    assert Task(who="reference").label("reference") == "reference"


def test_a_picture_has_a_bar_for_each_duration_and_none_for_the_rest():
    rows = [
        durations("frame", "a frame", "slow", [100.0, 110.0]),
        durations("frame", "a frame", "quick", [10.0, 11.0]),
        Row("live", "published", "x", 30.0, "/s", 9),
    ]
    with_three, with_two = plot_rows([*rows, rows[0]]), plot_rows(rows)
    assert with_three.shape[0] > with_two.shape[0]
    assert plot_rows(rows[:2]).shape == with_two.shape
    coloured = (with_two.max(axis=2).astype(int) - with_two.min(axis=2)) > 60
    lengths = [count for count in coloured.sum(axis=1) if count > 20]
    assert max(lengths) / min(lengths) == pytest.approx(10, rel=0.2)
