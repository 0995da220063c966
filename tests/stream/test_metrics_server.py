from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import fields

import pytest
from maskstream.model.errors import ConfigError
from maskstream.stream.metrics_address import HttpAddress
from maskstream.stream.metrics_server import MetricsServer
from maskstream.stream.pipeline import Pipeline
from maskstream.stream.source_status import SourceCounts
from maskstream.stream.sources import open_source
from maskstream.stream.summary import Tally
from maskstream.stream.types import FrameResult
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

SOON_S = 10.0


def wait_until(is_so):
    until = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def server():
    made = MetricsServer("0")
    made.open()
    yield made
    made.close()


def ask(server, path, method="GET", accept="*/*"):
    """Status and body."""
    request = urllib.request.Request(
        f"http://{server.address}{path}", method=method, headers={"Accept": accept}
    )
    try:
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(server):
    """Values by name and labels."""
    families = parse(ask(server, "/metrics")[1])
    return {
        (one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples
    }


class Run:
    """A pipeline over a few frames of a live stream, which is watched; ends when told."""

    def __init__(self, server, spec="synthetic:objects=2,frames=100000,live=1,width=64,height=48", name=None):
        self.source, self.tally = open_source(spec), Tally()
        self.gate = threading.Event()
        self.gate.set()
        self.pipeline = Pipeline(self.source, self._segment, on_result=self.tally.add)
        self.watched = server.roster.add(name or self.source.info.source_id, self.pipeline, self.tally)

    def _segment(self, frame):
        assert self.gate.wait(SOON_S)
        return FrameResult(frame, (), 0, 1.0, 1.0, time.monotonic_ns())

    def __enter__(self):
        self.pipeline.start()
        return self

    def __exit__(self, *exc):
        self.gate.set()
        self.pipeline.close()


def test_before_there_is_a_run_the_process_is_well_and_not_ready(server):
    assert ask(server, "/healthz") == (200, '{"ok": true}\n')
    status, text = ask(server, "/readyz")
    assert (status, json.loads(text)) == (503, {"ready": False, "streams": [], "state": "connecting"})


def test_ready_is_who_gives_frames_and_paused_is_ready_and_well(server):
    coming = Run(server)
    assert json.loads(ask(server, "/readyz")[1])["streams"][0]["state"] == "connecting"
    with coming as run:
        wait_until(lambda: run.tally.last_index >= 3)
        run.pipeline.pause()
        assert ask(server, "/healthz")[0] == 200
        status, text = ask(server, "/readyz")
        assert status == 200
        assert json.loads(text)["streams"] == [
            {"source": "synthetic", "ready": True, "state": "running", "paused": True}
        ]
    status, text = ask(server, "/readyz")
    assert status == 503
    assert json.loads(text)["streams"][0]["state"] == "ended"


def test_each_run_has_its_own_series_and_one_more_may_come(server):
    with Run(server) as first:
        wait_until(lambda: first.tally.last_index >= 0)
        assert not [key for key in samples(server) if ("source", "synthetic (2)") in key]
        with Run(server) as second:
            wait_until(lambda: second.tally.last_index >= 0)
            found = samples(server)
    for name in ("synthetic", "synthetic (2)"):
        assert found["maskstream_frames_captured_total", ("source", name)] >= 1
        assert found["maskstream_stream_ready", ("source", name)] == 1


def test_counts_are_those_of_the_run(server):
    with Run(server) as run:
        run.gate.clear()
        wait_until(lambda: run.pipeline.report().dropped >= 3)
        run.gate.set()
        wait_until(lambda: run.tally.last_index >= 5)
        run.pipeline.stop()
        run.pipeline.join()
        report, found = run.pipeline.report(), samples(server)
    source = ("source", "synthetic")
    assert found["maskstream_frames_captured_total", source] == report.captured
    assert found["maskstream_frames_segmented_total", source] == report.segmented
    assert found["maskstream_frames_dropped_total", ("reason", "queue"), source] == report.dropped
    assert found["maskstream_latency_seconds_count", source] == report.segmented
    assert found["maskstream_latency_seconds_bucket", ("le", "+Inf"), source] == report.segmented
    assert found["maskstream_queue_capacity", source, ("stage", "segmenter")] == 2
    kinds = {dict(key[1:])["kind"] for key in found if key[0] == "maskstream_source_events_total"}
    assert kinds == {field.name for field in fields(SourceCounts)}


def test_the_state_is_one_of_a_set(server):
    with Run(server) as run:
        wait_until(lambda: run.tally.last_index >= 0)
        found = {
            dict(key[1:])["maskstream_stream_state"]: value
            for key, value in samples(server).items()
            if key[0] == "maskstream_stream_state"
        }
    assert [state for state, value in found.items() if value] == ["running"]
    assert set(found) == {"connecting", "running", "stalled", "reconnecting", "ended", "failed"}


def test_openmetrics_is_spoken_too(server):
    with Run(server) as run:
        wait_until(lambda: run.tally.last_index >= 0)
        text = ask(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")[1]
    names = {family.name for family in parse_open(text)}
    assert {"maskstream_frames_captured", "maskstream_stream_state", "maskstream_build"} <= names


def test_the_process_itself_is_told_of(server):
    names = {key[0] for key in samples(server)}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "maskstream_build_info"} <= names
    assert "maskstream_device_memory_bytes" not in names  # no GPU is used


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [("GET", "/", 404, "/readyz"), ("POST", "/healthz", 405, "GET"), ("HEAD", "/healthz", 200, "")],
)
def test_other_requests_are_refused(server, method, path, status, body):
    found, text = ask(server, path, method)
    assert found == status
    assert body in text


