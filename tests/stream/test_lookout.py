"""Metrics, health, watchdog and log of real runs, with boxes in the networks' place."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from maskstream.model.errors import ConfigError, SourceError
from maskstream.stream.cli import main
from maskstream.stream.config import Config
from maskstream.stream.fleet import Fleet
from maskstream.stream.fleet_config import StreamSetup
from maskstream.stream.logs import log_output, note
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.runner import prepare
from maskstream.stream.segmenter import Segmenter
from prometheus_client.parser import text_string_to_metric_families as parse

SOON_S = 10.0
LIVE = "synthetic:frames=100000,width=64,height=48,live=1,fps=100"
PROMPTS = ("1:box=10,10,40,40",)


def wait_until(is_so):
    until = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def ask(address, path):
    """Status and body; (0, "") where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=SOON_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def values(address, name):
    """Of one metric, by its labels but for `source`."""
    found = {}
    for family in parse(ask(address, "/metrics")[1]):
        for one in family.samples:
            if one.name == name:
                found[tuple(value for key, value in one.labels.items() if key != "source")] = one.value
    return found


def test_a_run_tells_of_its_sinks_objects_and_masks(segment_boxes, tmp_path, address):
    sink = f"masks={tmp_path / 'm'}"
    config = Config(source=LIVE, prompts=PROMPTS, sinks=[sink], metrics=address, ladder=False)
    with prepare(config).pipeline as pipeline:
        wait_until(lambda: ask(address, "/readyz")[0] == 200)
        wait_until(lambda: values(address, "maskstream_frames_published_total").get((sink,), 0) >= 3)
        assert values(address, "maskstream_objects") == {
            ("tracked",): 1,
            ("uncertain",): 0,
            ("occluded",): 0,
            ("lost",): 0,
        }
        assert values(address, "maskstream_masks_total")["fresh",] >= 3
        assert values(address, "maskstream_stage_work_seconds_count")[sink,] >= 3
        assert set(values(address, "maskstream_queue_depth")) == {("segmenter",), (sink,)}
        captured_s = values(address, "maskstream_last_frame_timestamp_seconds")[()]
        assert 0 <= time.time() - captured_s < SOON_S
        steps = values(address, "maskstream_step_seconds_count")
        assert steps["encode",] == steps["track",] >= 3
        pipeline.stop()
    assert ask(address, "/healthz") == (0, "")


def test_who_waits_for_a_source_is_well_and_not_ready(address):
    settings = ReconnectConfig(give_up_after_s=1.0)
    config = Config(source="rtsp://127.0.0.1:1/none", prompts=PROMPTS, metrics=address, reconnect=settings)
    errors = []

    def run():
        try:
            prepare(config)
        except SourceError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: ask(address, "/healthz")[0] == 200)
    status, text = ask(address, "/readyz")
    assert (status, json.loads(text)["state"]) == (503, "connecting")
    thread.join()
    assert errors
    assert ask(address, "/healthz") == (0, "")


def test_an_address_in_use_is_told_before_the_source_is_opened(address, monkeypatch):
    from maskstream.stream import runner

    monkeypatch.setattr(runner, "open_source_of", lambda *arguments: pytest.fail("the source was opened"))
    host, port = address.split(":")
    with socket.create_server((host, int(port))), pytest.raises(ConfigError, match="already in use"):
        prepare(Config(source=LIVE, prompts=PROMPTS, metrics=address))


def test_a_camera_that_goes_away_and_comes_back_and_its_password(segment_boxes, start_rtsp, address, capfd):
    process, camera = start_rtsp("--user", "viewer", "--password", "s3cret")
    config = Config(
        source=f"rtsp://viewer:s3cret@{camera}/live?token=s3cret",
        prompts=PROMPTS,
        metrics=address,
        ladder=False,
    )
    kind = ("reconnects",)
    seen = []
    with log_output("json", "debug"), prepare(config, notify=note).pipeline as pipeline:
        wait_until(lambda: ask(address, "/readyz")[0] == 200)
        process.kill()
        process.wait()
        wait_until(lambda: '"reconnecting"' in ask(address, "/readyz")[1])
        seen += [ask(address, path) for path in ("/readyz", "/healthz")]
        start_rtsp("--user", "viewer", "--password", "s3cret", "--port", camera.split(":")[1])
        wait_until(lambda: ask(address, "/readyz")[0] == 200)
        wait_until(lambda: values(address, "maskstream_source_events_total").get(kind) == 1)
        seen.append(ask(address, "/metrics"))
        wait_until(lambda: '"reconnected"' in capture(capfd, seen))
        pipeline.stop()
    assert [status for status, _ in seen[:2]] == [503, 200]
    text = str(seen) + capture(capfd, seen)
    assert f'source="rtsp://viewer:***@{camera}/live?token=***"' in text
    assert "s3cret" not in text


