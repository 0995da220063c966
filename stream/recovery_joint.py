"""Frames of one connection after another, as the frames of one stream."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from .types import Frame, StreamInfo


class Joint:
    """Keeps time growing and frames counted across breaks; a gap is as long as it really was.

    A new connection's PTS begin anywhere. Its first frame is placed after the last one of the connection
    before by the time between their captures, and what follows keeps its distance to it. Of a recording,
    which stands still while nobody reads it, the gap is one frame.

    Args:
        info: the stream's, by its first connection; its time base is kept.
    """

    def __init__(self, info: StreamInfo) -> None:
        self._info = info
        self._last: Frame | None = None  # as it was given out
        self._first_index = 0
        self._shift: int | None = 0  # ticks; None until the first frame of a new connection shows it
        self._stretch = 0

    @property
    def last(self) -> Frame | None:
        """The last frame given out."""
        return self._last

    def broke(self) -> None:
        """What comes next is of another connection."""
        self._shift = None
        self._stretch += 1
        self._first_index = 0 if self._last is None else self._last.index + 1

    def place(self, frame: Frame) -> Frame:
        """The frame with its place in the whole stream."""
        pts = self._ticks(frame.pts * frame.time_base)
        if self._shift is None:
            self._shift = self._pts_after_gap(frame, pts) - pts
        pts += self._shift
        if self._last is not None:
            pts = max(pts, self._last.pts + 1)  # a finer time base than ours may leave no tick between two
        placed = replace(
            frame,
            index=self._first_index + frame.index,
            pts=pts,
            time_base=self._info.time_base,
            source_id=self._info.source_id,
            stretch=self._stretch,
        )
        self._last = placed
        return placed

    def _pts_after_gap(self, frame: Frame, pts: int) -> int:
        if self._last is None:
            return pts
        if self._info.is_live:
            gap_s = Fraction(frame.captured_ns - self._last.captured_ns, 10**9)
        else:
            gap_s = 1 / (self._info.frame_rate or Fraction(25))
        return self._last.pts + max(1, self._ticks(gap_s))

    def _ticks(self, seconds: Fraction) -> int:
        return round(seconds / self._info.time_base)
