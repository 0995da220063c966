"""Masks over ZeroMQ, to any number of subscribers; docs/wire.md describes the messages."""

from __future__ import annotations

import errno
import re
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import zmq
from maskstream.model.errors import SinkError

from . import wire
from .targets import check_folder
from .types import FrameResult, StreamInfo

_ENDPOINT = re.compile(r"^tcp://(?P<host>[^\s/:]+|\[[^\s/]+\]):(?P<port>\d+|\*)$|^ipc://(?P<path>\S+)$")
_EXAMPLES = "tcp://127.0.0.1:5555, tcp://*:5555 for all networks, or ipc:///tmp/masks"
_FILE_BACKLOG = 100_000  # messages: hours of video, for a subscriber that is slower than the run
_LIVE_BACKLOG = 4  # messages: a hiccup; what is older is of no use
_LINGER_S = 5.0
_SHORT_LINGER_S = 0.2  # for live streams, and after a failure
_POLL_MS = 50


class ZmqSink:
    """Publishes one message per frame, and one that says that the stream has ended.

    Nobody has to listen, and nobody who listens can hold the stream up: a subscriber that falls too far
    behind loses messages, which it sees from their sequence numbers. For files, open() waits a moment for the
    first subscriber, so that whoever was started before the run misses nothing.

    Args:
        endpoint: `tcp://HOST:PORT`, `ipc://PATH`, or a port on this machine's loopback: `5555`.
        subscribers: for how many open() waits; by default 1 for files and 0 for live streams.
        wait_s: how long it waits at most; then it begins without them.
        backlog: messages kept for a subscriber that is behind; by default 100,000 for files, 4 for live.
        linger_s: how long close() waits at most for subscribers that are behind; by default 5 for files,
            0.2 for live; not longer than 0.2 after hurry().
        clock: wall clock in ns.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        subscribers: int | None = None,
        wait_s: float = 2.0,
        backlog: int | None = None,
        linger_s: float | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.endpoint = full_endpoint(endpoint)
        self._subscribers, self._wait_s = subscribers, wait_s
        self._backlog, self._linger_s = backlog, linger_s
        self._clock = clock
        self._publisher: _Publisher | None = None

    def check(self) -> None:
        """See that the endpoint is well formed and free; leaves nothing behind.

        Raises:
            SinkError: it is not.
        """
        match = _ENDPOINT.match(self.endpoint)
        if not match:
            raise SinkError(f"cannot publish on {self.endpoint!r}: not an endpoint; use {_EXAMPLES}")
        if match["path"]:
            _check_ipc(Path(match["path"]))
        else:
            _check_tcp(self.endpoint, match["host"].strip("[]"), match["port"])

    def open(self, info: StreamInfo) -> None:
        """Bind, and for a file wait for subscribers, at most `wait_s`. `endpoint` then names the real port.

        Raises:
            SinkError: the endpoint is malformed or in use.
        """
        live = info.is_live
        backlog = (_LIVE_BACKLOG if live else _FILE_BACKLOG) if self._backlog is None else self._backlog
        linger_s = (_SHORT_LINGER_S if live else _LINGER_S) if self._linger_s is None else self._linger_s
        self._publisher = _Publisher(self.endpoint, info, backlog, linger_s, self._clock)
        self.endpoint = self._publisher.endpoint
        subscribers = (0 if live else 1) if self._subscribers is None else self._subscribers
        self._publisher.wait_for(subscribers, self._wait_s)

    def write(self, result: FrameResult) -> None:
        """Publish one frame; never waits."""
        if self._publisher is None:
            raise ValueError("open() comes before write()")
        self._publisher.send_frame(result)

    def close(self) -> None:
        """Publish the end and wait, at most `linger_s`, until those who are behind have everything."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()

    def hurry(self) -> None:
        """The run has failed or was aborted: a close() that has not begun yet will hardly wait."""
        publisher = self._publisher
        if publisher is not None:
            publisher.linger_s = min(publisher.linger_s, _SHORT_LINGER_S)


def full_endpoint(text: str) -> str:
    """The endpoint that a person means; a bare port is on this machine's loopback."""
    return f"tcp://127.0.0.1:{text}" if text.isdecimal() else text


class _Publisher:
    """A bound socket with its sequence of messages.

    It is an XPUB, which unlike PUB tells who subscribes; subscribers see no difference.
    """

    def __init__(
        self, endpoint: str, info: StreamInfo, backlog: int, linger_s: float, clock: Callable[[], int]
    ) -> None:
        self._info, self._clock = info, clock
        self.linger_s = linger_s
        self._sequence = 0
        self._subscribed = 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.sndhwm = backlog
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # tell of every subscriber, not of the first alone
        try:
            _bind(self._socket, endpoint)
        except SinkError:
            self._context.destroy(linger=0)
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def wait_for(self, subscribers: int, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while self._count_subscribers() < subscribers and time.monotonic() < deadline:
            self._socket.poll(_POLL_MS)

    def _count_subscribers(self) -> int:
        while self._socket.poll(0):
            self._subscribed += 1 if self._socket.recv().startswith(b"\x01") else -1
        return self._subscribed

    def send_frame(self, result: FrameResult) -> None:
        self._send(wire.encode(result, self._info, self._sequence, self._clock()))

    def _send(self, message: bytes) -> None:
        self._count_subscribers()  # else what subscribers say would pile up
        self._socket.send(message, zmq.NOBLOCK)
        self._sequence += 1

    def close(self) -> None:
        self._send(wire.encode_end(self._info, self._sequence, self._clock()))
        self._socket.close(round(self.linger_s * 1000))
        self._context.term()
        path = _ipc_path(self.endpoint)
        if path is not None:
            path.unlink(missing_ok=True)


def _bind(publisher: zmq.Socket[bytes], endpoint: str) -> None:
    publisher.ipv6 = "[" in endpoint
    try:
        publisher.bind(endpoint)
    except zmq.ZMQError as error:
        raise _cannot_publish(endpoint, error.errno or 0) from error


def _cannot_publish(endpoint: str, number: int) -> SinkError:
    cure = f"use {_EXAMPLES}"
    if number == errno.EADDRINUSE:
        cure = "choose another port, or stop the program that uses it"
    return SinkError(f"cannot publish on {endpoint}: {zmq.strerror(number)}; {cure}")


def _check_tcp(endpoint: str, host: str, port: str) -> None:
    """Bind for a moment without listening: a subscriber that is waiting already must not meet the probe."""
    number = 0 if port == "*" else int(port)
    if number > 65_535:
        raise SinkError(f"cannot publish on {endpoint}: there is no port {number}; use {_EXAMPLES}")
    if host in {name for _, name in socket.if_nameindex()}:
        return  # ZeroMQ takes the names of interfaces too
    try:
        name = "0.0.0.0" if host == "*" else host
        family, _, _, _, target = socket.getaddrinfo(name, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does
            probe.bind(target)
    except socket.gaierror as error:
        raise SinkError(f"cannot publish on {endpoint}: {error.strerror}; use {_EXAMPLES}") from error
    except OSError as error:
        raise _cannot_publish(endpoint, error.errno or 0) from error


def _ipc_path(endpoint: str) -> Path | None:
    return Path(endpoint.removeprefix("ipc://")) if endpoint.startswith("ipc://") else None


def _check_ipc(path: Path) -> None:
    """ZeroMQ would delete whatever is at `path`, even a file, even another program's open socket."""
    check_folder(path.parent)
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise SinkError(f"cannot publish on ipc://{path}: there is a file of this name; choose another")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise SinkError(f"cannot publish on ipc://{path}: another program uses it; choose another name")
