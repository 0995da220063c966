from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time

import pytest
from maskstream.stream.logs import (
    LOG_LEVELS,
    NOTICE,
    last_line,
    log_event,
    log_output,
    note,
    without_secrets,
)
from maskstream.stream.logs_state import StateLog
from maskstream.stream.pipeline import Pipeline
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.sources import open_source
from maskstream.stream.types import FrameResult

log, audit = logging.getLogger("maskstream"), logging.getLogger("maskstream.control")
CAMERA = "rtsp://admin:s3cret@camera.local/one?token=s3cret"
SOON_S = 10.0


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def say_everything():
    log_event(log, logging.DEBUG, "small", "small", source="cam")
    log_event(log, logging.INFO, "run_start", "cam: starts", source="cam", frames=3)
    note("something to know")
    log.warning("beware of %s", "that")
    log.error("broken")
    audit.info("control by somebody")


def test_people_get_what_they_should_read_and_who_steered(capsys):
    with log_output():
        say_everything()
    assert capsys.readouterr().err.splitlines() == [
        "maskstream: note: something to know",
        "maskstream: warning: beware of that",
        "maskstream: error: broken",
        "maskstream: note: control by somebody",
    ]


def test_programs_get_an_object_per_line(capsys):
    with log_output("json"):
        say_everything()
    found = lines(capsys)
    assert [one["event"] for one in found] == ["run_start", "note", "message", "message", "message"]
    assert [one["level"] for one in found] == ["info", "notice", "warning", "error", "info"]
    start = found[0]
    assert list(start) == ["time", "level", "event", "message", "source", "frames"]
    assert (start["message"], start["source"], start["frames"]) == ("cam: starts", "cam", 3)
    assert start["time"][-6:] == "+00:00"


@pytest.mark.parametrize(("level", "count"), list(zip(LOG_LEVELS, (6, 5, 3, 2, 1), strict=True)))
def test_the_level_says_what_is_left_out(capsys, level, count):
    with log_output("json", level):
        say_everything()
    assert len(lines(capsys)) == count


def test_afterwards_all_is_as_before(capsys):
    before = log.level, audit.level, list(log.handlers)
    with log_output("json", "debug"):
        pass
    assert (log.level, audit.level, log.handlers) == before


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_gets_out_whoever_logs_it(capsys, form):
    with log_output(form, "debug"):
        log.warning("cannot open %s; try again", CAMERA)
        log_event(log, logging.INFO, "odd", f"chaos:{CAMERA}", source=CAMERA, sinks=[{"at": CAMERA}])
        try:
            raise OSError(f"no answer from {CAMERA}")
        except OSError:
            log.exception("broken")
        note(f"'{CAMERA}'")
    last_line(form, logging.ERROR, "error", CAMERA)
    text = capsys.readouterr().err
    assert text.count("\n") == 5
    assert "camera.local" in text
    assert "s3cret" not in text


def test_what_is_no_secret_is_left_as_it_is():
    text = "tcp://127.0.0.1:5555 and http://a.b/c?d=e, as in key=5"
    assert without_secrets(text) == text


def test_a_defect_is_told_with_its_traceback_on_one_line(capsys):
    with log_output("json"):
        try:
            raise RuntimeError("boom")
        except RuntimeError:
            log.exception("a request could not be handled")
    (found,) = lines(capsys)
    assert "test_logs.py" in found["exception"]
    assert found["exception"].endswith("RuntimeError: boom\n")


def test_a_log_that_nobody_reads_stops_nobody(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with log_output("json"), monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Gone())
        patch.setattr(logging, "raiseExceptions", False)
        log.warning("into the void")


def test_why_it_ends_is_told_without_a_log(capsys):
    last_line("text", logging.ERROR, "error", "no source")
    last_line("text", NOTICE, "interrupted", "interrupted")
    assert capsys.readouterr().err == "maskstream: error: no source\nmaskstream: interrupted\n"
    last_line("json", logging.ERROR, "error", "no source")
    (found,) = lines(capsys)
    assert (found["level"], found["event"], found["message"]) == ("error", "error", "no source")


def test_states_and_pauses_are_told_as_they_change(tmp_path, capsys):
    script = tmp_path / "faults.yaml"
    script.write_text(
        "source: synthetic:frames=100000,width=64,height=48,fps=100\n"
        "faults: [{at: 20, do: disconnect, failures: 3}]\n"
    )
    settings = ReconnectConfig(first_delay_s=0.1, longest_delay_s=0.1)
    source = open_source(f"chaos:{script}", reconnect=settings, notify=lambda sentence: None)
    pipeline = Pipeline(source, lambda frame: FrameResult(frame, (), 0, 1.0, 1.0, time.monotonic_ns()))
    states = StateLog("cam", pipeline)
    with log_output("json"), pipeline:
        until = time.monotonic() + SOON_S
        while pipeline.report().captured < 30 and time.monotonic() < until:
            states.look()
            threading.Event().wait(0.002)
        pipeline.pause()
        states.look()
        states.look()
        pipeline.resume()
        states.look()
        pipeline.stop()
    found = lines(capsys)
    assert {one["source"] for one in found} == {"cam"}
    assert [(one["event"], one.get("state")) for one in found] == [
        ("source_state", "running"),
        ("source_state", "reconnecting"),
        ("source_state", "running"),
        ("reconnected", None),
        ("paused", None),
        ("resumed", None),
    ]
    assert found[1]["reason"] == "the connection was lost, as its plan says"
    assert found[3]["reconnects"] == 1
