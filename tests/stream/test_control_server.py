"""A run steered over a socket, by the client and by others."""

from __future__ import annotations

import threading

import msgpack
import numpy as np
import pytest
import zmq
from maskstream.model.errors import ConfigError, ControlError
from maskstream.stream import runner
from maskstream.stream.commands import Remove
from maskstream.stream.config import Config
from maskstream.stream.control_client import Controller
from maskstream.stream.control_server import ControlServer
from maskstream.stream.control_wire import MAX_REQUEST_BYTES, encode_request
from maskstream.stream.keys import ClientKeys, make_keys
from maskstream.stream.runner import prepare
from maskstream.stream.summary import Ending

SOON_S = 20.0
ENDLESS = "synthetic:objects=1,frames=1000000,width=64,height=48,fps=100"


@pytest.fixture
def steered(segment_boxes, tmp_path):
    """A run with a control channel, and a controller."""
    begun = []

    def start(source=ENDLESS, options="", keys=None, **config):
        run = prepare(Config(source=source, control=f"ipc://{tmp_path}/control{options}", **config))
        run.pipeline.start()
        begun.append((run, Controller(f"ipc://{tmp_path}/control", timeout_s=SOON_S, keys=keys)))
        return begun[-1]

    yield start
    for run, controller in begun:
        controller.close()
        run.pipeline.close()


def test_objects_come_and_go(steered):
    run, controller = steered()
    added = controller.add(2, box=(10, 10, 20, 30))
    assert added.object_ids == (2,)
    corrected = controller.correct(2, points=[(12, 12)], negative=[(40, 40)], box=(10, 10, 22, 30))
    assert corrected.index > added.index
    renamed = controller.rename(2, 7)
    assert (renamed.object_ids, renamed.pts > corrected.pts) == ((7,), True)
    mask = np.zeros((48, 64), bool)
    mask[5:9, 5:9] = True
    controller.show(3, mask=mask)
    objects = controller.situation()["objects"]
    assert [(found["id"], found["state"], found["box_xyxy"]) for found in objects] == [
        (3, "tracked", [5, 5, 9, 9]),
        (7, "tracked", [10, 10, 22, 30]),
    ]
    assert controller.detections([(10, 10, 22, 31), (30, 30, 40, 40)], replace=True).object_ids == (7, 8)
    controller.remove(7)
    assert [found["id"] for found in controller.situation()["objects"]] == [8]


def test_what_cannot_be_done_is_refused_and_changes_nothing(steered):
    run, controller = steered()
    controller.add(1, box=(1, 1, 9, 9))
    before = controller.situation()["objects"]
    for ask, complaint in (
        (lambda: controller.add(1, box=(1, 1, 9, 9)), "object 1 is tracked already"),
        (lambda: controller.correct(2, box=(1, 1, 9, 9)), "object 2 is not tracked; tracked are: 1"),
        (lambda: controller.add(2, box=(1, 1, 65, 9)), "reaches outside the picture"),
        (lambda: controller.remove(5), "object 5 is not tracked"),
        (lambda: controller.request("dance"), "unknown verb"),
        (lambda: controller.add(2), "prompt 2 is empty"),
    ):
        with pytest.raises(ControlError, match=complaint):
            ask()
    assert controller.situation()["objects"] == before
    assert run.pipeline.error is None


def test_a_later_time(steered):
    run, controller = steered()
    now = controller.show(1, box=(1, 1, 9, 9))
    assert controller.remove(1, pts=now.pts + 20).pts >= now.pts + 20
    assert controller.show(1, box=(1, 1, 9, 9), time_s=0.5, wait=False) is None


def test_stopping_and_going_on(steered):
    run, controller = steered()
    controller.pause()
    assert controller.situation()["paused"]
    waiting = []
    adding = threading.Thread(target=lambda: waiting.append(run.controls.submit(Remove(9)).exception(SOON_S)))
    adding.start()
    in_work = controller.metrics()["pipeline"]["segmented"] + 1  # at most: one had begun
    for _ in range(20):
        assert controller.metrics()["pipeline"]["segmented"] <= in_work
    assert not waiting
    controller.resume()
    adding.join()
    assert "object 9 is not tracked" in str(waiting[0])
    assert not controller.situation()["paused"]
    assert controller.metrics()["source"]["state"] == "running"


