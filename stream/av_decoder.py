"""One opened stream, decoded: packets in, frames out, damage survived and counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .av_errors import reason_of
from .av_target import AvTarget, TargetKind
from .source_base import SourceCounts
from .truncation import missing_bytes

# With this many undecodable packets in a row (ten seconds at 30 frames/s) the rest is not waited for.
MAX_FAILURES_IN_A_ROW = 300
# At the end this many say that its tail is destroyed, not that a picture was lost.
TAIL_FAILURES = 10


class NoVideoError(Exception):
    """The container was opened and holds nothing to show."""


class BrokenOffError(Exception):
    """The stream cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """A frame as FFmpeg gives it and when it left the decoder."""

    frame: VideoFrame
    captured_ns: int  # monotonic clock
    captured_unix_ns: int  # wall clock


class Decoder:
    """Owns a container and decodes its main video stream. Used by one thread at a time."""

    def __init__(
        self, target: AvTarget, counts: SourceCounts, open_timeout_s: float, read_timeout_s: float
    ) -> None:
        """Opens the container.

        Raises:
            av.FFmpegError: it cannot be opened.
            NoVideoError: it has no video.
        """
        self.counts = counts
        self._target, self._path = target, target.path
        self.container: InputContainer = av.open(
            target.address,
            format=target.format,
            options=target.options,
            metadata_errors="replace",  # a title in an old code page is no reason to refuse a video
            timeout=None if target.path else (open_timeout_s, read_timeout_s),
        )
        try:
            self.stream = main_video(self.container)
        except NoVideoError:
            self.container.close()
            raise
        # Frame threads are fast and hold back one frame per thread: good for files, bad for live pictures.
        self.stream.thread_type = "AUTO" if target.path else "SLICE"
        self._fed = self._given = self._failures_in_a_row = 0
        self._last_pts: int | None = None
        self._last_is_damaged = False

    def close(self) -> None:
        """Close the container; never while another thread decodes."""
        self.container.close()

    def frames(self) -> Iterator[DecodedFrame]:
        """All frames in the order they are shown.

        Raises:
            BrokenOffError: the stream fails; all frames before the break were given.
        """
        held: Packet[VideoStream] | None = None  # a damaged packet, until it is known not to be the last
        for packet in self._packets():
            if held is not None:
                yield from self._decode(held)
            held = None
            if packet.is_corrupt:
                self.counts.corrupt_packets += 1
                held = packet
            else:
                yield from self._decode(packet)
        yield from self._drain()
        # A damaged last packet is the stump of a picture: dropped, as FFmpeg would fill the rest with grey.
        self._check_end(stump=held is not None)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.EOFError):
                return
            except av.FFmpegError as error:
                raise BrokenOffError(f"reading failed: {reason_of(error)}") from error
            if packet.size:
                yield packet
            elif packet.dts is None and packet.pts is None:
                return  # PyAV's own mark of the end
            # Other empty packets stand for a repeated picture; the decoder would take one for the end.

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[DecodedFrame]:
        self._fed += not packet.is_discard
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            self._count_failure(packet, error)
            return
        for frame in frames:
            yield self._take(frame)

    def _count_failure(self, packet: Packet[VideoStream], error: av.FFmpegError) -> None:
        self._fed -= 1
        self.counts.corrupt_packets += not packet.is_corrupt
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            count = self._failures_in_a_row
            raise BrokenOffError(f"{count} packets in a row cannot be decoded: {reason_of(error)}") from error

    def _take(self, frame: VideoFrame) -> DecodedFrame:
        self._given += 1
        self._failures_in_a_row = 0
        self._last_is_damaged = frame.is_corrupt
        self.counts.damaged_frames += frame.is_corrupt
        if frame.pts is not None:
            self._last_pts = frame.pts
        return DecodedFrame(frame, time.monotonic_ns(), time.time_ns())

    def _drain(self) -> Iterator[DecodedFrame]:
        """The frames that the decoder still holds."""
        try:
            frames = self.stream.decode(None)
        except av.FFmpegError:
            frames = []
        for frame in frames:
            yield self._take(frame)
        if self._path is not None and self._given < self._fed:
            yield from self._recover_tail(self._path)

    def _recover_tail(self, path: Path) -> Iterator[DecodedFrame]:
        """Frames that were lost while draining.

        When a packet among the last ones is damaged, PyAV stops draining a frame-threaded decoder and drops
        the good frames behind it. So the end is decoded once more, without threads, where nothing is drained.
        """
        if self._last_pts is None:
            return
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            stream = container.streams[self.stream.index]
            assert isinstance(stream, VideoStream)
            stream.thread_type = "NONE"
            try:
                container.seek(self._last_pts, stream=stream)
            except av.FFmpegError:
                return
            failures = 0
            for packet in container.demux(stream):
                try:
                    frames = [] if packet.is_corrupt else packet.decode()
                except av.FFmpegError:
                    failures += 1
                    continue
                for frame in frames:
                    if frame.pts is not None and frame.pts > self._last_pts:
                        yield self._take(frame)
            self.counts.corrupt_packets = max(self.counts.corrupt_packets, failures)

    def _check_end(self, stump: bool) -> None:
        if self._path is not None and (missing := missing_bytes(self._path)):
            raise BrokenOffError(f"the file is cut off, at least {missing} bytes are missing at its end")
        if self._path is not None and (stump or self._last_is_damaged):
            raise BrokenOffError("its last picture is incomplete, the file seems to be cut off")
        if self._failures_in_a_row >= TAIL_FAILURES:
            raise BrokenOffError(f"its last {self._failures_in_a_row} packets cannot be decoded")
        if self.is_live and self._target.kind is TargetKind.URL and not self._says_its_end():
            raise BrokenOffError("the server ended the stream")

    @property
    def is_live(self) -> bool:
        """Whether frames come at their own pace: by its protocol, or because it has no length."""
        live = self._target.is_live
        return self.container.duration is None if live is None else live

    def _says_its_end(self) -> bool:
        """Whether an end is the stream's own word, and cannot be a server that died."""
        return self.container.duration is not None or self.container.format.name in ("hls", "dash")


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
        raise NoVideoError(f"it holds no video, only {' and '.join(kinds) or 'a cover picture'}")
    decodable = [stream for stream in found if stream.codec_context is not None]
    if not decodable:
        raise NoVideoError("this FFmpeg has no decoder for its video; convert it to H.264 first")
    best = container.streams.best("video")
    chosen = best if isinstance(best, VideoStream) and best in decodable else decodable[0]
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all  # HLS would download every quality otherwise
    return chosen
