"""Each row of the bad-input table, through the real command line. Only the networks are stood in for."""

from __future__ import annotations

import http.server
import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream import runner
from maskstream.stream.cli import main
from maskstream.stream.types import FrameResult
from PIL import Image

SCENE = "synthetic:objects=1,frames=6,width=64,height=48"
PROMPT = "1:box=10,10,30,30"
HW = (48, 64)
LONG_SCENE = "synthetic:objects=3,frames=4000,width=320,height=240"
NOBODY = 65534


def write_clip(path, frames, hw=HW, **options):
    """A video of noise: no two frames are alike and none compresses well."""
    with av.open(str(path), "w", options=options) as video:
        stream = video.add_stream("libx264", rate=10, options={"g": "1", "tune": "zerolatency"})
        stream.height, stream.width, stream.pix_fmt = *hw, "yuv420p"
        noise = np.random.default_rng(0)
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(noise.integers(0, 256, (*hw, 3), np.uint8))
            video.mux(stream.encode(picture))
        video.mux(stream.encode())


def frames_in(path):
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unprivileged(folder, monkeypatch):
    """A folder to work in, without the superuser's rights: he may read and write everywhere."""
    from maskstream.stream import cli_run, sinks, sources  # noqa: F401 - while they can be read

    if os.geteuid() != 0:
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        monkeypatch.chdir(name)
        os.setresuid(NOBODY, NOBODY, 0)
        yield Path(name)
        os.setresuid(0, 0, 0)
        monkeypatch.undo()


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """Runs a line that must be refused: one line, exit code 2, no network loaded, nothing created."""

    def load(*arguments):
        raise AssertionError("the networks were loaded before everything was checked")

    monkeypatch.setattr(runner, "_load_segmenter", load)

    def check(*line, source=SCENE, prompt=PROMPT):
        here, threads = Path.cwd(), threading.active_count()
        before = sorted(here.rglob("*"))
        assert main(["run", "--source", str(source), "--prompt", prompt, *line]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("maskstream: error: ")
        assert output.err.count("\n") == 1
        assert sorted(here.rglob("*")) == before
        deadline = time.monotonic() + 3.0  # FFmpeg comes back from a dead connection a little later
        while threading.active_count() > threads and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() == threads
        return output.err

    return check


@pytest.fixture
def run_json(folder, monkeypatch, capsys):
    """Runs a line with bright pixels in place of the networks; exit code, summary, stderr."""

    def load(*arguments):
        def segment(frame):
            mask = frame.image[..., 0] > 127
            found = ObjectMask(1, mask, box_of_mask(mask), 1.0, 1.0, TrackState.TRACKED, 1.0)
            return FrameResult(frame, (found,), 0, 1.0, 1.0, time.monotonic_ns())

        return segment

    monkeypatch.setattr(runner, "_load_segmenter", load)

    def run(*line, source=SCENE, prompt=PROMPT):
        code = main(["run", "--source", str(source), "--prompt", prompt, "--json", *line])
        output = capsys.readouterr()
        return code, json.loads(output.out), output.err

    return run


# missing file, directory without pictures, unreadable or zero-byte or audio-only file, text renamed .mp4


def test_a_missing_file(refused, folder):
    (folder / "clip.mp4").touch()
    message = refused("--sink", "video=out.mp4", source="clap.mp4")
    assert "clap.mp4: there is no such file; did you mean clip.mp4?" in message


def test_a_folder_without_pictures(refused, folder):
    (folder / "empty").mkdir()
    assert "empty" in refused("--sink", "masks=out", source="empty")


def test_a_file_of_no_bytes(refused, folder):
    (folder / "a.mp4").touch()
    assert "the file is empty (0 bytes)" in refused("--sink", "video=out.mp4", source="a.mp4")


def test_a_file_one_may_not_read(refused, unprivileged):
    (unprivileged / "a.mp4").write_bytes(b"ftyp")
    (unprivileged / "a.mp4").chmod(0)
    assert "permission denied" in refused("--sink", "video=out.mp4", source="a.mp4")


def test_text_with_the_name_of_a_video(refused, folder):
    (folder / "a.mp4").write_text("These are words.\n" * 100)
    assert "a.mp4" in refused("--sink", "video=out.mp4", source="a.mp4")


def test_sound_without_pictures(refused, folder):
    with wave.open(str(folder / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    message = refused("--sink", "video=out.mp4", source="a.wav")
    assert "a.wav" in message
    assert "video" in message


# a file that breaks in the middle


def test_a_file_that_breaks_in_the_middle(run_json, folder):
    write_clip(folder / "whole.mp4", 40, movflags="faststart")
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    code, summary, error = run_json("--sink", "video=out.mp4", "--sink", "masks=m", source="cut.mp4")
    assert code == 1
    assert 10 <= summary["frames"] < 40
    assert frames_in("out.mp4") == summary["frames"]
    records = [json.loads(line) for line in (folder / "m" / "masks.jsonl").read_text().splitlines()]
    assert [record["index"] for record in records] == list(range(summary["frames"]))
    assert summary["ending"] == "broken"
    assert f"cut.mp4 broke off after frame {summary['frames'] - 1} at " in summary["reason"]
    assert error == f"maskstream: error: {summary['reason']}\n"


# unreachable URL, wrong credentials


def test_a_server_that_is_not_there(refused):
    with socket.socket() as taken:  # bound and not listening: nothing else will answer there
        taken.bind(("127.0.0.1", 0))
        url = f"rtsp://user:hunter2@127.0.0.1:{taken.getsockname()[1]}/stream"
        message = refused("--sink", "video=out.mp4", "--no-reconnect", source=url)
    assert "hunter2" not in message
    assert "user:***@127.0.0.1" in message


def test_a_server_that_never_answers(refused):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://user:hunter2@127.0.0.1:{silent.getsockname()[1]}/stream"
        began = time.monotonic()
        message = refused("--connect-timeout", "0.5", "--no-reconnect", source=url)
    assert time.monotonic() - began < 3.0
    assert "hunter2" not in message


def test_wrong_credentials(refused):
    class Gate(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(401)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Gate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://user:hunter2@127.0.0.1:{server.server_port}/a.mp4?token=hunter3"
            message = refused("--connect-timeout", "5", source=url)
        finally:
            server.shutdown()
            thread.join()
    assert "hunter" not in message
    assert "password" in message or "credentials" in message


# box outside the picture, point off it, empty mask file, NaN, wrong shape


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("1:box=10,10,65,30", ["prompt 1", "outside the picture", "64x48 px"]),
        ("1:box=10%,10%,110%,90%", ["prompt 1: box [6.4, 4.8, 70.4, 43.2] reaches outside", "64x48 px"]),
        ("1:point=64,10", ["prompt 1", "off the picture", "64x48 px"]),
        ("1:box=nan,10,20,30", ["prompt 1", "finite", "64x48 px"]),
        ("1:box=1,2,3", ["1:box=1,2,3", "x0,y0,x1,y1"]),
        ("1:box=30,10,10,30", ["prompt 1", "x0 < x1", "64x48 px"]),
        ("1:mask=empty.png", ["1:mask=empty.png", "empty", "64x48 px"]),
        ("1:mask=small.png", ["prompt 1", "20x10 px", "64x48 px"]),
        ("1:mask=none.png", ["none.png", "No such file"]),
    ],
)
def test_prompts_that_do_not_fit(refused, folder, prompt, words):
    Image.fromarray(np.zeros(HW, np.uint8)).save(folder / "empty.png")
    Image.fromarray(np.ones((10, 20), np.uint8)).save(folder / "small.png")
    message = refused("--sink", "video=out.mp4", prompt=prompt)
    assert not [word for word in words if word not in message]


# unknown key or wrong type in YAML


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("queue:\n  capcity: 3\n", "run.yaml:2: queue.capcity: unknown key, did you mean 'capacity'?"),
        (
            "model:\n  size: big\n",
            "run.yaml:2: model.size: expected a whole number, got the text 'big'",
        ),
    ],
)
def test_a_wrong_setting(refused, folder, text, complaint):
    (folder / "run.yaml").write_text(text)
    assert complaint in refused("run.yaml")


