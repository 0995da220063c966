"""The segmenter with networks of the real kind that never learned anything: what it does, not how well."""

from __future__ import annotations

import threading

import pytest
import torch
from maskstream.model.errors import ControlError, PromptError
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import Predictor
from maskstream.model.tracker import Tracker
from maskstream.model.types import Prompt
from maskstream.stream import Session, runner, segmenter, track
from maskstream.stream.agenda import Agenda
from maskstream.stream.commands import Detections, Remove, Rename, Show
from maskstream.stream.segmenter import Segmenter
from maskstream.stream.sources import open_source

SCENE = "synthetic:scene=still,objects=1,frames=6,width=64,height=48,fps=10"


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Predictor(MobileSam().eval(), size=64)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames():
    with open_source(SCENE) as source:
        return list(source)


@pytest.fixture
def small_networks(monkeypatch, predictor):
    """What runs are made with."""

    def load(model, inputs, *more):
        return Segmenter(predictor, Tracker(predictor), inputs.agenda)

    monkeypatch.setattr(runner, "_load_segmenter", load)


def ids(result):
    return [found.object_id for found in result.objects]


def show(object_id, **when):
    return Show(Prompt(object_id, box_xyxy=[10, 10, 40, 40]), **when)


def test_objects_come_and_go_by_schedule(predictor, frames):
    schedule = [
        show(1),
        show(2, time_s=0.1),
        Rename(1, 5, time_s=0.2),
        Remove(2, time_s=0.3),
        show(1, time_s=0.3),
    ]
    segment = Segmenter(predictor, Tracker(predictor), Agenda(schedule))
    assert [ids(segment(frame)) for frame in frames[:4]] == [[1], [1, 2], [2, 5], [1, 5]]


def test_objects_come_and_go_by_command(predictor, frames):
    agenda = Agenda()
    segment = Segmenter(predictor, Tracker(predictor), agenda)
    assert ids(segment(frames[0])) == []
    answers = [
        agenda.submit(show(3)),
        agenda.submit(show(4, time_s=0.2)),
        agenda.submit(Rename(3, 6, pts=-1)),
    ]
    with pytest.raises(PromptError, match="object 3 is not tracked"):  # long past: it comes first
        assert ids(segment(frames[1])) == [3]
        answers[2].result(0)
    assert ids(segment(frames[2])) == [3, 4]
    effects = [answer.result(0) for answer in answers[:2]]
    assert [(effect.index, effect.pts, effect.object_ids) for effect in effects] == [
        (1, frames[1].pts, (3,)),
        (2, frames[2].pts, (4,)),
    ]
    assert effects[1].time_s == pytest.approx(0.2)


def test_a_bad_command_is_answered_and_changes_nothing(predictor, frames):
    agenda = Agenda([show(1), Remove(9, time_s=0.1)])
    segment = Segmenter(predictor, Tracker(predictor), agenda)
    segment(frames[0])
    beside = agenda.submit(Show(Prompt(2, points_xy=[[64, 3]], point_labels=[1])))
    assert ids(segment(frames[1])) == [1]
    with pytest.raises(PromptError, match="off the picture; the picture is 64x48 px"):
        beside.result(0)
    assert agenda.refusals == ["the removal of object 9 was refused: object 9 is not tracked; tracked are: 1"]


def test_ids_of_detections_are_new_even_after_removals(predictor, frames):
    agenda = Agenda([show(7)])
    segment = Segmenter(predictor, Tracker(predictor), agenda)
    segment(frames[0])
    agenda.submit(Remove(7))
    segment(frames[1])
    found = agenda.submit(Detections([[10, 10, 40, 40]]))
    assert ids(segment(frames[2])) == [8]
    assert found.result(0).object_ids == (8,)


def test_who_waits_hears_of_a_failure_too(predictor, frames, monkeypatch):
    agenda = Agenda()
    segment = Segmenter(predictor, Tracker(predictor), agenda)
    answer = agenda.submit(show(1))
    boom = RuntimeError("out of memory")

    def fail(image):
        raise boom

    monkeypatch.setattr(predictor, "encode", fail)
    with pytest.raises(RuntimeError):
        segment(frames[0])
    assert answer.exception(0) is boom


