from __future__ import annotations

import dataclasses
import threading

import pytest
from maskstream.model.errors import ControlError, PromptError
from maskstream.model.types import Prompt
from maskstream.stream.agenda import MAX_WAITING, Agenda
from maskstream.stream.commands import Applied, Remove, Show


@pytest.fixture(scope="module")
def frame(make_result):
    """The frame at a time in ms; the stream begins at 10 s."""

    def make(time_ms):
        return dataclasses.replace(make_result(0).frame, pts=10_000 + time_ms, index=time_ms // 40)

    return make


def names(orders):
    return [order.command.object_id for order in orders]


def test_each_command_is_due_once_at_the_first_frame_at_or_after_its_time(frame):
    agenda = Agenda([Remove(1), Remove(2, time_s=0.04), Remove(3, time_s=0.05)])
    assert names(agenda.due(frame(0))) == [1]
    assert names(agenda.due(frame(40))) == [2]
    assert names(agenda.due(frame(80))) == [3]
    assert agenda.due(frame(120)) == []


def test_commands_from_outside_come_with_the_next_frame_or_at_their_time(frame):
    agenda = Agenda([Remove(1, time_s=0.08)])
    agenda.due(frame(0))
    agenda.submit(Remove(5))
    agenda.submit(Remove(3, time_s=0.06))
    agenda.submit(Remove(4, pts=10_070))
    agenda.submit(Remove(6))
    assert names(agenda.due(frame(40))) == [5, 6]
    assert names(agenda.due(frame(80))) == [3, 4, 1]
    agenda.submit(Remove(7))
    agenda.submit(Remove(8, pts=10_000))  # long past
    assert names(agenda.due(frame(120))) == [8, 7]


def test_what_is_due_can_be_seen_before(frame):
    agenda = Agenda([Remove(1), Remove(2, time_s=0.04)])
    for time_ms, expected in ((0, [1]), (40, [1])):
        assert [
            command.object_id for command in agenda.peek(frame(time_ms))
        ] == expected  # 40 would be the first
    agenda.due(frame(0))
    assert [command.object_id for command in agenda.peek(frame(40))] == [2]
    assert agenda.peek(frame(39)) == []


def test_media_time_counts_from_the_first_frame(frame):
    agenda = Agenda()
    assert agenda.time_s(frame(500)) == 0
    agenda.due(frame(40))
    assert agenda.time_s(frame(540)) == pytest.approx(0.5)


def test_who_asked_hears_what_became_of_it(frame):
    agenda = Agenda()
    good, bad = agenda.submit(Remove(1)), agenda.submit(Remove(2))
    first, second = agenda.due(frame(0))
    first.applied(Applied(7, 10_000, 0.0, (1,)))
    second.refused(PromptError("no such object"))
    assert good.result(0).index == 7
    with pytest.raises(PromptError, match="no such object"):
        bad.result(0)
    assert agenda.refusals == []


def test_refusals_of_the_schedule_are_kept_for_the_summary(frame, caplog):
    agenda = Agenda([Show(Prompt(3, box_xyxy=[0, 0, 5, 5]))])
    agenda.due(frame(0))[0].refused(PromptError("too late"))
    assert agenda.refusals == ["the prompt of object 3 was refused: too late"]
    assert caplog.messages == ["refused, prompt of object 3: too late"]


def test_a_command_that_was_called_back_is_not_due(frame):
    agenda = Agenda()
    assert agenda.submit(Remove(1)).cancel()
    assert agenda.due(frame(0)) == []


def test_after_the_end_all_is_refused(frame):
    agenda = Agenda([Remove(1, time_s=99)])
    agenda.due(frame(0))
    waiting = agenda.submit(Remove(2))
    agenda.close()
    agenda.close()
    for answer, complaint in (
        (waiting, "ended before this could take effect"),
        (agenda.submit(Remove(3)), "ended"),
    ):
        with pytest.raises(ControlError, match=complaint):
            answer.result(0)
    assert agenda.refusals == []


def test_there_is_an_end_to_what_may_wait(frame):
    agenda = Agenda()
    for _ in range(MAX_WAITING):
        agenda.submit(Remove(1))
    with pytest.raises(ControlError, match="1024 commands are waiting already"):
        agenda.submit(Remove(1)).result(0)
    assert len(agenda.due(frame(0))) == MAX_WAITING


def test_nothing_is_lost_between_threads(frame):
    agenda, seen = Agenda(), []
    agenda.due(frame(0))

    def steer(object_id):
        for _ in range(100):
            agenda.submit(Remove(object_id))

    threads = [threading.Thread(target=steer, args=(i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen += names(agenda.due(frame(0)))
    seen += names(agenda.due(frame(0)))
    assert sorted(seen) == [1] * 100 + [2] * 100 + [3] * 100 + [4] * 100


def test_the_schedule_tells_how_many_objects_come() -> None:
    prompts = [Prompt(i, points_xy=[[1, 1]], point_labels=[1]) for i in (1, 2, 1)]
    commands = [Show(prompt, time_s=float(second)) for second, prompt in enumerate(prompts)]
    assert Agenda([*commands, Remove(1, time_s=5.0)]).objects_shown == 2
    assert Agenda().objects_shown == 0
