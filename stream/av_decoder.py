"""One opened stream, decoded: packets in, frames out, damage survived and counted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .av_drain import Arrival, PacketDrain, arrival_now
from .av_end import EndJudge
from .av_errors import reason_of, why_reading_failed
from .av_packets import NoVideoError, PacketReader, main_video
from .av_target import AvTarget, TargetKind
from .source_status import SourceCounts
from .truncation import missing_bytes

# With this many undecodable packets in a row (ten seconds at 30 frames/s) the rest is not waited for.
MAX_FAILURES_IN_A_ROW = 300


class BrokenOffError(Exception):
    """The stream cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """A frame as FFmpeg gives it, and when it came: a live one its packet, another one itself."""

    frame: VideoFrame
    captured_ns: int  # monotonic clock
    captured_unix_ns: int  # wall clock


class Decoder:
    """Owns a container and decodes its main video stream. Used by one thread at a time, but for `stop`."""

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
        self.container = _open_container(target, open_timeout_s, read_timeout_s)
        try:
            self.stream = main_video(self.container)
        except NoVideoError:
            self.container.close()
            raise
        # Frame threads are fast and hold back one frame per thread: good for files, bad for live pictures.
        self.stream.thread_type = "AUTO" if target.path else "SLICE"
        self._read_timeout_s = math.inf if target.path else read_timeout_s
        self.stream.codec_context.copy_opaque = True  # frames know when their packets arrived
        self._packets = PacketReader(self.container, self.stream, self._read_timeout_s)
        self._undrained = iter(self._packets)
        self._drain: PacketDrain | None = None
        self._end = EndJudge()
        self._fed = self._given = 0

    def drain(self, max_staleness_ms: float | None) -> None:
        """From now on read packets as they come, on a thread of its own; see PacketDrain."""
        self._drain = PacketDrain(self._undrained, max_staleness_ms, self.counts)
        self._drain.start()

    def stop(self) -> None:
        """Free a `frames()` that waits in another thread, where packets are drained."""
        if self._drain is not None:
            self._drain.stop()

    def close(self) -> None:
        """Close the container as soon as nobody reads from it; never while another thread decodes."""
        if self._drain is None:
            self.container.close()
        else:
            self._drain.close(then=self.container.close)

    def join(self, timeout_s: float) -> None:
        """Wait until nobody reads any more."""
        if self._drain is not None:
            self._drain.join(timeout_s)

    def frames(self) -> Iterator[DecodedFrame]:
        """All frames in the order they are shown.

        Raises:
            BrokenOffError: the stream fails; all frames before the break were given.
        """
        held: Packet[VideoStream] | None = None  # a damaged packet, until it is known not to be the last
        for packet in self._arriving():
            if held is not None:
                yield from self._decode(held)
            held = None
            if packet.is_corrupt:
                self.counts.corrupt_packets += 1
                held = packet
            else:
                yield from self._decode(packet)
        yield from self._flush()
        # A damaged last packet is the stump of a picture: dropped, as FFmpeg would fill the rest with grey.
        self._check_end(stump=held is not None)

    def _arriving(self) -> Iterator[Packet[VideoStream]]:
        while True:
            drain = self._drain
            packet = next(self._undrained, None) if drain is None else drain.get()
            if packet is None:
                return
            yield packet

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[DecodedFrame]:
        self._fed += not packet.is_discard
        self._end.fed(packet)
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
        self._end.failures_in_a_row += 1
        count = self._end.failures_in_a_row
        if count >= MAX_FAILURES_IN_A_ROW:
            raise BrokenOffError(f"{count} packets in a row cannot be decoded: {reason_of(error)}") from error

    def _take(self, frame: VideoFrame) -> DecodedFrame:
        self._given += 1
        self._end.saw(frame)
        self.counts.damaged_frames += frame.is_corrupt
        arrival = frame.opaque if isinstance(frame.opaque, Arrival) else arrival_now()
        return DecodedFrame(frame, arrival.ns, arrival.unix_ns)

    def _flush(self) -> Iterator[DecodedFrame]:
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
        last_pts, failures = self._end.last_pts, 0
        if last_pts is None:
            return
        with suppress(av.FFmpegError), av.open(f"file:{path}", metadata_errors="replace") as container:
            stream = container.streams[self.stream.index]
            assert isinstance(stream, VideoStream)
            stream.thread_type = "NONE"
            container.seek(last_pts, stream=stream)
            for packet in container.demux(stream):
                try:
                    frames = [] if packet.is_corrupt else packet.decode()
                except av.FFmpegError:
                    failures += 1
                    continue
                yield from (self._take(frame) for frame in frames if frame.pts and frame.pts > last_pts)
        self.counts.corrupt_packets = max(self.counts.corrupt_packets, failures)

    def _check_end(self, stump: bool) -> None:
        if self._packets.went_silent:
            raise BrokenOffError(f"no picture came for {self._read_timeout_s:g} s")
        error = self._packets.error
        if error is not None:
            raise BrokenOffError(f"reading failed: {why_reading_failed(error, self._target)}") from error
        if not self.is_live:
            why = self._end.why_incomplete(self._path, self.container, self.stream, stump)
        elif self._target.kind is TargetKind.URL and not self._says_its_end():
            why = "the server ended the stream"
        else:
            why = self._end.why_tail_is_lost()
        if why is not None:
            raise BrokenOffError(why)

    @property
    def is_live(self) -> bool:
        """Whether frames come at their own pace: by its protocol, or because it has no length."""
        if self._target.is_live is not None:
            return self._target.is_live
        has_size = self.container.size > 0 and not self._is_playlist()
        return self.container.duration is None and not has_size

    def _says_its_end(self) -> bool:
        """Whether an end is the stream's own word, and cannot be a server that died."""
        return self.container.duration is not None or self._is_playlist()

    def _is_playlist(self) -> bool:
        return self.container.format.name in ("hls", "dash")


def _open_container(target: AvTarget, open_timeout_s: float, read_timeout_s: float) -> InputContainer:
    timeouts = None if target.path else (open_timeout_s, read_timeout_s)
    try:
        return _av_open(target, target.options, timeouts)
    except (av.InvalidDataError, av.EOFError):
        if target.path is None or not missing_bytes(target.path):
            raise
        # FFmpeg looks ahead in a fragmented MP4 and refuses all of it for its cut end; read straight on, it
        # gets as far as there is something.
        return _av_open(target, {**target.options, "seekable": "0"}, timeouts)


def _av_open(
    target: AvTarget, options: dict[str, str], timeouts: tuple[float, float] | None
) -> InputContainer:
    # A title in an old code page is no reason to refuse a video, hence `replace`.
    return av.open(
        target.address, format=target.format, options=options, metadata_errors="replace", timeout=timeouts
    )
