from __future__ import annotations

import io
from fractions import Fraction

import pytest
from maskstream.stream.display import LiveView, download_view, live_line, summary_view
from maskstream.stream.pipeline import PipelineReport, SinkReport
from maskstream.stream.summary import Ending, ObjectSummary, RunSummary, SinkSummary
from maskstream.stream.telemetry import StageReport
from maskstream.stream.types import StreamInfo
from rich.console import Console

STAGE = StageReport(3, 10.0, 12.34, 50.0, 60.0, 0.1, 0.2, 41.2, 66.6)
REPORT = PipelineReport(5, 2, 3, STAGE, STAGE, (SinkReport("video=a.mp4", 1, STAGE),))
OBJECTS = (ObjectSummary(1, 3, 2 / 3, 0.5, "tracked"), ObjectSummary(2, 2, 0.5, 0.375, "uncertain"))
LINE = "12.3 frames/s | latency p50 41 ms, p95 67 ms | dropped 2 (40 %) | object 1 tracked, 2 uncertain"


def info(is_live, frame_count):
    return StreamInfo("clip.mp4", 4, 2, Fraction(1, 10), Fraction(10), is_live, frame_count)


def screen(is_terminal):
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=120, legacy_windows=False)


def shown(view, console):
    with view:
        view.update(REPORT, OBJECTS)
    return console.file.getvalue()


def test_the_live_line():
    assert live_line(REPORT, OBJECTS) == LINE
    assert live_line(REPORT, ()).endswith("dropped 2 (40 %)")


def test_a_stream_has_a_live_line():
    console = screen(is_terminal=True)
    assert LINE in shown(LiveView(info(True, None), console), console)


def test_a_file_has_a_bar_that_knows_how_much_is_left():
    console = screen(is_terminal=True)
    text = shown(LiveView(info(False, 6), console), console)
    assert "clip.mp4" in text
    assert "3/6" in text
    assert "12.3 frames/s, left" in text


@pytest.mark.parametrize("is_live", [True, False])
def test_nothing_is_shown_where_no_one_looks(is_live):
    console = screen(is_terminal=False)
    assert shown(LiveView(info(is_live, 6), console), console) == ""


def test_a_download_has_a_bar_only_where_someone_looks():
    for is_terminal in (True, False):
        console = screen(is_terminal)
        with download_view(console) as progress:
            progress("weights", 1_000_000, 2_000_000)
        assert ("fetching weights" in console.file.getvalue()) == is_terminal


def summary(is_live, reason="ended after frame 4, at 0:00.4"):
    sinks = (SinkSummary("video=a.mp4", 3, 1),)
    return RunSummary(
        "clip.mp4",
        is_live,
        Ending.COMPLETE,
        reason,
        3,
        2,
        0.4,
        10.0,
        4.0,
        41.2,
        66.6,
        OBJECTS,
        sinks,
        ("odd",),
    )


def printed(renderable):
    console = screen(is_terminal=False)
    console.print(renderable)
    return console.file.getvalue()


def test_the_summary_of_a_file_tells_no_latency_and_that_of_a_stream_does():
    text = printed(summary_view(summary(is_live=False)))
    assert "clip.mp4: ended after frame 4, at 0:00.4" in text
    assert "3 frames, 0:00.4 of video, at 10.0 frames/s\n" in text
    assert "wrote video=a.mp4: 3 frames, 1 dropped because this output is too slow" in text
    assert "note: odd" in text
    assert "66.7%" in text
    live = "at 10.0 frames/s, 4.0 of them encoded; 2 dropped; latency p50 41 ms, p95 67 ms"
    assert live in printed(summary_view(summary(is_live=True)))


def test_a_reason_that_names_the_source_does_not_have_it_said_twice():
    text = printed(summary_view(summary(False, "clip.mp4 broke off at 0:01")))
    assert text.startswith("clip.mp4 broke off at 0:01\n")
