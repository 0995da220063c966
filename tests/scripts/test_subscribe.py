"""The example consumers against hand-made messages; tests/stream/test_zmq_sink.py has the real sink."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest
import zmq

SCRIPTS = Path(__file__).parents[2] / "scripts"
SUBSCRIBER, ROBOT = SCRIPTS / "subscribe.py", SCRIPTS / "robot_loop.py"


def head(kind, sequence, version=1):
    return {
        "version": version,
        "kind": kind,
        "source": "cam",
        "run": "a",
        "sequence": sequence,
        "published_unix_ns": time.time_ns(),
    }


def message(kind="frame", sequence=0, version=1, **fields):
    found = {
        "id": 1,
        "state": "tracked",
        "quality": 0.9,
        "predicted_iou": None,
        "stability_score": None,
        "box_xyxy": [2, 0, 4, 2],
        "area_px": 4,
        "how": "fresh",
        "age_ms": 0.0,
        "rle": {"size": [2, 4], "counts": b"44"},  # the right half of 4x2
    }
    frame = {
        "index": sequence,
        "pts": 3 * sequence,
        "time_base": [1, 30],
        "captured_unix_ns": time.time_ns(),
        "width_px": 4,
        "height_px": 2,
        "dropped": 0,
        "objects": [found],
    }
    return msgpack.packb(head(kind, sequence, version) | frame | fields)


def status(sequence, **fields):
    told = {
        "state": "running",
        "paused": False,
        "heartbeat_s": 1.0,
        "time_base": [1, 30],
        "width_px": 4,
        "height_px": 2,
        "is_live": True,
        "objects": [],
    }
    return msgpack.packb(head("status", sequence) | told | fields)


@pytest.fixture
def publisher():
    with zmq.Context() as context, context.socket(zmq.XPUB) as made:
        made.linger = 0
        yield made


@pytest.fixture
def converse(publisher):
    """Sends messages to a running subscriber; gives its exit code, output and errors."""

    def run(messages, *arguments):
        endpoint = f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}"
        command = [sys.executable, str(SUBSCRIBER), endpoint, "--timeout", "20", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert publisher.poll(20_000), "nobody subscribed"
            for data in messages:
                publisher.send(data)
            output, errors = process.communicate(timeout=30)
        return process.returncode, output.splitlines(), errors.strip()

    return run


def test_it_says_where_objects_are_and_what_it_missed(converse):
    code, lines, errors = converse([message(sequence=5), message(sequence=8), message("end", 9)])
    assert (code, errors) == (0, "")
    assert lines[0].startswith("frame 5  t=0.500 s  age=")
    assert lines[0].endswith("#1 tracked at (2.5, 0.5) 4 px")
    assert lines[1].endswith("(missed 2)")
    assert lines[2] == "the stream has ended after 9 messages"


def test_it_skips_kinds_that_it_does_not_know(converse):
    code, lines, _ = converse([message("weather"), message(sequence=1), message("end", 2)])
    assert code == 0
    assert len(lines) == 2


def test_it_stops_at_its_count(converse):
    code, lines, _ = converse([message(sequence=i) for i in range(5)], "--count", "2")
    assert code == 0
    assert len(lines) == 2


def test_it_refuses_another_version(converse):
    code, lines, errors = converse([message(version=2)])
    assert (code, lines) == (1, [])
    assert errors == "the message has version 2, this maskstream reads 1; update the older side"


def test_the_latest_is_enough_for_a_control_loop(converse):
    code, lines, _ = converse([message(sequence=i) for i in range(200)] + [message("end", 200)], "--latest")
    assert code == 0
    assert len(lines) < 201
    assert lines[-1] == "the stream has ended after 200 messages"


def test_it_says_how_the_stream_is_doing(publisher):
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    command = [sys.executable, str(SUBSCRIBER), f"tcp://127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert publisher.poll(20_000), "nobody subscribed"
        for told in ({"paused": True}, {"state": "reconnecting"}):
            publisher.send(status(3, **told))
            assert process.stdout.readline() == f"no frame: {told.get('state', 'paused')}\n"
        publisher.send(message("end", 3))
        assert process.wait(20) == 0


def test_it_says_that_nothing_comes():
    command = [sys.executable, str(SUBSCRIBER), "tcp://127.0.0.1:1", "--timeout", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.strip() == "nothing came from tcp://127.0.0.1:1 for 0.1 s: does the publisher run?"


def test_the_robot_adds_an_object_drives_to_the_surest_and_stops_when_it_sees_nothing(publisher):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as control:
        control.linger, control.rcvtimeo = 0, 20_000
        ports = [made.bind_to_random_port("tcp://127.0.0.1") for made in (publisher, control)]
        command = [sys.executable, str(ROBOT), "--add", "2:box=50%,0,100%,100%", "--period", "0.05"]
        command += ["--masks", f"tcp://127.0.0.1:{ports[0]}", "--control", f"tcp://127.0.0.1:{ports[1]}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert publisher.poll(20_000), "nobody subscribed"

            def expect(words, *sent):
                """Lines until one begins so; what is sent meanwhile is for a slow machine."""
                while not (line := process.stdout.readline()).startswith(words):
                    assert line, f"it ended before it said {words!r}"
                    for make in sent:
                        publisher.send(make())
                return line

            publisher.send(message(sequence=0))
            peer, request = control.recv_multipart()
            asked = msgpack.unpackb(request)
            assert (asked["verb"], asked["object"], asked["box"]) == ("add", 2, [2, 0, 4, 2])
            effect = {"index": 3, "pts": 9, "time_s": 0.1, "objects": [2]}
            control.send_multipart(
                [peer, msgpack.packb({"version": 1, "id": asked["id"], "ok": True} | effect)]
            )
            assert expect("object 2") == "object 2 from frame 3 on\n"
            line = expect("drive to object 1", lambda: message(sequence=1))
            assert line == "drive to object 1: +0.50 of half the picture off\n"
            expect("stand still: the newest frame is", lambda: status(2, state="stalled"))
            assert "(stalled)" in expect("stand still", lambda: status(2, state="stalled"))
            publisher.send(message("end", 2))
            assert process.stdout.read() is not None
        assert process.returncode == 0
