from __future__ import annotations

import json
import os
import socket
import threading

import pytest
from maskstream.model import weights
from maskstream.stream.cli import main

SCENE = "synthetic:objects=1,frames=6,width=64,height=48"
PROMPT = ["--prompt", "1:point=50%,50%"]
CAMERA = "rtsp://admin:s3cret@127.0.0.1:1/one"


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    """Nothing fetched so far: what networks would do is not looked at, and nobody asks for them."""
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    yield
    assert not (tmp_path / "cache").exists()


def check(*arguments):
    return main(["run", "--check", *arguments])


def test_what_would_run_is_told_and_nothing_is_started(capsys, tmp_path):
    threads = threading.active_count()
    out = tmp_path / "a.mp4"
    assert check("--source", SCENE, *PROMPT, "--sink", f"video={out}", "--metrics", "0", "--json") == 0
    output = capsys.readouterr()
    facts = json.loads(output.out)
    assert facts["streams"] == [
        {
            "source": SCENE,
            "picture": "64x48 px, 30 frames/s",
            "prompts": ["1:point=50%,50%"],
            "sinks": [f"video={out}"],
            "control": None,
        }
    ]
    assert (facts["ok"], facts["metrics"], facts["model"]["size"]) == (True, "127.0.0.1:0", 1024)
    assert facts["model"]["weights"] == "the first that can be had: would be fetched"
    assert output.err == ""
    assert not out.exists()
    assert threading.active_count() == threads


def test_people_get_a_table(capsys):
    assert check("--source", SCENE, *PROMPT, "--control", "ipc:///tmp/no-such-control") == 0
    text = capsys.readouterr().out
    for words in ("64x48 px", "1:point=50%,50%", "no-such-control", "size 1024 px", "nothing was started"):
        assert words in text


def test_a_camera_is_not_disturbed_and_its_password_not_told(capsys):
    assert check("--source", CAMERA, *PROMPT) == 0
    text = capsys.readouterr().out
    assert "rtsp://admin:***@127.0.0.1:1/one" in text
    assert "known when it is connected" in text


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert check("--source", str(tmp_path / "pipe"), *PROMPT) == 0


def test_several_streams_are_each_told(capsys):
    assert check("--source", SCENE, "--source", CAMERA, *PROMPT, "--json") == 0
    streams = json.loads(capsys.readouterr().out)["streams"]
    assert [stream["name"] for stream in streams] == ["synthetic", "127.0.0.1"]


WRONG = {
    "no source: give --source": [],
    "no.mp4: there is no such file": ["--source", "no.mp4", *PROMPT],
    "found on this machine": ["--source", "camera:no-such", *PROMPT],
    "did you mean 'seed'?": ["--source", "chaos:a.mp4?sed=1", *PROMPT],
    "no prompt: say what to track": ["--source", SCENE],
    "the picture is 64x48 px": ["--source", SCENE, "--prompt", "1:point=64,0"],
    "it is not shown before": ["--source", SCENE, *PROMPT, "--prompt", "2:remove@1"],
    "unknown kind 'vdeo'": ["--source", SCENE, *PROMPT, "--sink", "vdeo=a.mp4"],
    "the folder no does not exist": ["--source", SCENE, *PROMPT, "--sink", "video=no/a.mp4"],
    "not an endpoint": ["--source", SCENE, *PROMPT, "--control", "nowhere"],
    "cannot serve metrics on 'nowhere'": ["--source", SCENE, *PROMPT, "--metrics", "nowhere"],
    "model.size: must be a multiple": ["--source", SCENE, *PROMPT, "--size", "500"],
    "w.pt": ["--source", SCENE, *PROMPT, "--weights", "w.pt"],
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_told_as_the_run_would(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert check(*WRONG[words]) == 2
    checked = capsys.readouterr()
    assert checked.out == ""
    assert words in checked.err
    assert main(["run", *WRONG[words]]) == 2
    assert capsys.readouterr().err == checked.err
    assert not list(tmp_path.iterdir())


def test_ports_in_use_are_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = (
            ["--metrics", f"{port}"],
            ["--sink", f"zmq={port}"],
            ["--control", f"tcp://127.0.0.1:{port}"],
        )
        for option in options:
            assert check("--source", SCENE, *PROMPT, *option) == 2
            assert "Address already in use" in capsys.readouterr().err


def test_weights_that_do_not_fit_are_told(capsys, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"no weights")
    assert check("--source", SCENE, *PROMPT, "--weights", str(path)) == 2
    assert "w.pt" in capsys.readouterr().err
