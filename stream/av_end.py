"""Did a stream end, or did it break off? FFmpeg reports the end of the data in both cases."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .av_facts import declared_end_s
from .truncation import missing_bytes

# This many last packets without a picture say that the tail is destroyed, not that a picture was lost.
_TAIL_PACKETS = 10
# Headers round, and count frames that stand for "as before".
_ROUNDING_S = Fraction(1, 10)
_ROUNDING_FRAMES = 3


class EndJudge:
    """Watches a stream go by and tells at its end whether something is missing."""

    def __init__(self) -> None:
        self.last_pts: int | None = None
        self.failures_in_a_row = 0
        self._last_fed: deque[int] = deque(maxlen=_TAIL_PACKETS)  # PTS of the last packets
        self._largest_gap = 0  # ticks; how long a frame may stand in this stream
        self._last_is_damaged = False

    def fed(self, packet: Packet[VideoStream]) -> None:
        """A packet goes to the decoder."""
        if packet.pts is not None and not packet.is_discard:
            self._last_fed.append(packet.pts)

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
        missing = max(missing_bytes(path), _bytes_beyond(path, container, stream)) if path else 0
        if missing:
            return f"the file is cut off, at least {missing} bytes are missing at its end"
        declared_s = declared_end_s(container, stream)
        if declared_s is not None and self._falls_short(declared_s, stream):
            return f"the rest cannot be read, but its header promises {float(declared_s):.3f} s"
        if stump or self._last_is_damaged:
            return "its last picture is incomplete, it seems to be cut off"
        return self.why_tail_is_lost()

    def why_tail_is_lost(self) -> str | None:
        """Whether no picture came of the stream's last packets."""
        if (
            len(self._last_fed) < _TAIL_PACKETS
            or self.last_pts is None
            or min(self._last_fed) <= self.last_pts
        ):
            return None
        return "the packets after that cannot be decoded"

    def _falls_short(self, declared_s: Fraction, stream: VideoStream) -> bool:
        if self.last_pts is None or stream.time_base is None:
            return False
        tolerance_s = max(_ROUNDING_S, _ROUNDING_FRAMES * self._largest_gap * stream.time_base)
        return self.last_pts * stream.time_base + tolerance_s < declared_s


def _bytes_beyond(path: Path, container: InputContainer, stream: VideoStream) -> int:
    """How far the last picture in an MP4's index lies beyond the end of the file."""
    if "mp4" not in container.format.name or not len(stream.index_entries):
        return 0
    last = stream.index_entries[-1]
    return max(0, last.pos + last.size - path.stat().st_size)
