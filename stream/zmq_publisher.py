"""A bound socket with its run of messages: frames as they come, signs of life while none does, the end."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import zmq

from . import wire
from .keys import Doorman, ServerKeys
from .records import mask_codes
from .source_status import SourceState, SourceStatus
from .stream_status import first_status, with_last, with_source
from .types import FrameResult, StreamInfo
from .zmq_endpoint import Endpoint
from .zmq_parts import take_parts

Keep = Literal["all", "latest"]

_POLL_MS = 50
_LOOK_S = 0.1  # how often a change of state, or a due sign of life, is looked for
# Where only the latest is kept, ZeroMQ drops a message that is sent in the very moment in which it reads the
# one before, for another follows soon (libzmq, dbuffer.hpp). None follows the end.
_LATEST_ENDS = 4
_BETWEEN_ENDS_S = 0.01
_MOST_HEARD = 1024  # bytes of what a subscriber may say: that it comes or goes, or shows its key
_COUNTS = {b"\x01": 1, b"\x00": -1}  # of subscribers, by what one says; all else counts nothing
_LIVE_BUFFER = 256 * 1024  # bytes in the system's own buffer: what waits there can no longer be passed over


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """How messages are kept for subscribers, and for how long."""

    keep: Keep  # all, as many as `hwm`; or the latest alone
    hwm: int  # messages for each subscriber that is behind; 0 is no limit
    heartbeat_s: float  # 0: none
    linger_s: float


class Publisher:
    """Sends a run's messages. Any thread may send; none ever waits for a subscriber.

    Where all messages are kept it is an XPUB, which unlike PUB tells who subscribes; where only the latest
    is, a PUB, for that alone can replace what waits. Subscribers see no difference.

    Args:
        endpoint: where.
        info: of the stream.
        settings: how.
        keys: whom it lets in; None: all.
        clock: wall clock in ns.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        info: StreamInfo,
        settings: PublisherSettings,
        keys: ServerKeys | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.settings = settings
        self._endpoint, self._clock = endpoint, clock
        self._lock = threading.Lock()  # a socket is used by one thread at a time
        self._head = wire.Head(
            source=info.source_id, run=secrets.token_hex(8), sequence=0, published_unix_ns=0
        )
        self._subscribed = 0
        self._sent_s = time.monotonic()
        self._status = first_status(info, settings.heartbeat_s)
        self._told = (self._status.state, self._status.paused)
        self._context = zmq.Context()
        self._doorman: Doorman | None = None
        try:
            self._socket = self._make_socket(info.is_live)
            self._doorman = None if keys is None else keys.guard(self._context, self._socket)
            self.endpoint = endpoint.bind(self._socket)
        except BaseException:
            if self._doorman is not None:
                self._doorman.stop()
            self._context.destroy(linger=0)
            raise

    def _make_socket(self, is_live: bool) -> zmq.Socket[bytes]:
        is_latest = self.settings.keep == "latest"
        made: zmq.Socket[bytes] = self._context.socket(zmq.PUB if is_latest else zmq.XPUB)
        made.setsockopt(zmq.MAXMSGSIZE, _MOST_HEARD)
        if is_latest:
            made.setsockopt(zmq.CONFLATE, 1)
        else:
            made.sndhwm = self.settings.hwm
            made.setsockopt(zmq.XPUB_VERBOSER, 1)  # tell of every subscriber, not of the first alone
        if is_latest or is_live:
            made.setsockopt(zmq.SNDBUF, _LIVE_BUFFER)
        return made

    def wait_for(self, subscribers: int, is_over: Callable[[], bool]) -> None:
        """Wait until there are so many, or the time is over."""
        with self._lock:
            while self._count_subscribers() < subscribers and not is_over():
                self._socket.poll(_POLL_MS)

    def _count_subscribers(self) -> int:
        while self.settings.keep == "all" and self._socket.poll(0):
            (said, *_), _ = take_parts(self._socket, 1)
            self._subscribed += _COUNTS.get(said.bytes[:1], 0)
        return self._subscribed

    def send_frame(self, result: FrameResult) -> None:
        """Publish one frame."""
        mask_codes(result)  # before the lock: this is what takes time
        with self._lock:
            self._send(wire.encode(result, self._next_head()))
            self._head = replace(self._head, sequence=self._head.sequence + 1)
            self._status = with_last(self._status, result)
            self._told = (SourceState.RUNNING, self._told[1])

    def send_status(self, source: SourceStatus | None, paused: bool) -> None:
        """Publish how the stream is doing, if that has changed, or if nothing was sent for too long."""
        with self._lock:
            self._status = with_source(self._status, source, paused)
            now = (self._status.state, paused)
            is_news = now != self._told and (now[0] not in _WITHOUT_WORDS or paused != self._told[1])
            if is_news or time.monotonic() - self._sent_s >= self.settings.heartbeat_s:
                self._told = now
                self._send(wire.encode_status(self._status, self._next_head()))

    def _next_head(self) -> wire.Head:
        return replace(self._head, published_unix_ns=self._clock())

    def _send(self, message: bytes) -> None:
        self._count_subscribers()  # else what subscribers say would pile up
        self._socket.send(message, zmq.NOBLOCK)
        self._sent_s = time.monotonic()

    def close(self, source: SourceStatus | None, linger_s: float) -> None:
        """Publish the end, and wait at most so long until those who are behind have everything."""
        has_failed = source is not None and source.state is SourceState.FAILED
        state = SourceState.FAILED if has_failed else SourceState.ENDED
        with self._lock:
            reason = source.last_error if source is not None and has_failed else None
            self._send_end(wire.encode_end(state, reason, self._next_head()))
            self._socket.close(round(linger_s * 1000))
        if self._doorman is not None:
            self._doorman.stop()
        self._context.term()
        self._endpoint.tidy()

    def _send_end(self, message: bytes) -> None:
        self._send(message)
        for _ in range(_LATEST_ENDS - 1 if self.settings.keep == "latest" else 0):
            time.sleep(_BETWEEN_ENDS_S)
            self._send(message)


# A frame tells that it runs, and the last message that it has ended.
_WITHOUT_WORDS = (SourceState.RUNNING, SourceState.ENDED)


class Heartbeat:
    """Calls a function ten times a second from a thread of its own, until it is closed."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.wait(_LOOK_S):
            self._beat()

    def close(self) -> None:
        """No more calls. May be called twice."""
        self._closing.set()
        self._thread.join()
