"""`maskstream ctl` against a real control server, whose run is a stand-in."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from maskstream.stream import rle
from maskstream.stream.agenda import Agenda
from maskstream.stream.cli import main
from maskstream.stream.commands import Applied
from maskstream.stream.config import Config
from maskstream.stream.control_server import ControlServer
from maskstream.stream.runner import prepare
from PIL import Image


class Answering:
    """Controls that take every command at once, as if on frame 7."""

    picture_hw = (48, 64)
    is_paused = False

    def __init__(self):
        self.commands, self.calls, self._agenda = [], [], Agenda()

    def submit(self, command):
        self.commands.append(command)
        answer = self._agenda.submit(command)
        answer.set_running_or_notify_cancel()
        answer.set_result(Applied(7, 630, 0.28, (2, 5)))
        return answer

    def pause(self):
        self.calls.append("pause")

    def resume(self):
        self.calls.append("resume")

    def shut_down(self):
        self.calls.append("shutdown")

    def situation(self):
        return {
            "source": "cam",
            "width_px": 64,
            "height_px": 48,
            "state": "running",
            "paused": False,
            "index": 6,
            "pts": 540,
            "objects": [{"id": 2, "state": "lost", "quality": None, "box_xyxy": [0, 0, 0, 0]}],
        }

    def metrics(self):
        return {"pipeline": {"captured": 9, "sinks": [{"name": "video"}]}}


@pytest.fixture
def run(tmp_path, capsys):
    """Runs `maskstream ctl ...`; exit code, output, errors; and what the run was asked for."""
    controls = Answering()
    server = ControlServer(f"ipc://{tmp_path}/control")
    server.open(controls)

    def ctl(*line):
        code = main(["ctl", "--endpoint", server.endpoint, *line])
        output = capsys.readouterr()
        return code, output.out, output.err

    ctl.controls = controls
    yield ctl
    server.close()


def test_an_object_is_shown_in_px_and_percent(run):
    code, out, _ = run("add", "2:box=50%,50%,100%,100%", "2:point=40,30", "2:negative=1,1", "--pts", "640")
    assert (code, out) == (0, "from frame 7 on (pts 630), objects: 2, 5\n")
    (show,) = run.controls.commands
    assert (show.known, show.pts, show.prompt.box_xyxy.tolist()) == (False, 640, [32, 24, 64, 48])
    assert show.prompt.point_labels.tolist() == [1, 0]


def test_a_mask_goes_with_it(run, tmp_path):
    drawn = np.zeros((48, 64), np.uint8)
    drawn[3:9, 5:20] = 255
    Image.fromarray(drawn).save(tmp_path / "cup.png")
    assert run("add", f"2:mask={tmp_path / 'cup.png'}")[0] == 0
    np.testing.assert_array_equal(run.controls.commands[0].prompt.mask, drawn > 0)
    assert rle.encode(drawn > 0)


def test_a_correction_may_be_a_negative_point_alone(run):
    assert run("correct", "2:negative=1,1@0:12")[0] == 0
    (show,) = run.controls.commands
    assert (show.known, show.time_s, show.prompt.point_labels.tolist()) == (True, 12, [0])


def test_the_other_verbs(run):
    assert run("remove", "2", "--time", "1:00")[0] == 0
    assert run("rename", "2", "9", "--no-wait")[1] == "taken in\n"
    assert run("detections", "1,2,3,4", "5,6,7,8", "--refresh", "--replace", "--least-iou", "0.3")[0] == 0
    remove, rename, found = run.controls.commands
    assert (remove.object_id, remove.time_s, rename.new_id) == (2, 60, 9)
    assert (found.boxes_xyxy.tolist(), found.refresh, found.replace, found.least_iou) == (
        [[1, 2, 3, 4], [5, 6, 7, 8]],
        True,
        True,
        0.3,
    )
    for verb in ("pause", "resume", "shutdown"):
        assert run(verb)[1] == "done\n"
    assert run.controls.calls == ["pause", "resume", "shutdown"]


def test_questions(run):
    code, text, err = run("list")
    assert (code, err) == (0, "")
    out = text.splitlines()
    assert out[0] == "cam  64x48  running  frame 6, pts 540"
    assert out[2].split() == ["2", "lost", "-", "0,0,0,0"]
    assert run("metrics")[1].splitlines() == ["pipeline.captured 9", "pipeline.sinks.0.name video"]
    assert json.loads(run("--json", "list")[1])["index"] == 6


def test_an_id_makes_a_request_one(run):
    for _ in range(2):
        assert run("--id", "mine", "remove", "2")[0] == 0
    assert len(run.controls.commands) == 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (["add", "2:bax=1"], "did you mean 'box'"),
        (["add", "2:box=0,0,65,9"], "the picture is 64x48 px"),
        (["add", "2:point=1,1", "3:point=1,1"], "show one object at one time"),
        (["add", "2:point=1,1@3", "--pts", "5"], "give the time once: as @TIME, --time or --pts"),
        (["remove", "2", "--time", "soon"], "--time: 'soon' is not a time"),
        (["remove", "0"], "object must be in 1..65535, got 0"),
        (["detections", "1,2,3"], "'1,2,3' is not a box: write x0,y0,x1,y1 in px"),
        (["--key", "a", "list"], "--key needs --server-key"),
        (["--server-key", "missing.key", "list"], "cannot read the key missing.key"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_mistakes_are_told_in_a_line(run, line, complaint):
    code, out, err = run(*line)
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1
    assert not run.controls.commands


def test_nobody_is_there(capsys, tmp_path):
    assert main(["ctl", "--endpoint", f"ipc://{tmp_path}/none", "--timeout", "0.05", "list"]) == 2
    assert "nobody is there to be steered" in capsys.readouterr().err


def test_what_a_paused_run_took_in_can_be_asked_for_later(segment_boxes, tmp_path, capsys):
    endpoint = f"ipc://{tmp_path}/steer"
    run = prepare(Config(source="synthetic:frames=1000000,width=64,height=48", control=endpoint))

    def ctl(*words):
        code = main(["ctl", "--endpoint", endpoint, "--timeout", "20", *words])
        output = capsys.readouterr()
        return code, output.out + output.err

    with run.pipeline:
        assert ctl("pause") == (0, "done\n")
        code, said = ctl("remove", "9")
        assert (code, "it takes effect on the first frame after" in said) == (0, True)
        request_id = said.split(":")[0].removeprefix("taken in as ")
        assert f"`maskstream ctl --id {request_id} ...`" in said
        assert ctl("resume") == (0, "done\n")
        code, said = ctl("--id", request_id, "remove", "9")
        assert (code, "object 9 is not tracked" in said) == (2, True)
        run.pipeline.stop()


def test_a_run_is_steered_from_another_terminal(segment_boxes, tmp_path, capsys):
    """`maskstream run --control` and `maskstream ctl`, from the first object to the end."""
    endpoint, codes = f"ipc://{tmp_path}/steer", []
    line = ["run", "--source", "synthetic:frames=1000000,width=64,height=48", "--control", endpoint, "--json"]

    def steer():
        asked = (["add", "2:box=10,10,30,30"], ["rename", "2", "5"], ["shutdown"])
        codes.extend(main(["ctl", "--endpoint", endpoint, "--timeout", "20", *words]) for words in asked)

    steering = threading.Thread(target=steer)
    steering.start()
    codes.append(main(line))  # in the main thread, for it takes signals
    steering.join()
    output = capsys.readouterr()
    # Both write to one place here, and either may be the last.
    summary, _ = json.JSONDecoder().raw_decode(output.out[output.out.index('{"') :])
    assert (codes, summary["ending"]) == ([0, 0, 0, 0], "stopped")
    assert [found["object_id"] for found in summary["objects"]][-1] == 5
    told = [line for line in output.err.splitlines() if "local" in line]
    assert len(told) == 4  # list, for the size of the picture
    assert told[1].startswith("maskstream: note: control by localhost:")
    assert "prompt of object 2, from frame" in told[1]
