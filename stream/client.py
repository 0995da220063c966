"""A consumer of the messages that a run publishes: newest or every frame, loss, silence, restarts.

with Subscriber("tcp://127.0.0.1:5555", latest=True) as masks:
    for frame in masks:
        for found in frame.objects:
            print(found.object_id, found.state, found.box_xyxy, found.mask().sum())
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Self

import zmq
from maskstream.model.errors import StreamBrokenError

from . import wire
from .keys import ClientKeys
from .wire_messages import EndMessage, FrameMessage, Head, Status, StatusMessage
from .zmq_parts import take_parts

_HEARTBEAT_MS = 1000  # without it a subscriber never notices that the other machine lost its power
_DEAD_AFTER_MS = 5000
_SETTLE_MS = 2  # after a backlog: how long more of it may take to come up


class Subscriber:
    """Frames of a run elsewhere. Connects again by itself, whether the publisher, it or the network was away.

    Iteration ends with the stream, or, to `follow` a publisher that is started again, never. receive() is for
    loops with something else to do. Masks are decoded when they are asked for.

    Args:
        endpoint: where the publisher is: `tcp://HOST:PORT` or `ipc://PATH`.
        latest: give the newest frame of those that came since the last one, and pass over the others.
        follow: go on with the next run when one has ended.
        silence_s: raise StreamBrokenError when not even a sign of life came for so long; None: wait.
        hwm: messages that may wait here, before loss.
        keys: of a publisher that asks for them.
        clock: monotonic, in s.
    """

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5555",
        *,
        latest: bool = False,
        follow: bool = False,
        silence_s: float | None = None,
        hwm: int = 1000,
        keys: ClientKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint, self.latest, self.follow, self.silence_s = endpoint, latest, follow, silence_s
        self.lost = 0  # frames that were published and never arrived
        self.skipped = 0  # frames that arrived and were passed over for newer ones
        self.damaged = 0  # messages that could not be read
        self.runs = 0  # starts of the publisher that were seen
        self.status: Status | None = None  # of the newest sign of life; None since a frame came
        self.end: EndMessage | None = None  # of the run that is over; None while one is on
        self._clock, self._heard_s = clock, clock()
        self._run: str | None = None
        self._expected = 0  # sequence of the next frame
        self._hwm = hwm
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        try:
            self._connect(hwm, keys)
        except BaseException:
            self.close()
            raise

    def _connect(self, hwm: int, keys: ClientKeys | None) -> None:
        client = self._socket
        client.linger, client.rcvhwm, client.ipv6 = 0, hwm, True
        client.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        client.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        client.setsockopt(zmq.HEARTBEAT_TIMEOUT, _DEAD_AFTER_MS)
        client.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        if keys is not None:
            keys.apply(client)
        client.subscribe(b"")
        client.connect(self.endpoint)

    @property
    def silent_s(self) -> float:
        """For how long nothing has come: several times `status.heartbeat_s` says that nobody is there."""
        return self._clock() - self._heard_s

    def __iter__(self) -> Iterator[FrameMessage]:
        """Frames until the end of the stream.

        Raises:
            StreamBrokenError: nothing came for `silence_s`.
            VersionError: the publisher speaks another version.
        """
        while self.end is None or self.follow:
            frame = self.receive()
            if frame is not None:
                yield frame

    def receive(self, timeout_s: float | None = None) -> FrameMessage | None:
        """The next frame, or the newest; None if there is none in time, or the stream has ended: see `end`.

        Raises:
            StreamBrokenError: nothing came for `silence_s`.
            VersionError: the publisher speaks another version.
        """
        until_s = None if timeout_s is None else self._clock() + timeout_s
        while (self.end is None or self.follow) and self._wait(until_s):
            frame = self._newest() if self.latest else self._take()
            if frame is not None:
                return frame
        return None

    def _wait(self, until_s: float | None) -> bool:
        """Wait for a message; False when the time is up."""
        limits = [] if until_s is None else [until_s]
        if self.silence_s is not None:
            limits.append(self._heard_s + self.silence_s)
        while True:
            left_s = min(limits) - self._clock() if limits else None
            if self._socket.poll(None if left_s is None else max(0, math.ceil(left_s * 1000))):
                return True
            if self.silence_s is not None and self.silent_s >= self.silence_s:
                raise StreamBrokenError(
                    f"nothing came from {self.endpoint} for {self.silence_s:g} s: does the publisher run?"
                )
            if until_s is not None and self._clock() >= until_s:
                return False

    def _newest(self) -> FrameMessage | None:
        newest, count = None, 0
        # Where much was waiting, more may wait at the publisher, and comes up as room is made.
        while self._socket.poll(0 if count < self._hwm else _SETTLE_MS):
            frame, count = self._take(), count + 1
            if frame is not None:
                self.skipped += newest is not None
                newest = frame
        return newest

    def _take(self) -> FrameMessage | None:
        """Take one message into account; the frame, if it is one."""
        (data,), dropped = take_parts(self._socket, 1)
        self._heard_s = self._clock()
        if dropped:  # a message is one part
            self.damaged += 1
            return None
        try:
            message = wire.decode(data.bytes)
        except wire.UnknownKindError:
            return None
        except wire.VersionError:
            raise
        except wire.WireError:
            self.damaged += 1
            return None
        self._count(message)
        match message:
            case FrameMessage():
                self.status = None
                return message
            case StatusMessage():
                self.status = message.status
            case EndMessage():
                self.end = message
        return None

    def _count(self, head: Head) -> None:
        """Notice loss and restarts."""
        if head.run != self._run:
            # Of the first run we may have missed the beginning; of those after it, we lost it.
            self._expected = head.sequence if self._run is None else 0
            self._run, self.runs, self.end = head.run, self.runs + 1, None
        self.lost += max(0, head.sequence - self._expected)
        self._expected = head.sequence + isinstance(head, FrameMessage)

    def close(self) -> None:
        """Disconnect. May be called twice."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
