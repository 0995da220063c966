from __future__ import annotations

import threading

import pytest
import zmq
from maskstream.model.errors import StreamBrokenError
from maskstream.stream import wire
from maskstream.stream.client import Subscriber
from maskstream.stream.source_status import SourceState
from maskstream.stream.stream_status import first_status
from maskstream.stream.wire_fields import pack
from maskstream.stream.zmq_sink import ZmqSink

SOON_S = 20.0


class Wire:
    """A publisher that sends what it is told to, lost and damaged messages too."""

    def __init__(self, context, make_info, make_result):
        self._info, self._make_result = make_info(), make_result
        self._socket = context.socket(zmq.XPUB)
        self._socket.linger = 0
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"

    def wait(self):
        assert self._socket.poll(SOON_S * 1000), "nobody subscribed"
        self._socket.recv()

    def frames(self, *sequences, run="a"):
        for sequence in sequences:
            self.raw(self.frame(sequence, run))

    def frame(self, sequence, run="a"):
        return wire.encode(self._make_result(sequence), self._head(run, sequence))

    def status(self, sequence, run="a"):
        self.raw(wire.encode_status(first_status(self._info, 0.5), self._head(run, sequence)))

    def end(self, sequence, run="a"):
        self.raw(wire.encode_end(SourceState.ENDED, None, self._head(run, sequence)))

    def raw(self, data):
        self._socket.send(data)

    def parts(self, *parts):
        self._socket.send_multipart(parts)

    @staticmethod
    def _head(run, sequence):
        return wire.Head(source="cam", run=run, sequence=sequence, published_unix_ns=0)

    def close(self):
        self._socket.close()


@pytest.fixture
def publisher(make_info, make_result):
    with zmq.Context() as context:
        made = Wire(context, make_info, make_result)
        yield made
        made.close()


@pytest.fixture
def connect(publisher):
    opened = []

    def make(**options):
        opened.append(Subscriber(publisher.endpoint, **options))
        publisher.wait()
        return opened[-1]

    yield make
    for subscriber in opened:
        subscriber.close()
        subscriber.close()


def test_frames_come_in_order_until_the_end_and_loss_is_counted(publisher, connect):
    masks = connect()
    publisher.frames(4, 5, 9)
    publisher.status(12)
    publisher.frames(12)
    publisher.end(14)
    assert [frame.sequence for frame in masks] == [4, 5, 9, 12]
    assert (masks.lost, masks.skipped, masks.damaged, masks.runs) == (3 + 2 + 1, 0, 0, 1)
    assert masks.end.state is SourceState.ENDED
    assert masks.receive() is None


def test_a_publisher_that_starts_again_is_followed_and_what_it_sent_meanwhile_is_lost(publisher, connect):
    masks = connect(follow=True)
    publisher.frames(4)
    publisher.end(5)
    publisher.frames(2, 3, run="b")
    came = iter(masks)
    assert [next(came).run for _ in range(3)] == ["a", "b", "b"]
    assert (masks.lost, masks.runs, masks.end) == (2, 2, None)


def test_only_the_newest_frame_counts_in_a_control_loop(publisher, connect):
    masks = connect(latest=True)
    publisher.frames(*range(50))
    publisher.frames(52)
    publisher.status(53)
    seen = []
    while not seen or seen[-1] < 52:
        seen.append(masks.receive(SOON_S).sequence)
    assert len(seen) < 50
    assert (masks.lost, masks.skipped) == (2, 51 - len(seen))
    publisher.end(53)
    assert masks.receive(SOON_S) is None
    assert masks.end.sequence == 53


def test_a_backlog_larger_than_what_may_wait_is_passed_over_too(publisher, connect):
    masks = connect(latest=True, hwm=4)
    publisher.frames(*range(200))
    while masks.receive(SOON_S).sequence < 199:
        pass
    assert masks.skipped > 0
    assert masks.lost == 0


def test_signs_of_life_are_no_frames(publisher, connect):
    masks = connect(silence_s=3600)
    publisher.status(0)
    assert masks.receive(0.5) is None
    assert masks.status.heartbeat_s == 0.5
    publisher.frames(0)
    assert masks.receive(SOON_S).sequence == 0
    assert masks.status is None


def test_without_anything_the_time_is_up(connect):
    masks = connect()
    assert masks.receive(0) is None
    assert masks.receive(0.05) is None


def test_silence_is_told():
    now_s = iter([0.0, 0.0, 1.9, 2.1, 2.1, 2.1, 2.1])
    with (
        Subscriber("tcp://127.0.0.1:9", silence_s=0.02, clock=lambda: next(now_s)) as masks,
        pytest.raises(StreamBrokenError, match=r"nothing came from tcp://127.0.0.1:9 for 0.02 s: does the"),
    ):
        masks.receive()


def test_what_cannot_be_read_is_counted_and_passed_over(publisher, connect):
    masks = connect()
    publisher.raw(b"\xc1nonsense")
    publisher.frames(0)
    assert masks.receive(SOON_S).sequence == 0
    assert (masks.damaged, masks.lost) == (1, 0)


def test_a_message_of_many_parts_is_one_that_cannot_be_read(publisher, connect):
    masks = connect()
    publisher.parts(publisher.frame(0), *[b"x"] * 10_000)
    publisher.frames(1)
    assert masks.receive(SOON_S).sequence == 1
    assert (masks.damaged, masks.skipped) == (1, 0)


def test_kinds_of_a_newer_publisher_are_passed_over_and_its_version_is_refused(publisher, connect):
    masks = connect()
    publisher.raw(pack({"version": 1, "kind": "weather"}))
    publisher.frames(0)
    assert masks.receive(SOON_S).sequence == 0
    assert masks.damaged == 0
    publisher.raw(pack({"version": 2, "kind": "frame"}))
    with pytest.raises(wire.VersionError, match="update the older side"):
        masks.receive(SOON_S)


def test_masks_of_the_real_sink(make_info, make_result):
    sink = ZmqSink("tcp://127.0.0.1:*", wait_s=SOON_S)
    opening = threading.Thread(target=sink.open, args=(make_info(),))
    sink.check()
    opening.start()
    while sink.endpoint.endswith("*"):
        pass
    with Subscriber(sink.endpoint) as masks:
        opening.join()
        sink.write(make_result(3))
        sink.close()
        (frame,) = masks
    assert (frame.objects[0].mask() == make_result(3).objects[0].mask).all()


def test_it_connects_again(tmp_path, make_info, make_result):
    """The same address, another publisher."""
    first = ZmqSink(f"ipc://{tmp_path}/again", subscribers=0)
    first.open(make_info())
    with Subscriber(first.endpoint, follow=True) as masks:
        second = ZmqSink(first.endpoint, subscribers=1, wait_s=SOON_S)
        first.close()

        def publish():
            second.open(make_info())  # waits for the subscriber
            second.write(make_result(0))
            second.close()

        publishing = threading.Thread(target=publish)
        publishing.start()
        frame = masks.receive(SOON_S)
        publishing.join()
    assert (frame.index, masks.lost) == (0, 0)
