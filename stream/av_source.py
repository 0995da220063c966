"""The source behind files, network streams and cameras: everything that FFmpeg can open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import av
from maskstream.model.errors import SourceError, StreamBrokenError

from .av_decoder import BrokenOffError, DecodedFrame, Decoder
from .av_errors import may_pass, nobody_is_there, why_not_opened
from .av_facts import frame_count, frame_rate
from .av_image import RgbConverter
from .av_packets import NoVideoError
from .av_target import AvTarget, TargetKind
from .interruptible import ReaderThread, call_with_deadline
from .source_base import BaseSource, UnreadyError
from .source_status import SourceCounts
from .timeline import Timeline
from .truncation import missing_bytes
from .types import Frame, StreamInfo

# A frame without a PTS waits for one that has it, but not for ever: raw H.264 never has any.
_MAX_HELD = 8
# How much later than FFmpeg's own a time-out strikes, or earlier.
_GRACE_S = 0.5
# A stream that flows ends its reader at the next frame; for one that hangs nobody should wait long.
_READER_WAIT_S = 0.5


class AvSource(BaseSource):
    """Frames of one opened stream; images are given as stored, not stretched by `sample_aspect_ratio`.

    A file is read by the thread that iterates. Everything that can hang is read by a thread of its own, so
    that `close()` and the read timeout work while FFmpeg waits.
    """

    def __init__(
        self,
        target: AvTarget,
        *,
        source_id: str | None = None,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 10.0,
        max_frames: int | None = None,
        realtime: bool = False,
        max_staleness_ms: float | None = None,
        counts: SourceCounts | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        """Opens the stream and decodes its first frame; `cancelled` ends that early.

        Raises:
            UnreadyError: it cannot be opened now, or shows no picture within `connect_timeout_s`.
            SourceError: it cannot be opened.
        """
        counts = SourceCounts() if counts is None else counts
        opened = _open(target, counts, (connect_timeout_s, read_timeout_s), cancelled)
        self._decoder, self._decoded = opened.decoder, opened.frames
        self._converter = RgbConverter(opened.first)
        self.sample_aspect_ratio = opened.decoder.stream.sample_aspect_ratio or Fraction(1)
        info = _stream_info(opened.decoder, self._converter, source_id or target.source_id)
        super().__init__(info, counts, max_frames=max_frames, realtime=realtime)
        self._target, self._read_timeout_s = target, read_timeout_s
        self._max_staleness_ms = max_staleness_ms
        self._stale_before = counts.stale_frames
        self._last_stored: tuple[int | None, av.VideoFrame] | None = None  # as decoded, live only
        self._timeline = Timeline(info.time_base, info.frame_rate, counts)
        self._reader: ReaderThread[Frame] | None = None
        self._unwanted = threading.Event()

    def standby(self) -> None:
        """Keep a live stream flowing until its first frame is asked for; what comes meanwhile is not kept.

        Else seconds of old pictures would pile up, here and in the server, while networks are loaded.
        """
        if self._decoder.is_live and self._reader is None:
            self._unwanted.set()
            self._start_reader()

    def _start_reader(self) -> ReaderThread[Frame]:
        if self._decoder.is_live:
            self._decoder.drain(self._max_staleness_ms)
        self._reader = ReaderThread(self._made_frames(), on_end=self._decoder.close)
        return self._reader

    def _frames(self) -> Iterator[Frame]:
        self._unwanted.clear()
        if self._target.path is None:
            frames = self._read(self._reader or self._start_reader())
        else:
            frames = self._made_frames()
        last: Frame | None = None
        try:
            for frame in frames:
                last = frame
                yield frame
        except BrokenOffError as error:
            raise self._broken(last, str(error)) from error

    def _read(self, reader: ReaderThread[Frame]) -> Iterator[Frame]:
        try:
            # FFmpeg's own time-out comes first where it works, and lets the decoder give what it still holds.
            while (frame := reader.get(self._read_timeout_s + _GRACE_S)) is not None:
                yield frame
        except TimeoutError:
            raise BrokenOffError(f"no picture came for {self._read_timeout_s:g} s") from None

    def _made_frames(self) -> Iterator[Frame]:
        for index, (decoded, pts) in enumerate(self._timed()):
            self.counts.resized_frames += not self._converter.fits(decoded.frame)
            yield Frame(
                image=self._converter.convert(decoded.frame),
                index=index + self.counts.stale_frames - self._stale_before,
                pts=pts,
                time_base=self._info.time_base,
                captured_ns=decoded.captured_ns,
                captured_unix_ns=decoded.captured_unix_ns,
                source_id=self._info.source_id,
            )

    def _timed(self) -> Iterator[tuple[DecodedFrame, int]]:
        """Frames with their PTS; first ones without are held until one with a PTS shows where they belong."""
        held: list[DecodedFrame] = []
        for decoded in self._wanted():
            frame = decoded.frame
            pts = frame.pts if frame.pts is not None else frame.dts
            if pts is None and not self._timeline.started and len(held) < _MAX_HELD:
                held.append(decoded)
                continue
            yield from self._placed(held, pts)
            held = []
            if not self._came_before(pts, frame):
                came_ns = decoded.captured_ns if self._decoder.is_live else None
                yield decoded, self._timeline.place(pts, frame.duration, came_ns)
        yield from self._placed(held, None)

    def _came_before(self, pts: int | None, frame: av.VideoFrame) -> bool:
        """Whether a live stream sent the last picture once more, under the same PTS."""
        if not self._decoder.is_live:
            return False
        before, self._last_stored = self._last_stored, (pts, frame)
        again = pts is not None and before is not None and before[0] == pts and _look_alike(before[1], frame)
        self.counts.duplicate_frames += again
        return again

    def _wanted(self) -> Iterator[DecodedFrame]:
        """What is decoded once frames are wanted; of a stream that ends before that, its last frame."""
        unseen: DecodedFrame | None = None
        try:
            for decoded in self._decoded:
                if self._closed.is_set():
                    return
                unseen = decoded if self._unwanted.is_set() else None
                if unseen is None:
                    yield decoded
        except BrokenOffError:
            if unseen is not None:
                yield unseen
            raise
        if unseen is not None:
            yield unseen

    def _placed(self, held: list[DecodedFrame], first_pts: int | None) -> Iterator[tuple[DecodedFrame, int]]:
        durations = [decoded.frame.duration for decoded in held]
        return zip(held, self._timeline.begin(durations, first_pts), strict=True)

    def _broken(self, last: Frame | None, why: str) -> StreamBrokenError:
        where = "at its first frame" if last is None else f"after frame {last.index} at {last.time_s:.3f} s"
        return StreamBrokenError(f"{self._target.label} broke off {where}: {why}")

    def _interrupt(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._decoder.stop()

    def _release(self) -> None:
        if self._reader is None:
            self._decoder.close()
        else:  # its thread closes the decoder; one that hangs in FFmpeg does so when FFmpeg comes back
            self._reader.close()
            self._decoder.stop()
            self._reader.join(_READER_WAIT_S)
            self._decoder.join(_READER_WAIT_S)


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    decoder: Decoder
    first: av.VideoFrame
    frames: Iterator[DecodedFrame]  # the first one included

    def close(self) -> None:
        self.decoder.close()


def _open(
    target: AvTarget,
    counts: SourceCounts,
    timeouts_s: tuple[float, float],
    cancelled: threading.Event | None,
) -> _Opened:
    connect_timeout_s, read_timeout_s = timeouts_s

    def connect() -> _Opened:
        # Longer than who waits for it waits, so that the time-out is always told in the same words.
        decoder = Decoder(target, counts, connect_timeout_s + _GRACE_S, read_timeout_s)
        try:
            return _first_picture(decoder)
        except BaseException:
            decoder.close()
            raise

    try:
        if target.path is not None:
            return connect()
        return call_with_deadline(connect, connect_timeout_s, _Opened.close, cancelled)
    except TimeoutError:
        message = f"cannot open {target.label}: {_silence(target, connect_timeout_s)}"
        raise UnreadyError(message, nobody_is_there=False) from None
    except NoVideoError as error:
        raise SourceError(f"cannot open {target.label}: {error}") from None
    except BrokenOffError as error:
        what = "get a complete copy" if target.kind is TargetKind.FILE else "check that it sends video"
        raise SourceError(f"cannot open {target.label}: {error}; {what}") from None
    except (av.FFmpegError, OSError) as error:
        message = f"cannot open {target.label}: {_why(error, target)}"
        if may_pass(error, target):
            raise UnreadyError(message, nobody_is_there=nobody_is_there(error, target)) from None
        raise SourceError(message) from None


def _first_picture(decoder: Decoder) -> _Opened:
    frames = decoder.frames()
    first = next(frames, None)
    if first is None:
        raise NoVideoError("not one picture in it can be decoded; check that it plays in another program")
    return _Opened(decoder, first.frame, chain([first], frames))


def _look_alike(first: av.VideoFrame, second: av.VideoFrame) -> bool:
    planes = zip(first.planes, second.planes, strict=False)
    return (first.width, first.height) == (second.width, second.height) and all(
        bytes(one) == bytes(other) for one, other in planes
    )


def _silence(target: AvTarget, timeout_s: float) -> str:
    what = "check address and network" if target.kind is TargetKind.URL else "check that something sends"
    return f"no picture came within {timeout_s:g} s; {what}, or allow more time to connect"


def _why(error: Exception, target: AvTarget) -> str:
    if target.path is not None and isinstance(error, av.FFmpegError):
        missing = missing_bytes(target.path)
        if missing:
            return f"the file is cut off, at least {missing} bytes are missing; get a complete copy"
    return why_not_opened(error, target)


def _stream_info(decoder: Decoder, converter: RgbConverter, source_id: str) -> StreamInfo:
    stream = decoder.stream
    return StreamInfo(
        source_id=source_id,
        width_px=converter.width_px,
        height_px=converter.height_px,
        time_base=stream.time_base or Fraction(1, av.time_base),
        frame_rate=frame_rate(stream),
        is_live=decoder.is_live,
        frame_count=None if decoder.is_live else frame_count(decoder.container, stream),
    )
