"""The desk without a socket: requests in, answers in a list."""

from __future__ import annotations

import gc
import logging
import weakref

import numpy as np
import pytest
from maskstream.model.errors import PromptError
from maskstream.stream import rle
from maskstream.stream.agenda import Agenda
from maskstream.stream.commands import Applied
from maskstream.stream.control_desk import MAX_REMEMBERED, ControlDesk
from maskstream.stream.control_wire import decode_answer, encode_request


class Recorder:
    """Controls that note what is asked of them."""

    picture_hw = (48, 64)
    is_paused = False

    def __init__(self):
        self.agenda, self.calls = Agenda(), []

    def submit(self, command):
        self.calls.append(command.what)
        return self.agenda.submit(command)

    def pause(self):
        self.is_paused = True
        self.calls.append("pause")

    def resume(self):
        self.is_paused = False
        self.calls.append("resume")

    def shut_down(self):
        self.calls.append("shut down")

    def situation(self):
        self.calls.append("situation")
        return {"objects": []}

    def metrics(self):
        return {"pipeline": {"captured": 7}}


class Talk:
    """One who asks, the desk, and what came back."""

    def __init__(self):
        self.controls, self.answers = Recorder(), []
        self.desk = ControlDesk(self.controls, lambda task: task())

    def ask(self, request_id, verb, **fields):
        self.send(encode_request(request_id, verb, fields))
        return self.answers[-1] if self.answers else None

    def send(self, data, to=None):
        answers = self.answers if to is None else to
        self.desk.handle(data, "127.0.0.1", lambda answer: answers.append(decode_answer(answer)))

    def frame_comes(self, frame, error=None):
        for order in self.controls.agenda.due(frame):
            if error:
                order.refused(error)
            else:
                order.applied(Applied(frame.index, frame.pts, 0.0, (3,)))


@pytest.fixture
def talk():
    return Talk()


@pytest.fixture
def frame(make_result):
    return make_result(5).frame


def test_a_command_is_answered_when_it_has_taken_effect(talk, frame):
    assert talk.ask("a", "remove", object=3) is None
    talk.frame_comes(frame)
    (answer,) = talk.answers
    assert (answer.request_id, answer.effect.index, answer.effect.object_ids) == ("a", 5, (3,))


def test_or_as_soon_as_it_is_taken_in(talk, frame):
    answer = talk.ask("a", "remove", object=3, wait=False)
    assert answer.values == {"pending": True}
    talk.frame_comes(frame)
    assert len(talk.answers) == 1
    assert talk.ask("a", "remove", object=3, wait=False).effect.index == 5  # asked again, it knows more


def test_while_the_run_is_paused_nobody_is_kept_waiting(talk, frame):
    assert talk.ask("before", "remove", object=3) is None
    talk.ask("p", "pause")
    talk.ask("a", "remove", object=3)
    talk.ask("a", "remove", object=3)  # a repeat is answered too
    left_open = [answer for answer in talk.answers if answer.is_pending]
    assert [answer.request_id for answer in left_open] == ["before", "a", "a"]
    assert left_open[0].values == {"pending": True, "paused": True}
    talk.ask("r", "resume")
    count = len(talk.answers)
    assert talk.ask("a", "remove", object=3).request_id == "r"  # and waits once it goes on
    talk.frame_comes(frame)
    assert [(answer.request_id, answer.effect.index) for answer in talk.answers[count:]] == [("a", 5)]
    assert talk.ask("before", "remove", object=3).effect.index == 5
    assert talk.controls.calls.count("removal of object 3") == 2


def test_what_is_refused_at_once_is_not_left_open(talk):
    talk.ask("p", "pause")
    talk.controls.agenda.close()
    assert talk.ask("a", "remove", object=3).error == "the stream has ended"


def test_a_refusal_says_why(talk, frame):
    talk.ask("a", "remove", object=3)
    talk.frame_comes(frame, PromptError("object 3 is not tracked"))
    assert talk.answers[0].error == "object 3 is not tracked"
    talk.ask("b", "remove", object=3)
    talk.frame_comes(frame, RuntimeError("out of memory"))
    assert talk.answers[1].error == "the run has failed: out of memory"


