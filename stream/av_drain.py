"""Packets of a live stream, taken as they come: none waits unseen where it would turn into delay."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from av.packet import Packet
from av.video.stream import VideoStream

from .source_status import SourceCounts

_MOST_BYTES = 64 << 20  # then the network has to wait after all
_LONGEST_SKIP_S = 10.0  # there are streams that never send a key frame


class Arrival(NamedTuple):
    """When a packet reached the program."""

    ns: int  # monotonic clock
    unix_ns: int  # wall clock


def arrival_now() -> Arrival:
    """This moment."""
    return Arrival(time.monotonic_ns(), time.time_ns())


class PacketDrain:
    """Reads packets on a thread of its own and keeps them for the decoder, up to an age.

    What waits in a socket cannot be told from what the camera has just sent: a decoder that falls behind
    would show ever older pictures and nobody could tell. Here packets are stamped as they arrive (`opaque`),
    and when the oldest has waited too long, decoding goes on at a newer key frame. What lies between is
    counted as stale.

    Args:
        packets: blocks until the next one is there.
        max_staleness_ms: how long a packet may wait; None: as long as it takes.
        counts: where what is left out is counted.
        clock: monotonic, in ns.
    """

    def __init__(
        self,
        packets: Iterator[Packet[VideoStream]],
        max_staleness_ms: float | None,
        counts: SourceCounts,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._packets, self._counts, self._clock = packets, counts, clock
        self._max_age_ns = None if max_staleness_ms is None else int(max_staleness_ms * 1e6)
        self._changed = threading.Condition()
        self._waiting: deque[Packet[VideoStream]] = deque()
        self._bytes = 0
        self._skips_until_ns: int | None = None  # leaving out what comes before a key frame, at most so long
        self._ended = self._closed = False
        self._then: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="maskstream-drain", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def get(self) -> Packet[VideoStream] | None:
        """The next packet that is worth decoding; None at the end or after `close()`."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._ended or self._closed)
                self._leave_out_stale()
                if self._closed or (self._ended and not self._waiting):
                    break
                if self._waiting:
                    return self._take()
            if self._error is not None and not self._closed:
                raise self._error
            return None

    def stop(self) -> None:
        """Free who waits in `get`; the thread ends at its next packet."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close(self, then: Callable[[], None]) -> None:
        """As `stop()`; `then` is called as soon as the thread is done, which may be at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if not self._ended:
                self._then = then
                return
        then()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            for packet in self._packets:
                if not self._keep(packet):
                    break
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            then = self._then
            self._changed.notify_all()
        if then is not None:
            then()

    def _keep(self, packet: Packet[VideoStream]) -> bool:
        with self._changed:
            if not self._leaves_out(packet):
                self._waiting.append(packet)
                self._bytes += packet.size
                self._leave_out_stale()
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._bytes < _MOST_BYTES or self._closed)
            return not self._closed

    def _take(self) -> Packet[VideoStream]:
        packet = self._waiting.popleft()
        self._bytes -= packet.size
        self._changed.notify_all()
        return packet

    def _leaves_out(self, packet: Packet[VideoStream]) -> bool:
        """Whether a new packet is of no use, because those before it were left out."""
        if self._skips_until_ns is None:
            return False
        if packet.is_keyframe or self._clock() >= self._skips_until_ns:
            self._skips_until_ns = None
            return False
        self._counts.stale_frames += 1
        return True

    def _leave_out_stale(self) -> None:
        """Where the oldest is too old, go on at the newest key frame; where there is none, at the next."""
        if not self._waiting or not self._is_stale(self._waiting[0]):
            return
        keys = [
            i for i, packet in enumerate(self._waiting) if packet.is_keyframe and not self._is_stale(packet)
        ]
        for _ in range(keys[-1] if keys else len(self._waiting)):
            self._take()
            self._counts.stale_frames += 1
        if not keys:
            self._skips_until_ns = self._clock() + int(_LONGEST_SKIP_S * 1e9)

    def _is_stale(self, packet: Packet[VideoStream]) -> bool:
        if self._max_age_ns is None or not isinstance(packet.opaque, Arrival):
            return False
        return self._clock() - packet.opaque.ns > self._max_age_ns
