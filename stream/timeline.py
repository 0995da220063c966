"""Media time that only moves forward, whatever the stream says."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from .source_status import SourceCounts

_FURTHEST_AHEAD_S = 10  # of media time beyond the time that has passed, between two frames of a live stream

_MOST_SLIPS = 3  # so many frames in a row less than a second too early are slips, more are another clock


class Timeline:
    """Turns the PTS of successive frames, some missing or wrong, into strictly growing ones.

    A good PTS is passed on as it is. Tracking and video files both need time that grows: a repeated or
    slightly early PTS becomes one tick after its predecessor; after a jump far back (a camera's clock was
    reset, two recordings were joined) the new clock is moved to where the old one ended. If the next frame
    goes on by the old clock, it was one late frame of a damaged stream, and the old clock stays.

    Of a live stream it is known when each frame came. Its clock may then not run away from ours either, and
    what has no usable PTS is placed by the time that has really passed.
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction | None, counts: SourceCounts) -> None:
        self._counts = counts
        self._time_base = time_base
        self._usual_step = max(1, round(1 / (time_base * (frame_rate or 25))))
        self._last: int | None = None
        self._last_step = self._usual_step
        self._shift = 0
        self._before_jump: tuple[int, int] | None = None  # shift and place before the last jump
        self._slips = 0  # in a row
        self._came_ns: int | None = None  # when the last frame did, live only
        self._passed: int | None = None  # ticks of our own clock between the last two frames

    @property
    def started(self) -> bool:
        """Whether any frame has been placed."""
        return self._last is not None

    def begin(self, durations: Sequence[int], first_pts: int | None) -> list[int]:
        """PTS of leading frames that have none: counted back from `first_pts`, else up from 0.

        `durations` are theirs, in ticks, 0 where unknown.
        """
        steps = [duration or self._usual_step for duration in durations]
        place = 0 if first_pts is None else first_pts - sum(steps)
        places = []
        for step in steps:
            places.append(place)
            self._last, self._last_step = place, step
            place += step
        self._counts.derived_pts += len(steps)
        return places

    def place(self, pts: int | None, duration: int = 0, came_ns: int | None = None) -> int:
        """The PTS to use for the next frame.

        `duration` is its own, in ticks, 0 where unknown; `came_ns`, of a live stream, when it came, by a
        monotonic clock.
        """
        self._note_arrival(came_ns)
        if pts is None:
            self._counts.derived_pts += 1
            placed = 0 if self._last is None else self._last + self._usual_gap()
        else:
            placed = self._forward(pts)
        self._last, self._last_step = placed, duration or self._usual_step
        return placed

    def _note_arrival(self, came_ns: int | None) -> None:
        before_ns, self._came_ns = self._came_ns, came_ns
        if came_ns is None or before_ns is None:
            self._passed = None
        else:
            self._passed = round(Fraction(came_ns - before_ns, 10**9) / self._time_base)

    def _usual_gap(self) -> int:
        """Ticks to the next frame where its PTS does not tell: by our own clock, or one step."""
        return self._last_step if self._passed is None else max(1, self._passed)

    def _forward(self, stored_pts: int) -> int:
        self._shift = self._confirmed_shift(stored_pts)
        last, pts = self._last, stored_pts + self._shift
        if last is None or (pts > last and not self._runs_away(pts, last)):
            self._slips = 0
            return pts
        self._counts.corrected_pts += 1
        if 0 <= (last - pts) * self._time_base < 1 and self._slips < _MOST_SLIPS:
            self._slips += 1
            return last + 1
        self._slips = 0
        self._before_jump = self._shift, last
        self._shift += last + self._usual_gap() - pts
        return last + self._usual_gap()

    def _runs_away(self, pts: int, last: int) -> bool:
        """Whether a PTS is further ahead than any live stream can be."""
        return self._passed is not None and (pts - last - self._passed) * self._time_base > _FURTHEST_AHEAD_S

    def _confirmed_shift(self, stored_pts: int) -> int:
        """The shift by which this frame is placed: was the last one's jump a new clock?"""
        jump, self._before_jump = self._before_jump, None
        if jump is None:
            return self._shift
        old_shift, old_last = jump
        by_old_clock = stored_pts + old_shift
        goes_on = by_old_clock > old_last and not self._runs_away(by_old_clock, old_last)
        return old_shift if goes_on else self._shift
