"""A live source that comes back: what breaks off is connected again, and goes on as the same stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

from maskstream.model.errors import SourceError, StreamBrokenError

from .recovery_connector import Connector, GaveUpError
from .recovery_joint import Joint
from .recovery_settings import ReconnectConfig
from .source_base import BaseSource
from .source_status import SourceState
from .types import Frame

Notify = Callable[[str], None]  # takes one plain sentence for the user

_GOOD_AFTER_S = 1.0  # a connection that lasted this long was a good one


class RecoveringSource(BaseSource):
    """One stream from one connection after another. See `Joint` for times, `Connector` for waits.

    Nothing is invented for the time in between: the next frame is the first of the new connection, its time
    tells how long the gap was, and its `stretch` that there was one.

    Args:
        first: a connection that was made just now.
        connector: makes the next ones.
        settings: the same as the connector's.
        notify: told when it breaks off and when it is back.
        max_frames: stop after so many, over all connections.
        on_end: called once, after the last connection was closed.
    """

    def __init__(
        self,
        first: BaseSource,
        connector: Connector,
        settings: ReconnectConfig,
        notify: Notify,
        max_frames: int | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            first.info, first.counts, max_frames=max_frames, stall_after_s=settings.stall_after_s
        )
        self._connection, self._connector, self._notify = first, connector, notify
        self._on_end = on_end
        self._closed = connector.closed
        self._joint = Joint(first.info)
        self._unwanted: str | None = None  # why the present connection is to be given up

    def reconnect(self, why: str) -> bool:
        """Give up a connection that hangs, and connect again; False if that is going on. Any thread."""
        if self.status().state is SourceState.RECONNECTING:
            return False
        self._unwanted = why
        self._connection.close()
        return True

    def standby(self) -> None:
        """As the connection does."""
        self._connection.standby()

    def _frames(self) -> Iterator[Frame]:
        while not self._closed.is_set():
            began_ns: int | None = None
            try:
                for frame in self._connection:
                    began_ns = began_ns or frame.captured_ns
                    if frame.captured_ns - began_ns > _GOOD_AFTER_S * 1e9:
                        self._connector.worked()
                    yield self._joint.place(frame)
                if self._unwanted is None:
                    return
                broken = StreamBrokenError(self._unwanted)
            except StreamBrokenError as error:
                broken = error
            self._recover(broken)

    def _recover(self, broken: StreamBrokenError) -> None:
        """Connect again; closed meanwhile, the old connection stays."""
        why = str(broken.__cause__ or broken)  # without the count of frames, which is the connection's own
        self._joint.broke()
        self._board.went_wrong(why)
        self._board.change(SourceState.RECONNECTING)
        self._notify(f"{self.info.source_id} broke off: {why}; trying to connect again")
        began_ns = self._board.clock()
        try:
            connection = self._connector.until_connected(self._refused)
        except GaveUpError:
            self._give_up(why)
        if connection is None:
            return
        self._connection, self._unwanted = connection, None
        self.counts.reconnects += 1
        self._board.change(SourceState.RUNNING)
        self._board.waits()
        self._notify(f"{self.info.source_id} is back after {(self._board.clock() - began_ns) / 1e9:.1f} s")

    def _refused(self, error: SourceError) -> None:
        self._board.went_wrong(str(error), is_try=True)

    def _give_up(self, why: str) -> NoReturn:
        last, status = self._joint.last, self.status()
        where = "at its first frame" if last is None else f"after frame {last.index} at {last.time_s:.3f} s"
        tries = f"; {status.failed_tries} tries to connect again failed, the last: {status.last_error}"
        raise StreamBrokenError(
            f"{self.info.source_id} broke off {where}: {why}{tries if status.failed_tries else ''}"
        )

    def _interrupt(self) -> None:
        self._connection.close()

    def _release(self) -> None:
        self._connection.close()
        if self._on_end is not None:
            self._on_end()


def keep_connected(
    connector: Connector,
    settings: ReconnectConfig,
    *,
    waits: Callable[[SourceError], bool],
    notify: Notify,
    max_frames: int | None = None,
) -> BaseSource:
    """A source that is connected again whenever it breaks off; what turns out to be a recording is not.

    Args:
        connector: makes the connections.
        settings: the same as the connector's.
        waits: whether to go on trying after this refusal, while there was no connection yet.
        notify: told when it is not there, breaks off, and is back.
        max_frames: stop after so many, over all connections.

    Raises:
        SourceError: it cannot be opened, and waiting is of no use or took too long.
    """
    first = connect_first(connector, waits, notify)
    if not first.info.is_live:
        return first
    return RecoveringSource(first, connector, settings, notify, max_frames)


def connect_first(connector: Connector, waits: Callable[[SourceError], bool], notify: Notify) -> BaseSource:
    """The first connection, waited for as long as `waits` says of the refusal that it may pass.

    Raises:
        SourceError: it cannot be opened, and waiting is of no use or took too long.
    """
    try:
        return connector.once()
    except SourceError as error:
        refusal = error
    if not waits(refusal):
        raise refusal
    notify(f"{refusal}; trying until it is there")

    def refused(error: SourceError) -> None:
        nonlocal refusal
        if not waits(error):
            raise error
        if str(error) != str(refusal):
            notify(str(error))
        refusal = error

    try:
        source = connector.until_connected(refused, refusal)
    except GaveUpError:
        raise refusal from None
    if source is None:
        raise SourceError("closed before there was a connection")
    return source