# output path not writable, disk full


@pytest.mark.parametrize(
    ("sink", "words"),
    [
        ("video=no/out.mp4", ["no does not exist", "mkdir"]),
        ("masks=no/out", ["no does not exist"]),
        ("video=there.mp4", ["there.mp4", "it is a folder"]),
        ("masks=file/out", ["file"]),
        ("video=out.xyz", ["out.xyz"]),
        ("zmq=tcp://nowhere", ["tcp://nowhere"]),
        ("vidoe=a.mp4", ["did you mean 'video'"]),
        ("out.mp4", ["video=out.mp4"]),
    ],
)
def test_outputs_that_cannot_be_written_are_named_at_the_start(refused, folder, sink, words):
    (folder / "there.mp4").mkdir()
    (folder / "file").touch()
    message = refused("--sink", sink)
    assert not [word for word in words if word not in message]


def test_a_folder_one_may_not_write_to(refused, unprivileged):
    (unprivileged / "locked").mkdir(mode=0o555)
    message = refused("--sink", "video=locked/out.mp4")
    assert "cannot write locked" in message
    assert "choose a place you may write to" in message


def test_a_zmq_port_that_is_taken(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert endpoint in refused("--sink", f"zmq={endpoint}")


@pytest.fixture
def small_files():
    """No file may grow beyond 150 kB, which for the writer is as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(folder):
    """A real disk of 1 MB, in `disk`."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up(run_json, folder, small_files):
    code, summary, error = run_json("--sink", "video=out.mp4", "--sink", "masks=m?png=0", source=LONG_SCENE)
    check_full_disk(folder, code, summary, error)
    assert frames_in("out.mp4") >= written_to(summary, "video=out.mp4") - 1


@pytest.mark.parametrize("video", ["out.mp4", "out.mkv", "out.webm"])
def test_a_real_disk_that_fills_up(run_json, small_disk, video):
    sinks = ["--sink", f"video=disk/{video}", "--sink", "masks=disk/m"]
    code, summary, error = run_json(*sinks, source=LONG_SCENE)
    check_full_disk(small_disk, code, summary, error)
    lost = 3 if video == "out.mp4" else 32  # Matroska is written by the second, and a torn one is lost
    assert frames_in(f"disk/{video}") >= written_to(summary, f"video=disk/{video}") - lost
    pictures = sorted((small_disk / "m" / "png" / "synthetic").iterdir())
    assert len(pictures) >= written_to(summary, "masks=disk/m")
    for path in pictures:
        with Image.open(path) as picture:
            picture.load()


def test_a_disk_that_is_full_already(refused, small_disk):
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while file.write(bytes(65536)):
            pass
    for sink in ("video=disk/out.mp4", "masks=disk/m", "preview=disk/out.png"):
        message = refused("--sink", sink)
        assert "cannot write disk: No space left on device; free some space" in message


def check_full_disk(folder, code, summary, error):
    assert code == 1
    assert summary["ending"] == "failed"
    assert "cannot write" in summary["reason"]
    assert error.startswith("maskstream: error: cannot write ")
    assert 5 < summary["frames"] < 4000
    records = [json.loads(line) for line in (folder / "m" / "masks.jsonl").read_text().splitlines()]
    (masks,) = (sink["name"] for sink in summary["sinks"] if sink["name"].startswith("masks"))
    assert 0 <= len(records) - written_to(summary, masks) <= 1  # a line may be there whose picture is not


def written_to(summary, name):
    return {sink["name"]: sink["written"] for sink in summary["sinks"]}[name]