def test_at_the_end_nobody_is_left_waiting(predictor):
    agenda = Agenda()
    segment = Segmenter(predictor, Tracker(predictor), agenda)
    answer = agenda.submit(show(1))
    segment.close()
    with pytest.raises(ControlError, match="ended"):
        answer.result(0)


def test_a_session_is_steered_from_its_loop_and_from_outside(small_networks):
    seen, answers = {}, []
    with Session("synthetic:scene=still,frames=40,width=64,height=48") as session:
        assert (session.info.width_px, session.info.height_px) == (64, 48)
        first = session.show("1:box=10,10,40,40")
        for result in session:
            seen[result.frame.index] = ids(result)
            if result.frame.index == 2:
                answers += [session.remove(1), session.show("2:point=50%,50%")]
                answers += [session.rename(2, 9), session.rename(7, 8)]
            if result.frame.index == 3:
                with pytest.raises(PromptError, match="off the picture"):
                    session.show("3:point=64,48")
        begun, gone = first.result(0).index, answers[0].result(0).index
    assert seen == {i: [] if i < begun else [1] if i < gone else [9] for i in range(40)}
    assert [answer.result(0).object_ids for answer in answers[1:3]] == [(2,), (9,)]
    assert "object 7 is not tracked" in str(answers[3].exception(0))
    with pytest.raises(ControlError, match="the stream has ended"):
        session.remove(9).result(0)


@pytest.fixture
def shrinking(tmp_path):
    """A stream whose pictures have half the size from the 10th on."""
    script = tmp_path / "shrinks.yaml"
    script.write_text(
        "source: synthetic:scene=still,frames=40,width=64,height=48\n"
        "pace: fast\nfaults:\n  - {at: 10, do: resize, scale: 0.5}\n"
    )
    return f"chaos:{script}"


@pytest.mark.parametrize("prompt", ["1:box=4,4,20,20", Prompt(1, box_xyxy=[4, 4, 20, 20])])
def test_a_session_s_prompts_count_in_the_newest_picture(segment_boxes, shrinking, prompt):
    shown, last = None, None
    with Session(shrinking) as session:
        for last in session:
            if shown is None and last.frame.hw == (24, 32):
                shown = session.show(prompt)
    assert shown.result(0).object_ids == (1,)
    assert [found.box_xyxy.tolist() for found in last.objects] == [[4, 4, 20, 20]]


def test_objects_are_where_they_were_when_the_picture_changes_its_size(segment_boxes, shrinking):
    found = Detections([[4, 4, 20, 20], [0, 20, 9, 24]], time_s=10 / 30, picture_hw=(24, 32))
    *_, last = track(shrinking, ["1:box=8,8,40,40", found])
    assert [found.object_id for found in last.objects] == [1, 2]


def test_a_session_left_early_leaves_nothing_behind(small_networks):
    threads = threading.active_count()
    with Session("synthetic:scene=still,frames=4000,width=64,height=48", ["1:point=5,5"]) as session:
        next(iter(session))
        waiting = session.show("2:point=5,5@100")
    with pytest.raises(ControlError, match="ended before"):
        waiting.result(0)
    assert threading.active_count() == threads


def test_encoding_is_timed_by_the_device_which_is_asked_after_tracking(predictor, frames, monkeypatch):
    said = []

    class Moment:
        def __init__(self, device):
            said.append(f"moment on {device}")

        def ms_since(self, earlier):
            said.append("asked")
            return 0.25

    class Quiet(Tracker):
        def step(self, *arguments):
            said.append("tracked")
            return super().step(*arguments)

    monkeypatch.setattr(segmenter, "Moment", Moment)
    result = Segmenter(predictor, Quiet(predictor), Agenda([show(1)]))(frames[0])
    assert said == ["moment on cpu", "moment on cpu", "tracked", "asked"]
    assert result.encode_ms == 0.25
    assert result.track_ms > 0