def test_clients_that_say_nothing_keep_nobody_out_and_leave_nothing_behind(server, capfd):
    host, port = server.address.host, server.address.port
    silent = [socket.create_connection((host, port)) for _ in range(20)]
    for one in silent[:15]:
        one.sendall(b"GET /heal")
    time.sleep(0.05)
    for one in silent:
        one.close()
    wait_until(lambda: ask_again(server) == 200)
    assert capfd.readouterr().err == ""


def ask_again(server):
    try:
        return ask(server, "/healthz")[0]
    except OSError:  # turned away: all places are taken
        return None


def test_close_leaves_no_thread_and_may_be_called_twice():
    before = threading.active_count()
    server = MetricsServer("127.0.0.1:0")
    server.check()
    server.close()
    server.open()
    ask(server, "/healthz")
    server.close()
    server.close()
    wait_until(lambda: threading.active_count() == before)


@pytest.mark.parametrize(
    ("text", "shown", "is_public"),
    [
        ("9464", "127.0.0.1:9464", False),
        ("localhost:1", "localhost:1", False),
        ("[::1]:80", "[::1]:80", False),
        ("*:9464", "*:9464", True),
        ("0.0.0.0:9464", "*:9464", True),
        (":9464", "*:9464", True),
        ("10.0.0.7:9464", "10.0.0.7:9464", True),
        ("camera.local:9464", "camera.local:9464", True),
    ],
)
def test_addresses(text, shown, is_public):
    address = HttpAddress.parse(text)
    assert (str(address), address.is_public) == (shown, is_public)


@pytest.mark.parametrize("text", ["", "host", "host:port", "http://a:1", "a:b:1", "1:99999", "tcp://*:1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigError, match=r"not an address; use 127\.0\.0\.1:9464"):
        MetricsServer(text)


def test_a_port_in_use_is_told(server):
    other = MetricsServer(str(server.address))
    for step in (other.check, other.open):
        with pytest.raises(ConfigError, match=r"Address already in use; choose another port"):
            step()


def test_a_public_address_is_warned_of(caplog):
    server = MetricsServer("*:0")
    server.open()
    server.close()
    assert "everybody who can reach *:" in caplog.text
