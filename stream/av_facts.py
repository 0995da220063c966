"""What an opened stream says of itself, made trustworthy."""

from __future__ import annotations

from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

_FASTEST = 1000  # frames/s; above, a time base was taken for a rate


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Average frames per second, exact (30000/1001 stays that); None where the stream does not say."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= _FASTEST:
            return rate
    return None


def frame_count(container: InputContainer, stream: VideoStream) -> int | None:
    """An estimate of the number of frames; None where nothing tells."""
    if stream.frames:
        return stream.frames
    rate, length_s = frame_rate(stream), duration_s(container, stream)
    return None if rate is None or length_s is None else max(1, round(length_s * rate))


def duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Length in seconds of the stream, else of the whole container; None where neither says."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    return Fraction(container.duration, av.time_base) if container.duration else None