def capture(capfd, seen):
    """All that was written to stderr so far."""
    seen.append((0, capfd.readouterr().err))
    return "".join(text for status, text in seen if not status)


class Boxed:
    """Networks for fleets."""

    def __init__(self, boxes):
        self.boxes = boxes

    def segmenter(self, name, config, inputs):
        boxes = self.boxes()
        return Segmenter(boxes, boxes, inputs.agenda)

    def leave(self, name):
        pass

    def close(self):
        pass


class Boxes:
    device = SimpleNamespace(type="cpu")

    def encode(self, image):
        return image

    def step(self, image, embedding, prompts, time_s):
        return ()


def test_several_streams_have_one_server_which_tells_of_those_that_fail_too(address):
    setups = [
        StreamSetup("door", Config(source=LIVE, prompts=PROMPTS, metrics=address)),
        StreamSetup("yard", Config(source="no.mp4", prompts=PROMPTS, metrics=address)),
    ]
    with Fleet(setups, networks=Boxed(Boxes)) as fleet:
        wait_until(
            lambda: "failed" in ask(address, "/readyz")[1] and '"running"' in ask(address, "/readyz")[1]
        )
        status, text = ask(address, "/readyz")
        assert status == 503
        assert {one["source"]: one["state"] for one in json.loads(text)["streams"]} == {
            "door": "running",
            "yard": "failed",
        }
        text = ask(address, "/metrics")[1]
        assert 'maskstream_stream_ready{source="door"} 1.0' in text
        assert 'maskstream_stream_ready{source="yard"} 0.0' in text
        assert ask(address, "/healthz")[0] == 200
        fleet.stop()
    assert ask(address, "/healthz") == (0, "")


def test_the_log_of_a_run_can_be_read_by_programs(segment_boxes, tmp_path, capsys):
    scene = "synthetic:objects=1,frames=6,width=64,height=48"
    line = ["run", "--source", scene, "--prompt", PROMPTS[0], "--sink", f"masks={tmp_path / 'm'}"]
    assert main([*line, "--log-format", "json", "--json"]) == 0
    output = capsys.readouterr()
    found = [json.loads(text) for text in output.err.splitlines()]
    assert [one["event"] for one in found if one["event"] != "source_state"] == ["run_start", "run_end"]
    assert (found[-1]["ending"], found[-1]["frames"]) == ("complete", 6)
    assert json.loads(output.out)["frames"] == 6


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_refused_run_says_why_in_the_asked_form_and_keeps_secrets(form, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(
        "source: rtsp://admin:s3cret@127.0.0.1:1/one?token=s3cret\n"
        "prompts: ['1:point=50%,50%']\nreconnect: {at_start: fail}\n"
    )
    assert main(["run", str(path), "--log-format", form, "--log-level", "debug"]) == 2
    output = capsys.readouterr()
    assert "s3cret" not in output.out + output.err
    (line,) = output.err.splitlines()
    if form == "json":
        assert json.loads(line)["event"] == "error"
    assert "cannot open rtsp://admin:***@127.0.0.1:1/one?token=***" in line


HANGS = """
import sys, threading
from maskstream.stream import cli, runner
def hang(frame):
    threading.Event().wait()
runner._load_segmenter = lambda *arguments: hang
sys.exit(cli.main(sys.argv[1:]))
"""


def test_networks_that_hang_end_the_run_if_it_is_asked_for(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        f"source: '{LIVE}'\nprompts: ['{PROMPTS[0]}']\nsinks: [{{masks: {tmp_path / 'm'}}}]\n"
        "watchdog: {after_s: 0.2, first_frame_s: 0.2, end: true}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", HANGS, "run", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "error: synthetic: stuck: segmenter has been at one frame for" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("; the run was ended")
    assert "broke off before the first frame" in done.stdout
