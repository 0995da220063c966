from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from maskstream.model.errors import SinkError, StreamBrokenError
from maskstream.model.types import MaskOrigin, ObjectMask, Prompt, TrackState
from maskstream.stream.commands import Show
from maskstream.stream.pipeline import PipelineReport, SinkReport
from maskstream.stream.summary import Ending, Tally, clock_text, summarise
from maskstream.stream.telemetry import StageReport
from maskstream.stream.types import Frame, FrameResult, StreamInfo

INFO = StreamInfo("clip.mp4", 4, 2, Fraction(1, 10), Fraction(10), is_live=False, frame_count=3)
LIVE = StreamInfo("camera", 4, 2, Fraction(1, 10), Fraction(10), is_live=True)
STAGE = StageReport(3, 10.0, 12.34, 50.0, 60.0, 0.1, 0.2, 41.2, 66.6)
REPORT = PipelineReport(5, 2, 3, STAGE, STAGE, (SinkReport("video=a.mp4", 1, STAGE),))


def result(index, *objects, start=100):
    frame = Frame(np.zeros((2, 4, 3), np.uint8), index, start + index, Fraction(1, 10), 0, 0, "clip.mp4")
    masks = [
        ObjectMask(object_id, np.zeros((2, 4), bool), np.zeros(4, np.int32), 0.9, 0.9, state, quality)
        for object_id, state, quality in objects
    ]
    return FrameResult(frame, tuple(masks), 0, 1.0, 1.0, 0)


@pytest.fixture
def tally():
    tally = Tally()
    tally.add(result(0, (1, TrackState.TRACKED, 1.0)))
    tally.add(result(1, (1, TrackState.LOST, 0.0), (2, TrackState.TRACKED, 0.5)))
    tally.add(result(4, (1, TrackState.TRACKED, 0.5), (2, TrackState.UNCERTAIN, 0.25)))
    return tally


def test_a_tally_counts_each_object_from_its_first_frame(tally):
    first, second = tally.objects()
    assert (first.object_id, first.frames, first.last_state) == (1, 3, "tracked")
    assert first.tracked_share == pytest.approx(2 / 3)
    assert first.mean_quality == pytest.approx(0.5)
    assert (second.object_id, second.frames, second.tracked_share) == (2, 2, 0.5)
    assert second.mean_quality == pytest.approx(0.375)


def test_a_tally_counts_the_frames_whose_encoding_is_behind_the_masks():
    tally = Tally()
    ages_ms = [0, 40, 80, 40, 80, 0]  # frames 0, 2 and 5 were encoded, 40 ms apart each
    for index, age_ms in enumerate(ages_ms):
        plain = result(index, (1, TrackState.TRACKED, 1.0))
        found = replace(plain.objects[0], age_ms=float(age_ms))
        tally.add(
            replace(plain, frame=replace(plain.frame, captured_ns=40_000_000 * index), objects=(found,))
        )
    assert tally.encoded == 3
    shown = replace(plain.objects[0], how=MaskOrigin.REFINED)
    tally.add(replace(plain, frame=replace(plain.frame, captured_ns=10**9), objects=(shown,)))
    tally.add(replace(plain, frame=replace(plain.frame, captured_ns=2 * 10**9), objects=()))
    assert tally.encoded == 3


def test_media_time_counts_from_the_first_frame(tally):
    assert tally.media_s == pytest.approx(0.4)
    assert tally.last_index == 4


@pytest.mark.parametrize(
    ("error", "stopped", "ending", "reason"),
    [
        (None, False, Ending.COMPLETE, "ended after frame 4, at 0:00.4"),
        (None, True, Ending.STOPPED, "stopped on request after frame 4, at 0:00.4"),
        (StreamBrokenError("clip.mp4 broke off: cut"), False, Ending.BROKEN, "clip.mp4 broke off: cut"),
        (SinkError("disk full"), True, Ending.FAILED, "broke off after frame 4, at 0:00.4: disk full"),
    ],
)
def test_the_summary_says_where_and_why_it_ended(tally, error, stopped, ending, reason):
    summary = summarise(INFO, tally, REPORT, error=error, stopped=stopped)
    assert (summary.ending, summary.reason) == (ending, reason)


def test_a_run_without_a_frame_has_a_summary_too():
    summary = summarise(INFO, Tally(), REPORT, error=None, stopped=True)
    assert summary.reason == "stopped on request before the first frame"
    assert (summary.objects, summary.media_s) == ((), 0.0)


def test_prompts_that_were_never_reached_are_noted(tally):
    schedule = [Show(Prompt(7, box_xyxy=[0, 0, 1, 1]), time_s=time_s) for time_s in (0.0, 0.4, 75.0)]
    summary = summarise(INFO, tally, REPORT, error=None, stopped=False, schedule=schedule, notes=["odd"])
    assert summary.notes == ("odd", "the prompt of object 7 at 1:15.0 was not reached")


def test_the_summary_is_plain_json(tally):
    summary = summarise(INFO, tally, REPORT, error=None, stopped=False)
    values = json.loads(json.dumps(summary.as_dict()))
    assert values["ending"] == "complete"
    assert values["frames"] == 3
    assert values["objects"][0]["object_id"] == 1
    assert values["sinks"] == [{"name": "video=a.mp4", "written": 3, "dropped": 1}]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (75.25, "1:15.2"), (7384.5, "2:03:04.5")]
)  # fmt: skip
def test_times_as_people_read_them(seconds, text):
    assert clock_text(seconds) == text
