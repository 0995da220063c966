"""How a source is doing, for any thread to read: metrics, heartbeats, the line at a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from .types import Frame

Clock = Callable[[], int]  # ns


class SourceState(Enum):
    """What a source is doing."""

    CONNECTING = "connecting"  # for the first time; nothing is known of it yet
    RUNNING = "running"
    STALLED = "stalled"  # connected, and no frame for longer than is usual
    RECONNECTING = "reconnecting"  # it broke off; waiting for the next try, or trying
    ENDED = "ended"  # of its own accord, or closed
    FAILED = "failed"  # it broke off and will not come back


@dataclass(slots=True)
class SourceCounts:
    """What a source had to put up with so far; all zero for a clean stream."""

    corrupt_packets: int = 0  # could not be decoded, or were marked as damaged
    damaged_frames: int = 0  # decoded, with parts made up by the decoder
    derived_pts: int = 0  # frames without a PTS of their own
    corrected_pts: int = 0  # frames whose PTS did not grow, or ran away from the clock
    duplicate_frames: int = 0  # the last frame once more, PTS and picture; left out
    resized_frames: int = 0  # frames of another size than the first
    stale_frames: int = 0  # waited too long to be decoded; left out
    stalls: int = 0  # times that no frame came for longer than is usual; known to status() only
    reconnects: int = 0  # connections after the first

    def notes(self) -> list[str]:
        """One short line for each count that is not zero, for people."""
        lines = (
            (self.corrupt_packets, "corrupt packets, skipped or patched up by the decoder"),
            (self.damaged_frames, "damaged frames"),
            (self.derived_pts, "frames without a PTS, timed by their neighbours"),
            (self.corrected_pts, "frames whose PTS made no sense, moved to where they belong"),
            (self.duplicate_frames, "frames that came twice, left out once"),
            (self.resized_frames, "frames of another size than the first"),
            (self.stale_frames, "frames too old to be worth decoding, left out"),
            (self.stalls, "times the stream stalled"),
            (self.reconnects, "times it was connected again"),
        )
        return [f"{what}: {count}" for count, what in lines if count]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source at one moment. Nothing in it holds a password."""

    state: SourceState
    since_unix_ns: int  # wall clock: when this state began
    frames: int  # given so far
    last_pts: int | None  # of the last frame given, in ticks of the stream's time base
    last_captured_unix_ns: int | None  # wall clock of that frame
    failed_tries: int  # to connect, since the last connection
    last_error: str | None  # the latest break or refusal, one line
    counts: SourceCounts  # a copy


@dataclass(slots=True)
class StatusBoard:
    """Written by the source's thread, read by any. Keeps no timer: a stall is seen when somebody looks.

    Args:
        stall_after_s: how long a frame may be waited for before that is called a stall.
        counts: shared with the source.
        clock: monotonic, in ns.
        wall_clock: in ns since 1970.
    """

    stall_after_s: float
    counts: SourceCounts = field(default_factory=SourceCounts)
    clock: Clock = time.monotonic_ns
    wall_clock: Clock = time.time_ns
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _state: SourceState = SourceState.RUNNING
    _since_unix_ns: int = 0
    _stalls: int = 0  # not in `counts`: connections that share them would each count the same one
    _waiting_since_ns: int | None = None  # somebody wants a frame since then
    _frames: int = 0
    _last: tuple[int, int] | None = None  # PTS and wall clock of the last frame
    _failed_tries: int = 0
    _error: str | None = None

    def __post_init__(self) -> None:
        self._since_unix_ns = self.wall_clock()

    def change(self, state: SourceState) -> None:
        """The source is doing something else now."""
        with self._lock:
            self._end_wait()
            if state is not self._state:
                self._state, self._since_unix_ns = state, self.wall_clock()
            if state is SourceState.RUNNING:
                self._failed_tries = 0

    def went_wrong(self, error: str, *, is_try: bool = False) -> None:
        """Keep an error, free of passwords; `is_try`: of trying to connect."""
        with self._lock:
            self._error = error
            self._failed_tries += is_try

    def waits(self) -> None:
        """A frame is asked for."""
        with self._lock:
            self._waiting_since_ns = self.clock()

    def gives(self, frame: Frame) -> None:
        """A frame goes out."""
        with self._lock:
            self._end_wait()
            self._frames += 1
            self._last = frame.pts, frame.captured_unix_ns

    def snapshot(self) -> SourceStatus:
        """All of it at one moment."""
        with self._lock:
            state, since_unix_ns = self._state, self._since_unix_ns
            overdue_ns = self._overdue_ns()
            if overdue_ns >= 0:
                state, since_unix_ns = SourceState.STALLED, self.wall_clock() - overdue_ns
            pts, captured_unix_ns = self._last or (None, None)
            return SourceStatus(
                state,
                since_unix_ns,
                self._frames,
                pts,
                captured_unix_ns,
                self._failed_tries,
                self._error,
                replace(self.counts, stalls=self._stalls + (overdue_ns >= 0)),
            )

    def _overdue_ns(self) -> int:
        """For how long the next frame is overdue; negative while it is not."""
        if self._waiting_since_ns is None or self._state is not SourceState.RUNNING:
            return -1
        return self.clock() - self._waiting_since_ns - int(self.stall_after_s * 1e9)

    def _end_wait(self) -> None:
        self._stalls += self._overdue_ns() >= 0
        self._waiting_since_ns = None
