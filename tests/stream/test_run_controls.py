"""When a command is answered: with the first result that shows its effect, however results come about."""

from __future__ import annotations

import dataclasses

import pytest
from maskstream.model.errors import ControlError, PromptError
from maskstream.model.types import Prompt
from maskstream.stream.agenda import Agenda
from maskstream.stream.commands import Applied, Remove, Show
from maskstream.stream.pipeline import Pipeline
from maskstream.stream.run_controls import RunControls
from maskstream.stream.sources import open_source

FRAME_MS = 40


class Desk:
    """Controls whose segmenter carries out what is due on frame 5."""

    def __init__(self, make_info, make_result):
        self._make_result = make_result
        self.agenda = Agenda()
        source = open_source("synthetic:frames=1,width=64,height=48")
        self.pipeline = Pipeline(source, lambda frame: None)
        self.controls = RunControls(make_info(), self.agenda, self.pipeline)

    def result(self, index, evidence=None, **more):
        """A frame's result; its masks are from frame `evidence`."""
        made = self._make_result(index, **more)
        frame = dataclasses.replace(made.frame, captured_ns=index * FRAME_MS * 1_000_000)
        age_ms = FRAME_MS * (index - (index if evidence is None else evidence))
        objects = tuple(dataclasses.replace(found, age_ms=age_ms) for found in made.objects)
        return dataclasses.replace(made, frame=frame, objects=objects)

    def carry_out(self, index, error=None):
        frame = self.result(index).frame
        for order in self.agenda.due(frame):
            if error:
                order.refused(error)
            else:
                order.applied(Applied(index, frame.pts, 1.0, (3,), frame.captured_ns))


@pytest.fixture
def desk(make_info, make_result):
    made = Desk(make_info, make_result)
    yield made
    made.pipeline.close()


SHOW = Show(Prompt(3, box_xyxy=[0, 0, 9, 9]))


def test_the_frame_itself_may_show_it(desk):
    answer = desk.controls.submit(SHOW)
    desk.carry_out(5)
    assert not answer.done()
    desk.controls.saw(desk.result(5))
    assert answer.result(0).index == 5
    assert [seen["id"] for seen in desk.controls.situation()["objects"]] == [1, 2, 3]


def test_or_the_first_whose_masks_are_from_it(desk):
    answer = desk.controls.submit(SHOW)
    desk.carry_out(5)
    for index in (5, 6, 7):
        desk.controls.saw(desk.result(index, evidence=4))
        assert not answer.done()
    desk.controls.saw(desk.result(8, evidence=5))
    effect = answer.result(0)
    assert (effect.index, effect.pts, effect.time_s) == (8, 320, pytest.approx(1.12))


def test_nothing_shows_that_nothing_is_there(desk):
    shown, removed = desk.controls.submit(SHOW), desk.controls.submit(Remove(3))
    desk.carry_out(5)
    desk.controls.saw(desk.result(6, objects=()))
    assert removed.result(0).index == 6
    assert not shown.done()
    desk.controls.saw(desk.result(200, objects=()))
    assert shown.result(0).index == 200


def test_refusals_do_not_wait(desk):
    answer = desk.controls.submit(SHOW)
    desk.carry_out(5, PromptError("no"))
    assert str(answer.exception(0)) == "no"


def test_at_the_end_all_is_answered(desk):
    carried_out = desk.controls.submit(SHOW)
    desk.carry_out(5)
    waiting = desk.controls.submit(SHOW)
    desk.controls.close()
    assert carried_out.result(0).index == 5
    assert isinstance(waiting.exception(0), ControlError)
    assert isinstance(desk.controls.submit(SHOW).exception(0), ControlError)