def test_the_end_is_an_answer_too(talk):
    talk.ask("a", "remove", object=3)
    talk.controls.agenda.close()
    assert "the stream ended before" in talk.answers[0].error
    assert talk.ask("b", "remove", object=3).error == "the stream has ended"


@pytest.mark.parametrize("verb", ["remove", "pause", "shutdown"])
def test_a_repeated_request_is_done_once_and_answered_each_time(talk, frame, verb):
    fields = {"object": 3} if verb == "remove" else {}
    data = encode_request("a", verb, fields)
    first, second, third = [], [], []
    talk.send(data, first)
    talk.send(data, second)
    talk.frame_comes(frame)
    talk.send(data, third)
    assert len(talk.controls.calls) == 1
    # While the answer is waited for, whoever asked last gets it.
    assert [len(first) + len(second), len(third)] == ([1, 1] if verb == "remove" else [2, 1])
    assert (first + second)[0] == third[0]


def test_an_id_is_not_used_for_two_things(talk):
    talk.ask("a", "pause")
    assert talk.ask("a", "resume").error == "the id a was used for another request"
    assert talk.controls.calls == ["pause"]


def test_questions_are_answered_anew(talk):
    assert talk.ask("a", "list").values == {"objects": []}
    assert talk.ask("a", "list").values == {"objects": []}
    assert talk.controls.calls == ["situation", "situation"]
    assert talk.ask("b", "metrics").values == {"pipeline": {"captured": 7}}


def test_stopping_going_on_and_ending(talk):
    for i, verb in enumerate(("pause", "resume", "shutdown")):
        assert talk.ask(f"a{i}", verb).error is None
    assert talk.controls.calls == ["pause", "resume", "shut down"]


def test_a_bad_request_changes_nothing_and_may_be_put_right(talk, frame):
    assert "unknown key" in talk.ask("a", "remove", objct=3).error
    assert talk.answers[0].request_id == "a"
    talk.send(b"nonsense")
    assert talk.answers[1].request_id == ""
    assert talk.controls.calls == []
    talk.ask("a", "remove", object=3)
    talk.frame_comes(frame)
    assert talk.answers[-1].effect.index == 5


def test_what_is_remembered_has_an_end(talk):
    for i in range(MAX_REMEMBERED + 1):
        talk.ask(f"r{i}", "pause")
    assert talk.ask("r1", "pause").error is None
    assert len(talk.controls.calls) == MAX_REMEMBERED + 1
    talk.ask("r0", "pause")  # long forgotten
    assert len(talk.controls.calls) == MAX_REMEMBERED + 2


def test_each_request_is_a_line_in_the_log(talk, frame, caplog):
    with caplog.at_level(logging.INFO, "maskstream.control"):
        talk.ask("a", "remove", object=3)
        talk.frame_comes(frame)
        talk.ask("b", "list")
        talk.ask("c", "dance")
        talk.send(encode_request("a", "remove", {"object": 3}))
    assert [record.getMessage() for record in caplog.records if record.name == "maskstream.control"] == [
        "control by 127.0.0.1, a: removal of object 3, from frame 5 on",
        "control by 127.0.0.1, b: list",
        "control by 127.0.0.1, c: bad request: unknown verb 'dance', known are add, correct, show, remove, "
        "rename, detections, pause, resume, shutdown, list, metrics",
        "control by 127.0.0.1, a: repeated",
    ]


def test_what_a_request_brought_is_not_kept(talk, frame):
    """A thousand masks of a large picture would be gigabytes."""
    mask = np.ones((48, 64), bool)
    talk.ask("a", "add", object=3, mask=dict(rle.encode(mask)))
    (order,) = talk.controls.agenda.due(frame)
    kept = weakref.ref(order.command.prompt.mask)
    order.applied(Applied(5, 0, 0.0, (3,)))
    del order
    gc.collect()
    assert kept() is None
    assert talk.answers[0].effect.index == 5
