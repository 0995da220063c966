"""What an opened stream says of itself, made trustworthy."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import cast

import av
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

_FASTEST = 1000  # frames/s; above, a time base was taken for a rate


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Average frames per second, exact (30000/1001 stays that); None where the stream does not say."""
    rates = [stream.average_rate, stream.guessed_rate]
    if stream.container.format.flags & cast(int, Flags.no_timestamps.value):
        rates.reverse()  # a raw stream: its container knows nothing and says 25, the codec may know
    for rate in rates:
        if rate and 0 < rate <= _FASTEST:
            return rate
    return None


def frame_count(container: InputContainer, stream: VideoStream) -> int | None:
    """An estimate of the number of frames; None where nothing tells."""
    if stream.frames:
        return stream.frames
    rate, length_s = frame_rate(stream), duration_s(container, stream)
    return None if rate is None or length_s is None else max(1, round(length_s * rate))


def declared_end_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """How long the stream is by its file's own header, in s from its start; None where no header says.

    Only formats whose header counts what is really there: FFmpeg guesses a length for others, and MP4 files
    count frames that an edit list leaves out.
    """
    name, rate = container.format.name, frame_rate(stream)
    if name == "avi" and stream.frames and rate:
        return stream.frames / rate
    if name == "matroska,webm" and (text := stream.metadata.get("DURATION")):
        return _clock_s(text)
    if name in ("matroska,webm", "flv") and len(container.streams) == 1 and container.duration:
        return Fraction(container.duration, av.time_base)
    return None


def _clock_s(text: str) -> Fraction | None:
    """Seconds of `00:01:02.345000000`."""
    match = re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)


def duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Length in seconds of the stream, else of the whole container; None where neither says."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    return Fraction(container.duration, av.time_base) if container.duration else None