def test_a_paused_run_answers_at_once(steered):
    """On a source that breaks: what is asked of a paused run is answered, and done when it goes on."""
    faults = "faults=stall,drop,corrupt,duplicate,disconnect"
    run, controller = steered(source=f"chaos:{ENDLESS}?seed=1&{faults}&every=10&longest_stall_s=0.02")
    controller.add(1, box=(1, 1, 9, 9))
    controller.pause()
    with zmq.Context() as context, context.socket(zmq.DEALER) as once:  # a client that asks once and waits
        once.linger, once.rcvtimeo = 0, round(SOON_S * 1000)
        once.connect(controller.endpoint)
        once.send(encode_request("once", "remove", {"object": 8}))
        assert msgpack.unpackb(once.recv())["pending"]
    assert controller.add(2, box=(10, 10, 20, 30)) is None
    assert controller.remove(9) is None
    assert controller.rename(1, 5) is None
    with pytest.raises(ControlError, match="the run is paused, so nothing has taken effect"):
        controller.outcomes()
    assert controller.situation()["paused"]
    assert "captured" in controller.metrics()["pipeline"]
    controller.resume()
    added, removed, renamed = controller.outcomes()
    assert (added.effect.object_ids, renamed.effect.object_ids) == ((2,), (5,))
    assert "object 9 is not tracked" in removed.error
    assert controller.outcomes() == []
    assert [found["id"] for found in controller.situation()["objects"]] == [2, 5]
    controller.pause()
    controller.shut_down()
    assert run.pipeline.wait(SOON_S)


def test_prompts_go_with_a_picture_that_changes_its_size(segment_boxes, tmp_path):
    """Given on 64x48 px by schedule and by request, due when the camera sends 32x24 px."""
    script = tmp_path / "shrinks.yaml"
    script.write_text(
        "source: synthetic:objects=1,frames=60,width=64,height=48,fps=100\n"
        "pace: fast\nfaults:\n  - {at: 20, do: resize, scale: 0.5}\n"
    )
    results = []
    prompts = ("1:box=25%,25%,75%,75%@0.3", "2:box=40,8,64,48@0.3", "3:box=8,8,16,16@0.1")
    config = Config(source=f"chaos:{script}", prompts=prompts, control=f"ipc://{tmp_path}/control")
    run = prepare(config, on_result=results.append)
    run.pipeline.pause()
    with run.pipeline, Controller(config.control, timeout_s=SOON_S) as controller:
        mask = np.zeros((48, 64), bool)
        mask[10:20, 30:50] = True
        controller.add(4, mask=mask, time_s=0.4)
        controller.detections([(30, 10, 50, 20), (0, 0, 70, 4)], time_s=0.5)
        with pytest.raises(ControlError, match="mask: size must be that of the picture, .48, 64., got"):
            controller.add(9, mask=mask[::2, ::2])
        controller.resume()
        assert [answer.effect.object_ids for answer in controller.outcomes()] == [(4,), (4, 5)]
        run.pipeline.wait(SOON_S)
    assert [results[10].frame.hw, results[-1].frame.hw] == [(48, 64), (24, 32)]
    assert {found.object_id: found.box_xyxy.tolist() for found in results[-1].objects} == {
        1: [8, 6, 24, 18],
        2: [20, 4, 32, 24],
        3: [4, 4, 8, 8],
        4: [15, 5, 25, 10],
        5: [0, 0, 32, 2],
    }


def test_the_run_can_be_ended(steered):
    run, controller = steered()
    controller.add(1, box=(1, 1, 9, 9))
    controller.shut_down()
    assert run.pipeline.wait(SOON_S)
    with pytest.raises(ControlError, match="the stream has ended"):
        controller.remove(1)
    run.pipeline.close()
    assert run.summary().ending is Ending.STOPPED


def test_a_request_may_be_repeated_by_its_id(steered):
    run, controller = steered()
    first = controller.request("add", {"object": 1, "box": [1, 1, 9, 9]}, "mine-1").effect
    assert controller.request("add", {"object": 1, "box": [1, 1, 9, 9]}, "mine-1").effect == first
    with pytest.raises(ControlError, match="the id mine-1 was used for another request"):
        controller.request("remove", {"object": 1}, "mine-1")


def test_nobody_there():
    with (
        Controller("tcp://127.0.0.1:1", timeout_s=0.05) as controller,
        pytest.raises(
            ControlError, match="nobody is there to be steered at tcp://127.0.0.1:1: does the run have"
        ),
    ):
        controller.pause()
    with pytest.raises(ControlError, match=r"cannot steer 5556: .*; write tcp://HOST:PORT"):
        Controller("5556")


def test_no_answer(tmp_path):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as silent:
        silent.linger = 0
        silent.bind(f"ipc://{tmp_path}/silent")
        with (
            Controller(f"ipc://{tmp_path}/silent", timeout_s=0.05) as controller,
            pytest.raises(ControlError, match="did not answer within 0.05 s; what was asked may yet be done"),
        ):
            controller.pause()


