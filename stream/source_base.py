"""What all sources share: one pass over the frames, a close() that any thread may call, pacing, counts."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol, Self

from maskstream.model.errors import SourceError, StreamBrokenError
from maskstream.model.types import RgbImage

from .source_status import SourceCounts, SourceState, SourceStatus, StatusBoard
from .types import Frame, StreamInfo

CLOSE_WAIT_S = 1.0  # how long close() waits for a step that another thread is in
STALL_AFTER_S = 2.0  # cameras that pause for half a second at each key frame do not stall


class Source(Protocol):
    """Where frames come from. One pass; `close()` may be called twice and from any thread.

    Raises (while iterating):
        StreamBrokenError: the stream failed; every frame before the break was given.
    """

    @property
    def info(self) -> StreamInfo:
        """What is known of the stream, from the moment it is open."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Stop, freeing an iteration that waits in another thread within about a second."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class UnreadyError(SourceError):
    """A source that cannot be opened now and may be later."""

    def __init__(self, message: str, *, nobody_is_there: bool) -> None:
        """`nobody_is_there`: nothing answers at its address, so that looking again costs nobody anything."""
        super().__init__(message)
        self.nobody_is_there = nobody_is_there


class Pacer:
    """Says how long to hold a frame back so that media time passes as fast as the clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._offset_s: float | None = None

    def delay_s(self, media_time_s: float) -> float:
        """Seconds until a frame of that media time is due; 0 where it is late. The first is due at once."""
        return max(0.0, -self.lateness_s(media_time_s))

    def lateness_s(self, media_time_s: float) -> float:
        """Seconds since a frame of that media time was due; negative before that."""
        now_s = self._clock()
        if self._offset_s is None:
            self._offset_s = now_s - media_time_s
        return now_s - media_time_s - self._offset_s


class BaseSource(ABC):
    """A Source but for `_frames`, which yields the frames, and `_release`, which lets go of what is open."""

    def __init__(
        self,
        info: StreamInfo,
        counts: SourceCounts | None = None,
        *,
        max_frames: int | None = None,
        realtime: bool = False,
        stall_after_s: float = STALL_AFTER_S,
    ) -> None:
        """`realtime` plays a recording at its own pace, as if it were live."""
        count = info.frame_count
        if max_frames is not None:
            count = max_frames if count is None else min(count, max_frames)
        self.counts = SourceCounts() if counts is None else counts
        self._board = StatusBoard(stall_after_s, self.counts)
        is_live = info.is_live or realtime
        self._info = replace(info, is_live=is_live, frame_count=None if is_live else count)
        self._left = max_frames
        self._pacer = Pacer(time.monotonic) if realtime else None
        self._closed = threading.Event()
        self._step = threading.Lock()  # held while a frame is made
        self._iterator: Iterator[Frame] | None = None
        self._released = False

    @property
    def info(self) -> StreamInfo:
        """What is known of the stream."""
        return self._info

    def status(self) -> SourceStatus:
        """How it is doing; any thread may ask, at any time."""
        return self._board.snapshot()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._step:
            if self._closed.is_set() or self._left == 0:
                self._end()
                raise StopIteration
            self._board.waits()
            try:
                if self._iterator is None:
                    self._iterator = self._frames()
                frame = self._paced(next(self._iterator))
            except StreamBrokenError as error:
                self._board.went_wrong(str(error))
                self._end(SourceState.FAILED)
                raise
            except BaseException:
                self._end()
                raise
            if self._closed.is_set():
                self._end()
                raise StopIteration
            if self._left is not None:
                self._left -= 1
            self._board.gives(frame)
            return frame

    def standby(self) -> None:  # noqa: B027  # only what flows by itself needs it
        """Nobody wants frames yet: a live stream flows on, unseen, until the first one is asked for."""

    def close(self) -> None:
        """Stop; an iteration waiting in another thread ends within about a second. May be called twice."""
        self._closed.set()
        self._interrupt()
        # Where the lock cannot be had, the thread that holds it sees the flag and releases.
        if self._step.acquire(timeout=CLOSE_WAIT_S):
            try:
                self._end()
            finally:
                self._step.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _paced(self, frame: Frame) -> Frame:
        if self._pacer is None:
            return frame
        self._closed.wait(self._pacer.delay_s(frame.time_s))
        return replace(frame, captured_ns=time.monotonic_ns(), captured_unix_ns=time.time_ns())

    def _end(self, state: SourceState = SourceState.ENDED) -> None:
        self._closed.set()
        self._iterator = None
        if not self._released:
            self._released = True
            self._board.change(state)
            self._release()

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """The frames, once."""

    def _interrupt(self) -> None:  # noqa: B027  # most sources never wait
        """Free a `_frames` that waits in another thread."""

    def _release(self) -> None:  # noqa: B027  # some have nothing open
        """Close what is open; called once, never while `_frames` runs."""


def captured_now(info: StreamInfo, image: RgbImage, index: int, pts: int) -> Frame:
    """A frame of `info`'s stream that came into being this moment."""
    now_ns, now_unix_ns = time.monotonic_ns(), time.time_ns()
    return Frame(image, index, pts, info.time_base, now_ns, now_unix_ns, info.source_id)
