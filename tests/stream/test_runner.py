from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from maskstream.model.errors import ConfigError, PromptError, SinkError, SourceError, WeightsError
from maskstream.model.metrics import region_iou
from maskstream.model.types import ObjectMask, Prompt, TrackState, box_of_mask
from maskstream.model.weights import resolve
from maskstream.stream import open_source, run, runner, track
from maskstream.stream.commands import Show
from maskstream.stream.config import Config, QueueConfig
from maskstream.stream.pipeline import FILE_PLAN, LIVE_PLAN, QueuePlan
from maskstream.stream.queues import Overflow
from maskstream.stream.runner import open_inputs, queue_plan
from maskstream.stream.summary import Ending
from maskstream.stream.types import FrameResult

SCENE = "synthetic:scene=still,objects=1,frames=6,width=64,height=48"
CENTRE = "1:point=50%,50%"


@pytest.fixture
def bright_parts(monkeypatch):
    """In place of the networks: every prompted object is what is bright."""

    def load(model, inputs, notify, progress):
        def segment(frame):
            mask = frame.image.mean(axis=2) > 127
            ids = sorted({item.prompt.object_id for item in inputs.agenda.schedule})
            objects = [ObjectMask(i, mask, box_of_mask(mask), 1.0, 1.0, TrackState.TRACKED, 1.0) for i in ids]
            return FrameResult(frame, tuple(objects), 0, 1.0, 1.0, frame.captured_ns)

        return segment

    monkeypatch.setattr(runner, "_load_segmenter", load)


@pytest.fixture
def no_networks(monkeypatch):
    def load(*arguments):
        raise AssertionError("the networks were loaded before everything was checked")

    monkeypatch.setattr(runner, "_load_segmenter", load)


