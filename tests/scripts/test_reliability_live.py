"""The short forms of soak, stop and latency, the networks replaced; and whether they find what is wrong."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = (
    *("check_soak", "check_stop", "check_latency", "check_faults", "check_reconnect"),
    *("clock_process", "rtsp_process", "proc_watch", "stand_in_run", "latency_target"),
)


@pytest.fixture
def load(monkeypatch):
    """A script as a module; scripts find each other in their own folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def test_a_short_soak(load, capsys, rtsp, tmp_path):
    written = tmp_path / "soak.json"
    load("check_soak").main(["--minutes", "0.04", "--stand-in", "--json", str(written)])
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) >= 4
    assert lines[0]["resident_mib"] > 10
    assert last["goals"]["lived"]
    assert last["goals"]["stopped by SIGTERM"]
    assert last["subscribers"]["all"]["lost"] == 0
    assert last["subscribers"]["all"]["frames"] > 10
    assert last["subscribers"]["stalls"]["times"] >= 3
    assert last["subscribers"]["dies"]["times"] >= 3
    assert json.loads(written.read_text()) == {"lines": lines, "verdict": last}


def test_a_soak_finds_what_grows(load):
    check = load("check_soak")
    plan = check.Plan.of(60)

    def verdict(grow=0.0, later=1.0, threads=0, files=0, code=143):
        states = [
            (
                at_s,
                check.ProcessState(100 + grow * at_s / 3600, at_s / 2, 9 + threads * at_s, 9 + files * at_s),
            )
            for at_s in range(0, 3600, 5)
        ]
        latencies = [(at_s, 40 + at_s % 7) for at_s in range(3000)]
        latencies += [(at_s, later * (40 + at_s % 7)) for at_s in range(3000, 3600)]
        return check.judge(plan, check.Record(states, latencies), ({}, code, 0.5), is_well=True)

    assert verdict()["passed"]
    assert verdict(grow=-50)["passed"]
    assert verdict(later=1.15)["passed"]
    assert verdict()["cpu_s_per_minute"] == 30
    for spoilt, goal in (
        (verdict(grow=5), "memory flat within 2 %"),
        (verdict(later=1.3), "p99 within 20 %"),
        (verdict(threads=1), "no thread left"),
        (verdict(files=1), "no file left"),
        (verdict(code=1), "stopped by SIGTERM"),
    ):
        assert not spoilt["passed"]
        assert [name for name, reached in spoilt["goals"].items() if not reached] == [goal]


def test_runs_end_at_any_moment(load, capsys):
    code = load("check_stop").main(["--runs", "3", "--networks", "0", "--seed", "6"])
    printed = capsys.readouterr().out
    assert "3 runs; the signal came while: " in printed
    assert "0 runs not as they should be" in printed or "it took" in printed  # on a machine that is very busy
    assert code == 0 or "it took" in printed


def test_a_stop_finds_torn_files(load, tmp_path):
    check = load("check_stop")
    assert check.look_at(tmp_path) == (0, [])
    check.make_clip(tmp_path / "whole.mp4")
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "video.mp4").write_bytes(whole[: len(whole) // 2])  # its index is at its end
    assert "the video cannot be read" in check.look_at(tmp_path)[1][0]
    (tmp_path / "video.mp4").unlink()
    lines = tmp_path / "masks" / "masks.jsonl"
    lines.parent.mkdir()
    lines.write_text('{"index": 0}\n')
    assert check.look_at(tmp_path)[1] == ["0 frames in the video, 1 lines, 0 pictures of masks"]
    lines.write_text('{"index": 0}\n{"ind')
    assert "the masks cannot be read" in check.look_at(tmp_path)[1][0]
    lines.write_text("")
    picture = tmp_path / "masks" / "png" / "a" / "0.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"\x89PNG\r\n")
    assert "the masks cannot be read" in check.look_at(tmp_path)[1][0]


def test_a_stop_finds_what_ended_badly(load):
    check = load("check_stop")
    case = check.Case(0, "file", False, False, signal.SIGTERM, 1.0)
    assert check.problems_of(case, 143, 0.5, "", "writing") == []
    assert check.problems_of(case, -15, 0.5, "", "starting") == []
    assert check.problems_of(case, 0, 0.0, "", "ended before") == []
    assert check.problems_of(case, 143, 2.5, "", "writing") == ["it took 2.50 s"]
    assert check.problems_of(case, 130, 0.5, "", "writing") == ["exit code 130"]
    assert check.problems_of(case, 143, 0.5, "Traceback ...\nOSError: x\n", "writing") == [
        "it said: OSError: x"
    ]


def test_latency_from_the_painted_time(load, capsys, rtsp, tmp_path):
    written = tmp_path / "latency.json"
    options = ["--seconds", "2", "--sizes", "512", "--objects", "1", "--fps", "20", "--stand-in"]
    load("check_latency").main([*options, "--json", str(written)])
    (row,) = json.loads(written.read_text())
    assert "512 px, objects 1: p50 / p99 in ms: glass " in capsys.readouterr().out
    assert row["frames"] > 20
    assert row["unreadable"] == row["lost"] == 0
    assert 15 < row["capture_ms"]["p50"] < row["glass_ms"]["p50"]


def test_the_painted_time_is_read(load):
    process = load("clock_process")
    now_ns = time.time_ns() // 1000 * 1000
    code = now_ns // 1000 % (1 << process.BITS)
    bits = np.array([[value >> bit & 1 for bit in range(process.BITS)] for value in (code, ~code)], np.uint8)
    image = np.full((180, 320, 3), 90, np.uint8)
    image[: 2 * process.CELL_PX] = (
        200 * np.kron(bits, np.ones((process.CELL_PX,) * 2, np.uint8))[..., None] + 16
    )
    assert process.painted_ns(image, now_ns + 10**9) == now_ns
    image[2, 2:6] = 250 - image[2, 2:6]
    assert process.painted_ns(image, now_ns) == now_ns
    image[:16, :8] = 100
    assert process.painted_ns(image, now_ns) is None
