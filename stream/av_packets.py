"""Packets of one stream up to its end, and what that end was."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import av
from av.container import InputContainer
from av.error import ExitError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from .av_drain import arrival_now


class NoVideoError(Exception):
    """The container was opened and holds nothing to show."""


class PacketReader:
    """Iterates over the packets of a stream; afterwards says whether they ended, failed or stopped coming."""

    def __init__(self, container: InputContainer, stream: VideoStream, timeout_s: float) -> None:
        """Packets of what can be silent, whose `timeout_s` is finite, are stamped with an Arrival."""
        self.error: av.FFmpegError | None = None  # reading failed with it
        self.went_silent = False  # nothing came for `timeout_s`
        self._packets = container.demux(stream)
        self._long_s = 0.9 * timeout_s
        self._stamps = math.isfinite(timeout_s)

    def __iter__(self) -> Iterator[Packet[VideoStream]]:
        # After a time-out FFmpeg may report an error, an end, or half a packet and then an end.
        waited_long = False
        while True:
            packet, waited_s = self._next()
            if packet is None:
                self.went_silent = (
                    isinstance(self.error, ExitError) or waited_long or waited_s >= self._long_s
                )
                return
            waited_long = packet.is_corrupt and waited_s >= self._long_s
            # An empty packet stands for a repeated picture; a decoder would take it for the end.
            if packet.size:
                yield packet

    def _next(self) -> tuple[Packet[VideoStream] | None, float]:
        """The next packet, None at the end or on failure; and how long it took in s."""
        began_s = time.monotonic()
        try:
            packet = next(self._packets, None)
        except av.FFmpegError as error:
            self.error = error
            packet = None
        if packet is not None and not packet.size and packet.dts is None and packet.pts is None:
            packet = None  # PyAV's own mark of the end
        if packet is not None and self._stamps:
            packet.opaque = arrival_now()
        return packet, time.monotonic() - began_s


def main_video(container: InputContainer) -> VideoStream:
    """The stream to decode; everything else is left unread.

    Raises:
        NoVideoError: only sound, subtitles, cover pictures, or a codec that this FFmpeg cannot decode.
    """
    if container.format.name == "tty":  # FFmpeg draws any text file as a terminal screen
        raise NoVideoError("it is a text file")
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    found = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not found:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        held = " and ".join(kinds) or "a cover picture"
        raise NoVideoError(f"it holds no video, only {held}; name a file that has pictures")
    decodable = [stream for stream in found if stream.codec_context is not None]
    if not decodable:
        raise NoVideoError("this FFmpeg has no decoder for its video; convert it to H.264 first")
    best = container.streams.best("video")
    chosen = best if isinstance(best, VideoStream) and best in decodable else decodable[0]
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all  # HLS would download every quality otherwise
    return chosen