def test_prompts_are_fitted_to_the_picture_and_come_in_order_of_time():
    later = Show(Prompt(9, points_xy=[[1, 1]], point_labels=[1]), time_s=0.5)
    inputs = open_inputs(Config(source=SCENE, prompts=["2:point=50%,50%@1", CENTRE]), [later])
    inputs.source.close()
    assert [(item.time_s, item.prompt.object_id) for item in inputs.agenda.schedule] == [
        (0, 1),
        (0.5, 9),
        (1, 2),
    ]
    assert inputs.agenda.schedule[0].prompt.points_xy.tolist() == [[32, 24]]


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (Config(prompts=[CENTRE]), ConfigError, "no source: give --source"),
        (Config(source=SCENE), PromptError, "no prompt: say what to track"),
        (Config(source=SCENE, prompts=["1:bax=1"]), PromptError, "did you mean 'box'"),
        (Config(source=SCENE, prompts=["1:point=64,0"]), PromptError, "the picture is 64x48 px"),
        (Config(source="no.mp4", prompts=[CENTRE]), SourceError, r"no\.mp4"),
        (Config(source=SCENE, prompts=[CENTRE], sinks=["vdeo=a.mp4"]), ConfigError, "'vdeo'"),
        (Config(source=SCENE, prompts=[CENTRE], sinks=["video=no/a.mp4"]), SinkError, "no does not exist"),
        (
            Config(source=SCENE, prompts=[CENTRE], sinks=["masks=a", "video=a"]),
            SinkError,
            "masks=a and video=a write to one place",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_networks_are_loaded(
    no_networks, tmp_path, monkeypatch, config, error, message
):
    monkeypatch.chdir(tmp_path)
    threads = threading.active_count()
    with pytest.raises(error, match=message):
        run(config)
    assert not list(tmp_path.iterdir())
    assert threading.active_count() == threads


def test_the_source_is_not_overwritten(no_networks, tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"precious")
    with pytest.raises(SinkError, match=r"would overwrite .*clip\.mp4, which this run reads"):
        run(
            Config(
                source=str(clip), prompts=[CENTRE], sinks=[f"video={tmp_path}/../{tmp_path.name}/clip.mp4"]
            )
        )
    assert clip.read_bytes() == b"precious"


@pytest.fixture
def opened(monkeypatch):
    """The sources that are opened meanwhile."""
    sources, open_one = [], runner.open_source_of

    def keep(*arguments):
        sources.append(open_one(*arguments))
        return sources[-1]

    monkeypatch.setattr(runner, "open_source_of", keep)
    return sources


def test_the_source_is_closed_when_a_prompt_does_not_fit(opened, no_networks):
    with pytest.raises(PromptError):
        run(Config(source=SCENE, prompts=["1:point=64,0"]))
    assert list(opened[0]) == []


def test_the_source_is_closed_when_the_networks_cannot_be_loaded(opened, monkeypatch):
    boom = RuntimeError("no weights")

    def fail(*arguments):
        raise boom

    monkeypatch.setattr(runner, "_load_segmenter", fail)
    with pytest.raises(RuntimeError) as caught:
        run(Config(source=SCENE, prompts=[CENTRE]))
    assert caught.value is boom
    assert list(opened[0]) == []


def test_the_plan_suits_the_source_unless_the_config_says_otherwise():
    assert queue_plan(QueueConfig(), is_live=False) == FILE_PLAN
    assert queue_plan(QueueConfig(), is_live=True) == LIVE_PLAN
    assert queue_plan(QueueConfig(7, 8, "drop-oldest"), False) == QueuePlan(7, 8, Overflow.DROP_OLDEST)


def test_ffmpeg_is_loaded_before_opencv(tmp_path):
    script = (
        "import sys; from maskstream.stream.config import Config\n"
        "from maskstream.stream.runner import open_inputs\n"
        "config = Config(source=sys.argv[1], prompts=[sys.argv[2]], sinks=[sys.argv[3]])\n"
        "open_inputs(config).source.close()\n"
        "names = list(sys.modules)\n"
        "print(names.index('av') < names.index('cv2'))"
    )
    line = [sys.executable, "-c", script, SCENE, CENTRE, f"masks={tmp_path / 'm'}"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "True\n"


def test_run_gives_a_summary(bright_parts, tmp_path):
    seen = []
    config = Config(source=SCENE, prompts=[CENTRE, "2:point=1,1@99"], sinks=[f"masks={tmp_path / 'm'}"])
    summary = run(config, on_result=lambda result: seen.append(result.frame.index))
    assert seen == list(range(6))
    assert (summary.ending, summary.frames, summary.dropped) == (Ending.COMPLETE, 6, 0)
    assert [(sink.name, sink.written) for sink in summary.sinks] == [(f"masks={tmp_path / 'm'}", 6)]
    assert summary.notes == ("the prompt of object 2 at 1:39.0 was not reached",)


def test_max_frames(bright_parts):
    assert run(Config(source=SCENE, prompts=[CENTRE], max_frames=2)).frames == 2


def test_track_gives_every_frame_of_a_file(bright_parts, tmp_path):
    prompts = [CENTRE, Prompt(2, points_xy=[[3, 3]], point_labels=[1])]
    results = list(track(SCENE, prompts, sinks=[f"masks={tmp_path / 'm'}"]))
    assert [result.frame.index for result in results] == list(range(6))
    assert [found.object_id for found in results[0].objects] == [1, 2]
    assert len((tmp_path / "m" / "masks.jsonl").read_text().splitlines()) == 6


def test_leaving_the_loop_ends_the_run(bright_parts):
    threads = threading.active_count()
    for result in track("synthetic:frames=100000,width=64,height=48", [CENTRE]):
        if result.frame.index == 3:
            break
    del result
    assert threading.active_count() == threads


def test_the_loop_on_a_live_stream_gets_the_newest(bright_parts):
    indices = []
    for result in track("synthetic:frames=30,width=64,height=48,live=1,fps=500", [CENTRE]):
        indices.append(result.frame.index)
        threading.Event().wait(0.01)  # a consumer that is slower than the stream
    assert indices == sorted(set(indices))
    assert indices[-1] == 29
    assert len(indices) < 30


def test_what_goes_wrong_is_raised_in_the_loop(monkeypatch):
    boom = RuntimeError("frame 2")

    def load(*arguments):
        def segment(frame):
            if frame.index == 2:
                raise boom
            return FrameResult(frame, (), 0, 1.0, 1.0, frame.captured_ns)

        return segment

    monkeypatch.setattr(runner, "_load_segmenter", load)
    results = track(SCENE, [CENTRE])
    assert next(results).frame.index == 0
    with pytest.raises(RuntimeError) as caught:
        list(results)
    assert caught.value is boom


@pytest.mark.weights
def test_with_the_networks_the_mask_sits_on_the_object():
    try:
        resolve()
    except WeightsError as error:
        pytest.skip(f"no weights: {error}")
    spec = "synthetic:objects=1,frames=3,width=160,height=120"
    with open_source(spec) as source:
        prompts, truths = source.prompts(), [source.truth(index)[1] for index in range(3)]
    for result, truth in zip(track(spec, prompts, size=512, engine="torch"), truths, strict=True):
        assert region_iou(truth, result.objects[0].mask) > 0.85