def test_plain_sockets_are_served_too(steered):
    """What docs/control.md tells users of other languages."""
    run, controller = steered()
    with zmq.Context() as context:
        for kind in (zmq.REQ, zmq.DEALER):
            with context.socket(kind) as client:
                client.linger, client.rcvtimeo = 0, round(SOON_S * 1000)
                client.connect(controller.endpoint)
                client.send(msgpack.packb({"version": 1, "id": f"plain-{kind}", "verb": "list"}))
                answer = msgpack.unpackb(client.recv())
                assert (answer["id"], answer["ok"], answer["source"]) == (f"plain-{kind}", True, "synthetic")


def test_too_much_is_not_taken(steered):
    run, controller = steered()
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger, client.rcvtimeo = 0, 200
        client.connect(controller.endpoint)
        client.send(bytes(MAX_REQUEST_BYTES + 1))
        with pytest.raises(zmq.Again):
            client.recv()
    assert controller.situation()["objects"] == []


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
@pytest.mark.parametrize("count", [9, 10, 20_000])
def test_a_request_of_many_parts_is_refused_and_the_next_one_taken(steered, kind, count):
    run, controller = steered()
    remove_all = encode_request("all", "detections", {"boxes": [], "replace": True})
    with zmq.Context() as context, context.socket(kind) as client:
        client.linger, client.rcvtimeo = 0, round(SOON_S * 1000)
        client.connect(controller.endpoint)
        client.send_multipart([remove_all] * count)
        answer = msgpack.unpackb(client.recv_multipart()[-1])
        assert (answer["id"], answer["ok"]) == ("", False)
        assert answer["error"] == "a request is one frame, this has too many"
        client.send(msgpack.packb({"version": 1, "id": "next", "verb": "list"}))
        assert msgpack.unpackb(client.recv_multipart()[-1])["id"] == "next"


def test_who_leaves_without_an_answer_holds_up_nobody(steered):
    run, controller = steered()
    controller.pause()
    with zmq.Context() as context:
        for i in range(20):
            with context.socket(zmq.DEALER) as client:
                client.linger = 200
                client.connect(controller.endpoint)
                client.send(encode_request(f"gone-{i}", "remove", {"object": 1}))
    controller.resume()
    controller.add(1, box=(1, 1, 9, 9))


def test_keys(steered, tmp_path):
    server, client, stranger = (make_keys(tmp_path / name) for name in ("server", "friend", "stranger"))
    (tmp_path / "friends").mkdir()
    client[0].rename(tmp_path / "friends" / "friend.key")
    options = f"?key={server[1]}&clients={tmp_path}/friends"
    run, controller = steered(options=options, keys=ClientKeys(server[0], client[1]))
    assert controller.add(1, box=(1, 1, 9, 9)).object_ids == (1,)
    with (
        Controller(controller.endpoint, timeout_s=0.3, keys=ClientKeys(server[0], stranger[1])) as other,
        pytest.raises(ControlError),
    ):
        other.pause()
    assert not run.pipeline.is_paused


@pytest.mark.parametrize(
    ("spec", "error", "complaint"),
    [
        (
            "nonsense",
            ControlError,
            "cannot be steered on 'nonsense': not an endpoint; use tcp://127.0.0.1:5556",
        ),
        ("5556?kay=a", ConfigError, "control: unknown option 'kay', did you mean 'key'?"),
        ("5556?key=missing", ConfigError, "cannot read the key missing"),
        ("5556?clients=a", ControlError, "clients=FOLDER says who may steer, and needs"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_begins(monkeypatch, spec, error, complaint):
    monkeypatch.setattr(runner, "open_source_of", lambda *arguments: pytest.fail("the source was opened"))
    with pytest.raises(error, match=complaint):
        prepare(Config(source=ENDLESS, control=spec))


def test_an_endpoint_in_use_undoes_the_start(steered):
    run, controller = steered()
    threads = threading.active_count()
    other = ControlServer(controller.endpoint)
    with pytest.raises(ControlError, match="another program uses it"):
        other.check()
    server = ControlServer("tcp://127.0.0.1:*")
    server.open(run.controls)
    with pytest.raises(ControlError, match="in use"):
        ControlServer(server.endpoint).open(run.controls)
    server.close()
    server.close()
    assert threading.active_count() == threads


def test_a_defect_is_answered_and_the_next_request_served(steered, monkeypatch, caplog):
    run, controller = steered()
    monkeypatch.setattr(run.controls, "situation", lambda: 1 / 0)
    with pytest.raises(ControlError, match="could not be handled; the log of the run says more"):
        controller.situation()
    assert "ZeroDivisionError" in caplog.text
    controller.pause()
