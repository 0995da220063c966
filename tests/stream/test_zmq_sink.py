from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq
from maskstream.model.errors import SinkError
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream import wire
from maskstream.stream.mask_sink import MaskSink
from maskstream.stream.source_status import SourceCounts, SourceState, SourceStatus
from maskstream.stream.zmq_sink import ZmqSink
from pycocotools import mask as coco

# pycocotools 2.0.11 has not heard of numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SUBSCRIBER = Path(__file__).parents[2] / "scripts" / "subscribe.py"
ANY_PORT = "tcp://127.0.0.1:*"


@pytest.fixture
def context():
    with zmq.Context() as made:
        yield made


@pytest.fixture
def free_endpoint():
    """Below the ports that the system gives to those who connect: else a subscriber might meet itself."""
    while True:
        port = random.randint(20_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{port}"


@pytest.fixture
def subscribe(context):
    opened = []

    def connect(endpoint, backlog=1000):
        listening = context.socket(zmq.SUB)
        listening.rcvhwm = backlog
        opened.append(listening)
        listening.rcvtimeo = 10_000
        listening.subscribe(b"")
        listening.connect(endpoint)
        return listening

    yield connect
    for listening in opened:
        listening.close(linger=0)


def receive_all(listening):
    """Frames and the end; signs of life may come between them on a busy machine."""
    messages = []
    while True:
        message = msgpack.unpackb(listening.recv())
        if message["kind"] != "status":
            messages.append(message)
        if message["kind"] == "end":
            return messages


def test_a_subscriber_that_was_there_first_gets_every_mask_as_in_the_files(
    tmp_path, subscribe, free_endpoint, make_info, make_result
):
    listening = subscribe(free_endpoint)  # nobody publishes yet
    sinks = [ZmqSink(free_endpoint), MaskSink(tmp_path / "masks")]
    for sink in sinks:
        sink.check()
        sink.open(make_info())
    for index in range(300):
        for sink in sinks:
            sink.write(make_result(index))
    for sink in sinks:
        sink.close()
        sink.close()

    *frames, end = receive_all(listening)
    lines = [json.loads(line) for line in (tmp_path / "masks" / "masks.jsonl").read_text().splitlines()]
    assert [frame["sequence"] for frame in frames] == list(range(300))
    assert (end["kind"], end["sequence"]) == ("end", 300)
    for frame, line in zip(frames, lines, strict=True):
        assert (frame["index"], frame["pts"]) == (line["index"], line["pts"])
        for sent, written in zip(frame["objects"], line["objects"], strict=True):
            assert sent["rle"]["counts"].decode() == written["rle"]["counts"]
    sent, written = frames[-1]["objects"][0], lines[-1]["objects"][0]
    np.testing.assert_array_equal(coco.decode(sent["rle"]), coco.decode(written["rle"]))


def test_the_example_subscriber_prints_a_line_per_frame(free_endpoint, make_info, make_result):
    command = [sys.executable, str(SUBSCRIBER), free_endpoint, "--timeout", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        sink = ZmqSink(free_endpoint, wait_s=20)
        sink.open(make_info())
        for index in range(3):
            sink.write(make_result(index))
        sink.close()
        lines = process.communicate(timeout=20)[0].splitlines()
    assert process.returncode == 0
    assert len(lines) == 4
    assert lines[1].startswith("frame 1  t=0.040 s  age=")
    assert "#1 tracked at (15.0, 24.0)" in lines[1]
    assert lines[1].endswith("#3 lost")
    assert lines[-1] == "the stream has ended after 3 messages"


def test_it_waits_for_as_many_subscribers_as_told(subscribe, make_info, free_endpoint):
    sink = ZmqSink(free_endpoint, subscribers=2, wait_s=20)
    opening = threading.Thread(target=sink.open, args=(make_info(),))
    opening.start()
    first = subscribe(free_endpoint)
    opening.join(0.5)
    assert opening.is_alive()
    second = subscribe(free_endpoint)
    opening.join(10)
    assert not opening.is_alive()
    sink.close()
    assert [receive_all(listening)[-1]["kind"] for listening in (first, second)] == ["end", "end"]


def test_whoever_only_talks_is_no_subscriber(context, subscribe, make_info, free_endpoint):
    sink = ZmqSink(free_endpoint, subscribers=2, wait_s=20)
    opening = threading.Thread(target=sink.open, args=(make_info(),))
    opening.start()
    with context.socket(zmq.XSUB) as talker:
        talker.linger, talker.rcvtimeo = 0, 10_000
        talker.connect(free_endpoint)
        talker.send(b"\x01")  # one subscriber, who goes on talking
        talker.send(b"a word")
        talker.send_multipart([b"many"] * 1000)
        listening = subscribe(free_endpoint)
        opening.join(10)
        assert not opening.is_alive()
        sink.close()
        assert [receive_all(each)[-1]["kind"] for each in (talker, listening)] == ["end", "end"]


@pytest.mark.parametrize("keep", ["all", "latest"])
def test_a_subscriber_that_sends_much_is_cut_off(context, make_info, keep):
    sink = ZmqSink(ANY_PORT, keep=keep, subscribers=0)
    sink.open(make_info())
    with context.socket(zmq.XSUB) as talker:
        talker.linger = 0
        talker.setsockopt(zmq.RECONNECT_IVL, -1)
        with talker.get_monitor_socket(zmq.EVENT_DISCONNECTED) as cut_off:
            talker.connect(sink.endpoint)
            talker.send(b"x" * 1_000_000)
            assert cut_off.poll(10_000)
            talker.disable_monitor()
    sink.close()


@pytest.mark.parametrize(("is_live", "wait_s"), [(False, 0.2), (True, 60)])
def test_without_subscribers_it_begins_after_the_wait_and_a_live_stream_at_once(make_info, is_live, wait_s):
    sink = ZmqSink(ANY_PORT, wait_s=wait_s)
    begun = time.monotonic()
    sink.open(make_info(is_live=is_live))
    assert time.monotonic() - begun < 10
    sink.close()


@pytest.fixture(scope="module")
def noisy_result(make_result):
    """A message of 45 kB: 300 of them are more than the system's own buffers hold."""
    mask = np.random.default_rng(0).random((240, 320)) > 0.5
    noise = ObjectMask(1, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, 0.5)
    return make_result(hw=(240, 320), objects=[noise])


def test_a_stalled_subscriber_of_a_live_stream_does_not_hold_up_its_end(
    subscribe, free_endpoint, make_info, noisy_result
):
    sink = ZmqSink(free_endpoint, subscribers=1, wait_s=20)
    subscribe(free_endpoint, backlog=1)
    sink.open(make_info(is_live=True))
    for _ in range(300):
        sink.write(noisy_result)
    begun = time.monotonic()
    sink.close()
    assert time.monotonic() - begun < 5


def test_a_stalled_subscriber_does_not_hold_up_a_run_that_has_failed(
    subscribe, free_endpoint, make_info, noisy_result
):
    sink = ZmqSink(free_endpoint, wait_s=20, linger_s=60)
    subscribe(free_endpoint, backlog=1)
    sink.open(make_info())
    for _ in range(300):
        sink.write(noisy_result)
    sink.hurry()
    begun = time.monotonic()
    sink.close()
    assert time.monotonic() - begun < 5
    sink.hurry()


def test_nobody_is_waited_for_any_more_once_a_run_is_to_end(free_endpoint, make_info):
    sink = ZmqSink(free_endpoint, subscribers=1, wait_s=60)
    hurry = threading.Timer(0.2, sink.hurry, [1.2])
    begun = time.monotonic()
    hurry.start()
    sink.open(make_info())
    sink.close()
    assert 0.2 < time.monotonic() - begun < 10
    hurry.join()


def test_a_stalled_subscriber_is_waited_for_as_long_as_a_run_that_ends_allows(
    subscribe, free_endpoint, make_info, noisy_result
):
    sink = ZmqSink(free_endpoint, wait_s=20, linger_s=60)
    subscribe(free_endpoint, backlog=1)
    sink.open(make_info())
    for _ in range(300):
        sink.write(noisy_result)
    sink.hurry(1.0)
    begun = time.monotonic()
    sink.close()
    assert 0.5 < time.monotonic() - begun < 10


def test_a_slow_subscriber_of_a_live_stream_loses_what_is_old(
    subscribe, free_endpoint, make_info, noisy_result
):
    sink = ZmqSink(free_endpoint, subscribers=1, wait_s=20, linger_s=30)
    listening = subscribe(free_endpoint, backlog=1)
    sink.open(make_info(is_live=True))
    for _ in range(300):
        sink.write(noisy_result)
    closing = threading.Thread(target=sink.close)
    closing.start()
    count = 0
    while listening.poll(500):
        listening.recv()
        count += 1
    closing.join(10)
    assert not closing.is_alive()
    assert 0 < count < 300


def test_a_slow_subscriber_of_a_file_gets_everything(subscribe, free_endpoint, make_info, noisy_result):
    sink = ZmqSink(free_endpoint, wait_s=20, linger_s=30)
    listening = subscribe(free_endpoint, backlog=1)
    sink.open(make_info())
    for _ in range(300):
        sink.write(noisy_result)
    closing = threading.Thread(target=sink.close)
    closing.start()
    assert [message["sequence"] for message in receive_all(listening)] == list(range(301))
    closing.join(10)
    assert not closing.is_alive()


def test_messages_are_decoded_to_types_and_carry_the_publish_time(
    subscribe, free_endpoint, make_info, make_result
):
    listening = subscribe(free_endpoint)
    sink = ZmqSink(free_endpoint, clock=lambda: 42, heartbeat_s=0)
    sink.open(make_info())
    sink.write(make_result(5))
    sink.close()
    frame, end = wire.decode(listening.recv()), wire.decode(listening.recv())
    assert (frame.index, frame.published_unix_ns) == (5, 42)
    assert isinstance(end, wire.EndMessage)
    assert frame.run == end.run
    assert len(frame.run) == 16


def test_the_newest_reaches_a_slow_subscriber_where_only_the_latest_is_kept(
    subscribe, free_endpoint, make_info, noisy_result
):
    sink = ZmqSink(free_endpoint, keep="latest", linger_s=30, heartbeat_s=0)
    sink.check()
    listening = subscribe(free_endpoint, backlog=1)
    sink.open(make_info(is_live=True))
    while not listening.poll(10):  # nobody tells when it has subscribed
        sink.write(noisy_result)
    for _ in range(300):
        sink.write(noisy_result)
    last = msgpack.unpackb(listening.recv())["sequence"]
    sequences = []
    while listening.poll(500):
        sequences.append(msgpack.unpackb(listening.recv())["sequence"])
    sink.write(noisy_result)
    assert last < sequences[-1] == msgpack.unpackb(listening.recv())["sequence"] - 1
    assert len(sequences) < 300
    sink.close()
    assert receive_all(listening)[-1]["kind"] == "end"


def status(state, error=None):
    return SourceStatus(state, 1_700_000_000_000_000_000, 7, 80, None, 0, error, SourceCounts())


class Telling:
    """A stream that says how it is doing."""

    def __init__(self, state=SourceState.RUNNING, paused=False, error=None):
        self.state, self.paused, self.error = state, paused, error

    def source(self):
        return status(self.state, self.error)

    def is_paused(self):
        return self.paused


def test_signs_of_life_come_while_no_frame_does(subscribe, free_endpoint, make_info, make_result):
    sink, telling = ZmqSink(free_endpoint, heartbeat_s=0.05, wait_s=20), Telling()
    listening = subscribe(free_endpoint)
    sink.watch(telling.source, telling.is_paused)
    sink.open(make_info())
    first = next_status(listening)
    assert (first.sequence, first.status.index, first.status.heartbeat_s) == (0, None, 0.05)
    assert (first.status.width_px, first.status.is_live) == (64, False)
    sink.write(make_result(2))
    while (told := next_status(listening)).sequence == 0:
        pass
    assert told.sequence == 1
    assert (told.status.index, told.status.pts, told.status.state) == (2, 80, SourceState.RUNNING)
    assert told.status.objects[0] == wire.LastSeen(1, TrackState.TRACKED, 0.9, (11, 15, 30, 34))
    sink.close()


def test_a_change_of_state_is_told_at_once(subscribe, free_endpoint, make_info, make_result):
    sink, telling = ZmqSink(free_endpoint, heartbeat_s=3600, wait_s=20), Telling()
    listening = subscribe(free_endpoint)
    sink.watch(telling.source, telling.is_paused)
    sink.open(make_info())
    sink.write(make_result(2))
    for change in (
        {"state": SourceState.RECONNECTING, "error": "refused"},
        {"paused": True},
        {"paused": False},
    ):
        vars(telling).update(change)
        told = next_status(listening).status
        assert (told.state, told.reason) == (SourceState.RECONNECTING, "refused")
        assert told.paused == telling.paused
    telling.state = SourceState.FAILED
    assert next_status(listening).status.state is SourceState.FAILED
    sink.close()
    end = receive_all(listening)[-1]
    assert (end["state"], end["reason"], end["sequence"]) == ("failed", "refused", 1)


def next_status(listening):
    while True:
        message = wire.decode(listening.recv())
        if isinstance(message, wire.StatusMessage):
            return message


def test_the_latest_alone_has_no_backlog_and_counts_nobody():
    for options in ({"hwm": 3}, {"subscribers": 1}):
        with pytest.raises(SinkError, match="keep=latest knows no subscribers to wait for, and no hwm"):
            ZmqSink(ANY_PORT, keep="latest", **options).check()


@pytest.mark.parametrize(
    "endpoint",
    [
        "nonsense",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:port",
        "udp://127.0.0.1:5555",
        "ipc://",
        "",
    ],
)
def test_a_malformed_endpoint_is_named_at_once(endpoint):
    with pytest.raises(SinkError, match=r"not an endpoint; use tcp://127.0.0.1:5555"):
        ZmqSink(endpoint).check()


def test_a_port_that_cannot_be_is_named_at_once():
    with pytest.raises(SinkError, match="there is no port 99999"):
        ZmqSink("tcp://*:99999").check()


def test_an_address_of_another_machine_is_named_at_once():
    with pytest.raises(
        SinkError, match=r"cannot publish on tcp://192.0.2.1:5555: Cannot assign requested address"
    ):
        ZmqSink("tcp://192.0.2.1:5555").check()


def test_an_endpoint_in_use_is_named_at_once_and_at_open(context, make_info):
    with context.socket(zmq.PUB) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        sink = ZmqSink(str(port))
        for attempt in (sink.check, lambda: sink.open(make_info())):
            with pytest.raises(
                SinkError, match=rf"127.0.0.1:{port}: Address already in use; choose another port"
            ):
                attempt()
        sink.close()


def test_the_check_leaves_the_endpoint_free(free_endpoint, make_info):
    sink = ZmqSink(free_endpoint, wait_s=0)
    for _ in range(3):
        sink.check()
    sink.open(make_info())
    sink.close()


def test_ipc_works_and_spares_other_people_s_files(tmp_path, subscribe, make_info, make_result):
    path = tmp_path / "masks.sock"
    sink = ZmqSink(f"ipc://{path}")
    sink.check()
    assert not path.exists()
    listening = subscribe(sink.endpoint)
    sink.open(make_info())
    with pytest.raises(SinkError, match="another program uses it"):
        ZmqSink(f"ipc://{path}").check()
    sink.write(make_result())
    sink.close()
    assert len(receive_all(listening)) == 2
    path.write_text("not a socket")
    with pytest.raises(SinkError, match="there is a file of this name"):
        ZmqSink(f"ipc://{path}").check()
    assert path.read_text() == "not a socket"
