"""Packets that wait are stamped when they come, and too old ones are not decoded."""

from __future__ import annotations

import threading
import time

import av
import numpy as np
import pytest
from maskstream.stream.av_drain import Arrival, PacketDrain
from maskstream.stream.source_status import SourceCounts
from maskstream.stream.sources import open_source

MS = 1_000_000


class FakeClock:
    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture
def packets(make_clip):
    """24 packets, a key frame at every eighth."""
    path = make_clip("clip.mkv", frames=24, options={"g": "8", "sc_threshold": "0", "bf": "0"})
    with av.open(str(path)) as container:
        yield [packet for packet in container.demux(video=0) if packet.size]


class Feed:
    """Packets that arrive when told; each says when."""

    def __init__(self, packets):
        self._packets = packets
        self._changed = threading.Condition()
        self._allowed = self._asked = 0

    def arrive(self, count, clock, noticed=True):
        """Some packets come; returns when they have been dealt with, if anybody will."""
        with self._changed:
            for packet in self._packets[self._allowed : self._allowed + count]:
                packet.opaque = Arrival(clock(), 0)
            self._allowed += count
            self._changed.notify_all()
            assert not noticed or self._changed.wait_for(lambda: self._asked >= self._allowed, 10)

    def __iter__(self):
        for number, packet in enumerate(self._packets):
            self._ask(number)
            with self._changed:
                assert self._changed.wait_for(lambda number=number: number < self._allowed, 10)
            yield packet
        self._ask(len(self._packets))

    def _ask(self, number):
        with self._changed:
            self._asked = number
            self._changed.notify_all()


def make_drain(packets, max_staleness_ms):
    clock, counts = FakeClock(), SourceCounts()
    feed = Feed(packets)
    drain = PacketDrain(iter(feed), max_staleness_ms, counts, clock)
    drain.start()
    return drain, feed, clock, counts


def test_what_is_taken_in_time_is_all_given(packets):
    drain, feed, clock, counts = make_drain(packets, 100)
    feed.arrive(24, clock)
    clock.now_ns = 100 * MS
    assert [drain.get() for _ in range(25)] == [*packets, None]
    assert counts.stale_frames == 0


def test_decoding_goes_on_at_the_newest_key_frame_that_is_young_enough(packets):
    drain, feed, clock, counts = make_drain(packets, 100)
    feed.arrive(4, clock)
    clock.now_ns = 60 * MS
    feed.arrive(16, clock)  # with key frames 8 and 16
    clock.now_ns = 150 * MS  # the first are too old now
    assert drain.get() is packets[16]
    assert counts.stale_frames == 16
    feed.arrive(4, clock)
    assert [drain.get() for _ in range(8)] == [*packets[17:], None]


def test_without_a_young_key_frame_the_next_one_is_waited_for(packets):
    drain, feed, clock, counts = make_drain(packets, 100)
    feed.arrive(6, clock)
    clock.now_ns = 101 * MS
    feed.arrive(1, clock)  # at the latest now the first six are found too old
    clock.now_ns = 150 * MS
    feed.arrive(3, clock)
    assert drain.get() is packets[8]
    assert counts.stale_frames == 8


def test_a_stream_without_key_frames_goes_on_after_a_while(packets):
    no_keys = [packet for packet in packets if not packet.is_keyframe]
    drain, feed, clock, counts = make_drain(no_keys, 100)
    feed.arrive(6, clock)
    clock.now_ns = 101 * MS
    feed.arrive(4, clock)
    clock.now_ns += 11_000 * MS
    feed.arrive(11, clock)
    assert drain.get() is no_keys[10]
    assert counts.stale_frames == 10


def test_without_a_limit_all_is_kept(packets):
    drain, feed, clock, counts = make_drain(packets, None)
    feed.arrive(24, clock)
    clock.now_ns = 3_600_000 * MS
    assert [drain.get() for _ in range(25)] == [*packets, None]
    assert counts.stale_frames == 0


def test_closing_frees_who_waits_and_lets_go_when_nobody_reads(packets):
    drain, feed, clock, _ = make_drain(packets, None)
    got, let_go = [], threading.Event()
    getting = threading.Thread(target=lambda: got.append(drain.get()))
    getting.start()
    drain.close(then=let_go.set)
    getting.join(5)
    assert got == [None]
    assert not let_go.is_set()  # its thread is still in FFmpeg
    feed.arrive(1, clock, noticed=False)
    assert let_go.wait(5)
    drain.join(5)
    again = threading.Event()
    drain.close(then=again.set)
    assert again.is_set()


def test_an_error_while_reading_comes_after_what_was_read(packets):
    def broken():
        yield packets[0]
        raise OSError("unplugged")

    drain = PacketDrain(broken(), None, SourceCounts())
    drain.start()
    assert drain.get() is packets[0]
    with pytest.raises(OSError, match="unplugged"):
        drain.get()


# whole sources


def test_frames_are_as_old_as_their_packets(rtsp):
    """Frames that nobody took waited here, and say so."""
    with open_source(f"rtsp://{rtsp}/live") as source:
        next(source)
        time.sleep(0.6)
        ages_s = [(time.monotonic_ns() - next(source).captured_ns) / 1e9 for _ in range(10)]
    assert max(ages_s) > 0.4


def test_a_consumer_that_pauses_gets_nothing_older_than_the_limit(rtsp):
    with open_source(f"rtsp://{rtsp}/live", max_staleness_ms=300) as source:
        frames = [next(source)]
        time.sleep(2.2)  # two key frames pass
        frames += [next(source) for _ in range(12)]
        newest_s = (time.monotonic_ns() - frames[-1].captured_ns) / 1e9
        counts = source.status().counts
    assert newest_s < 0.5
    assert counts.stale_frames > 20
    missing = frames[-1].index + 1 - len(frames)
    assert missing <= counts.stale_frames  # a drop leaves a gap
    assert missing > 10
    assert np.diff([frame.pts for frame in frames]).min() > 0
