"""Did a stream end, or did it break off? FFmpeg reports the end of the data in both cases."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .av_facts import declared_end_s
from .truncation import missing_bytes

# This many undecodable packets at the end say that the tail is destroyed, not that a picture was lost.
_TAIL_FAILURES = 10
_ROUNDING_S = Fraction(1, 5)  # headers round, and count from where other streams begin


class EndJudge:
    """Watches a stream go by and tells at its end whether something is missing."""

    def __init__(self) -> None:
        self.last_pts: int | None = None
        self.failures_in_a_row = 0
        self._largest_gap = 0  # ticks; how long a frame may stand in this stream
        self._last_is_damaged = False

    def saw(self, frame: VideoFrame) -> None:
        """A frame was decoded."""
        self.failures_in_a_row = 0
        self._last_is_damaged = frame.is_corrupt
        if frame.pts is not None:
            if self.last_pts is not None:
                self._largest_gap = max(self._largest_gap, frame.pts - self.last_pts)
            self.last_pts = frame.pts

    def why_incomplete(
        self, path: Path | None, container: InputContainer, stream: VideoStream, stump: bool
    ) -> str | None:
        """What is missing of a recording that was read to its end; None for a whole one.

        `path`: where it can be measured. `stump`: the last packet was only a part of one.
        """
        missing = missing_bytes(path) if path else 0
        if missing:
            return f"the file is cut off, at least {missing} bytes are missing at its end"
        declared_s = declared_end_s(container, stream)
        if declared_s is not None and self._falls_short(declared_s, stream):
            return f"the rest cannot be read, but its header promises {float(declared_s):.3f} s"
        if stump or self._last_is_damaged:
            return "its last picture is incomplete, it seems to be cut off"
        return self.why_tail_is_lost()

    def why_tail_is_lost(self) -> str | None:
        """Whether the stream ended in nothing but undecodable packets."""
        if self.failures_in_a_row < _TAIL_FAILURES:
            return None
        return f"its last {self.failures_in_a_row} packets cannot be decoded"

    def _falls_short(self, declared_s: Fraction, stream: VideoStream) -> bool:
        if self.last_pts is None or stream.time_base is None:
            return False
        tolerance_s = max(_ROUNDING_S, 2 * self._largest_gap * stream.time_base)
        return self.last_pts * stream.time_base + tolerance_s < declared_s
