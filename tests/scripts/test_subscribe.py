"""The example subscriber against hand-made messages; tests/stream/test_zmq_sink.py has the real sink."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest
import zmq

SUBSCRIBER = Path(__file__).parents[2] / "scripts" / "subscribe.py"


def message(kind="frame", sequence=0, version=1, **fields):
    found = {
        "id": 1,
        "state": "tracked",
        "area_px": 4,
        "rle": {"size": [2, 4], "counts": b"44"},  # the right half of 4x2
    }
    frame = {"index": sequence, "pts": 3 * sequence, "time_base": [1, 30], "objects": [found]}
    head = {"version": version, "kind": kind, "source": "cam", "sequence": sequence}
    return msgpack.packb(head | frame | {"captured_unix_ns": time.time_ns()} | fields)


@pytest.fixture
def converse():
    """Sends messages to a running subscriber; gives its exit code, output and errors."""

    def run(messages, *arguments):
        with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
            port = publisher.bind_to_random_port("tcp://127.0.0.1")
            command = [
                sys.executable,
                str(SUBSCRIBER),
                f"tcp://127.0.0.1:{port}",
                "--timeout",
                "20",
                *arguments,
            ]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
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
    assert (code, lines, errors) == (1, [], "cannot read messages of version 2")


def test_the_latest_is_enough_for_a_control_loop(converse):
    code, lines, _ = converse([message(sequence=i) for i in range(200)] + [message("end", 200)], "--latest")
    assert code == 0
    assert len(lines) < 201
    assert lines[-1] == "the stream has ended after 200 messages"


def test_it_says_that_nothing_comes():
    command = [sys.executable, str(SUBSCRIBER), "tcp://127.0.0.1:1", "--timeout", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.strip() == "nothing came for 0.1 s: does the publisher run?"
