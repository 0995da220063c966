"""Masks over ZeroMQ, to any number of subscribers; docs/wire.md describes the messages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from maskstream.model.errors import SinkError

from .keys import ServerKeys, check_guard
from .source_status import SourceStatus
from .types import FrameResult, StreamInfo
from .zmq_endpoint import Endpoint
from .zmq_publisher import Heartbeat, Keep, Publisher, PublisherSettings

_FILE_HWM = 10_000  # messages: minutes of video, for a subscriber that is slower than the run
_LIVE_HWM = 4  # messages: a hiccup; what is older is of no use
_LINGER_S = 5.0
_SHORT_LINGER_S = 0.2  # for live streams, and after a failure


def _never() -> bool:
    return False


def _unknown() -> None:
    return None


class ZmqSink:
    """Publishes one message per frame, signs of life while none comes, and one that says that it has ended.

    Nobody has to listen, and nobody who listens can hold the stream up: a subscriber that falls too far
    behind loses messages, which it sees from their sequence numbers. For files, open() waits a moment for the
    first subscriber, so that whoever was started before the run misses nothing.

    Args:
        endpoint: `tcp://HOST:PORT`, `ipc://PATH`, or a port on this machine's loopback: `5555`.
        keep: for a subscriber that is behind, `all` messages (`hwm` of them, then no more until it has caught
            up), or only the `latest`.
        hwm: messages kept for a subscriber that is behind; by default 10,000 for files, 4 for live.
        heartbeat_s: for how long nothing may be sent before a sign of life is; 0 for none.
        subscribers: for how many open() waits; by default 1 for files, 0 for live streams and `latest`.
        wait_s: how long it waits at most; then it begins without them.
        linger_s: how long close() waits at most for subscribers that are behind; by default 5 for files,
            0.2 for live; after hurry() not longer than that says.
        key: secret key file of this publisher: messages are then encrypted, see keys.py.
        clients: with a key, a folder of the public keys of those who may subscribe; None: whoever has ours.
        clock: wall clock in ns.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        keep: Keep = "all",
        hwm: int | None = None,
        heartbeat_s: float = 1.0,
        subscribers: int | None = None,
        wait_s: float = 2.0,
        linger_s: float | None = None,
        key: Path | None = None,
        clients: Path | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._endpoint = Endpoint(endpoint, "publish on", SinkError, 5555)
        self._keep, self._hwm, self._heartbeat_s = keep, hwm, heartbeat_s
        self._subscribers, self._wait_s, self._linger_s = subscribers, wait_s, linger_s
        self._key, self._clients = key, clients
        self._clock = clock
        self._source: Callable[[], SourceStatus | None] = _unknown
        self._is_paused: Callable[[], bool] = _never
        self._publisher: Publisher | None = None
        self._heartbeat: Heartbeat | None = None
        self._hurry_until_s = math.inf
        self.endpoint = self._endpoint.text

    def check(self) -> None:
        """See that the endpoint is well formed and free, and the keys are there; leaves nothing behind.

        Raises:
            SinkError: it is not.
            ConfigError: a key cannot be read.
        """
        if self._keep == "latest" and (self._subscribers or self._hwm is not None):
            raise SinkError(
                "keep=latest knows no subscribers to wait for, and no hwm: leave these out, or keep=all"
            )
        self._endpoint.check()
        check_guard(self._endpoint, self._keys(), "read what is seen")

    def watch(self, source: Callable[[], SourceStatus | None], is_paused: Callable[[], bool]) -> None:
        """Where to ask how the stream is doing; called before open(), if at all."""
        self._source, self._is_paused = source, is_paused

    def open(self, info: StreamInfo) -> None:
        """Bind, and for a file wait for subscribers, at most `wait_s`. `endpoint` then names the real port.

        Raises:
            SinkError: the endpoint is malformed or in use.
        """
        is_brief = info.is_live or self._keep == "latest"
        hwm = (_LIVE_HWM if is_brief else _FILE_HWM) if self._hwm is None else self._hwm
        linger_s = (_SHORT_LINGER_S if is_brief else _LINGER_S) if self._linger_s is None else self._linger_s
        settings = PublisherSettings(self._keep, hwm, self._heartbeat_s, linger_s)
        publisher = Publisher(self._endpoint, info, settings, self._keys(), self._clock)
        self._publisher, self.endpoint = publisher, publisher.endpoint
        if self._heartbeat_s:
            self._heartbeat = Heartbeat(lambda: publisher.send_status(self._source(), self._is_paused()))
        subscribers = (0 if is_brief else 1) if self._subscribers is None else self._subscribers
        until_s = time.monotonic() + self._wait_s
        publisher.wait_for(subscribers, lambda: time.monotonic() >= until_s or self._is_hurried)

    def _keys(self) -> ServerKeys | None:
        if self._key is None and self._clients is not None:
            raise SinkError(
                "clients=FOLDER says who may subscribe, and needs the publisher's own key=FILE.key_secret"
            )
        return None if self._key is None else ServerKeys(self._key, self._clients)

    def write(self, result: FrameResult) -> None:
        """Publish one frame; never waits."""
        if self._publisher is None:
            raise ValueError("open() comes before write()")
        self._publisher.send_frame(result)

    def close(self) -> None:
        """Publish the end and wait, at most `linger_s`, until those who are behind have everything."""
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.close()
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            left_s = max(_SHORT_LINGER_S, self._hurry_until_s - time.monotonic())
            publisher.close(self._source(), min(publisher.settings.linger_s, left_s))

    @property
    def _is_hurried(self) -> bool:
        return self._hurry_until_s < math.inf

    def hurry(self, within_s: float = 0.0) -> None:
        """The run ends: an open() waits no longer, a close() that has not begun only so long, or hardly.

        May be called in a signal handler.
        """
        self._hurry_until_s = min(self._hurry_until_s, time.monotonic() + within_s)
