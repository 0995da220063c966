"""Annotated video: every frame at its own time, readable at any moment, even when the program is killed.

An MP4 is written as fragments of one frame each, which is what makes a torn file playable, and becomes a
plain, seekable MP4 when it is closed: the last 8 bytes written turn the fragments into one body. FFmpeg calls
it hybrid_fragmented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from maskstream.model.errors import SinkError
from maskstream.model.types import RgbImage

from .lasting_file import LastingFile
from .overlay import annotate
from .targets import check_file
from .types import FrameResult, StreamInfo

# No B-frames and no look-ahead: a frame is in the file as soon as it is written, and PTS needs no edit list.
_H264 = {
    "preset": "veryfast",
    "crf": "20",
    "bf": "0",
    "x264-params": "rc-lookahead=0:sync-lookahead=0:sliced-threads=1:mbtree=0",
}
_VP9 = {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1", "lag-in-frames": "0"}
_FRAGMENTED = {"movflags": "hybrid_fragmented+delay_moov+frag_every_frame", "flush_packets": "1"}
_CLUSTERED = {"cluster_time_limit": "1000", "flush_packets": "1"}  # ms
_LATEST_START_S = 10  # a file that starts later is moved to start at 0: players show nothing until it starts
_BUFFER_BYTES = 1 << 20  # a frame is written in one go
_HD_HEIGHT_PX = 720


@dataclass(frozen=True, slots=True)
class _Format:
    """What stands behind a file name's ending."""

    muxer: str
    codec: str
    codec_options: dict[str, str] = field(default_factory=dict)
    muxer_options: dict[str, str] = field(default_factory=dict)


_FORMATS = {
    ".mp4": _Format("mp4", "libx264", _H264, _FRAGMENTED),
    ".mov": _Format("mov", "libx264", _H264, _FRAGMENTED),
    ".mkv": _Format("matroska", "libx264", _H264, _CLUSTERED),
    ".webm": _Format("webm", "libvpx-vp9", _VP9, _CLUSTERED),
}


class VideoSink:
    """Writes each frame with its masks drawn on it to a video file.

    The file appears, and one of the same name is replaced, when the first frame arrives. Sides that are odd
    grow by one pixel, a copy of the edge: H.264 and VP9 players want even ones.

    Args:
        path: ends in .mp4, .mov, .mkv (H.264) or .webm (VP9).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._info: StreamInfo | None = None
        self._writer: _Writer | None = None

    def check(self) -> None:
        """See that the file can be written; creates nothing.

        Raises:
            SinkError: unknown ending, no such encoder in this FFmpeg, or not writable.
        """
        form = _format_of(self.path)
        if form.codec not in av.codecs_available:
            raise SinkError(
                f"cannot write {self.path}: this FFmpeg has no encoder {form.codec}; "
                f"choose another ending ({', '.join(_FORMATS)}) or install av from PyPI"
            )
        check_file(self.path)

    def open(self, info: StreamInfo) -> None:
        """Note what stream it is; the file is made when the first frame comes."""
        self._info = info

    def write(self, result: FrameResult) -> None:
        """Add one frame.

        Raises:
            SinkError: the file cannot be written; what was written before stays playable.
        """
        frame = result.frame
        image = annotate(frame.image, result.objects, frame.time_s)
        if self._writer is None:
            if self._info is None:
                raise ValueError("open() comes before write()")
            self._writer = _Writer(self.path, self._info, image.shape[:2], frame.pts)
        self._writer.add(image, frame.pts)

    def close(self) -> None:
        """Finish the file.

        Raises:
            SinkError: the end cannot be written; the file is playable but has no index.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _format_of(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        why = "AVI cannot hold the time of each frame" if path.suffix.lower() == ".avi" else "unknown ending"
        raise SinkError(f"cannot write {path}: {why}; use one of {', '.join(_FORMATS)}") from None


class _Writer:
    """An open file: encoder, muxer, clock."""

    def __init__(self, path: Path, info: StreamInfo, hw: tuple[int, int], first_pts: int) -> None:
        form = _format_of(path)
        time_base, rate = info.time_base, info.frame_rate or Fraction(30)
        self._even_hw = (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2)
        self._hw, self._time_base = hw, time_base
        self._start = _start_of_file(first_pts, time_base, info.is_live)
        self._last = -1  # PTS in the file
        self._file = LastingFile(path)
        options = dict(form.muxer_options)
        if form.muxer in ("mp4", "mov"):  # else the start would be rounded to a millisecond
            options["movie_timescale"] = str(time_base.denominator)
        self._container = av.open(
            self._file, "w", format=form.muxer, container_options=options, buffer_size=_BUFFER_BYTES
        )
        self._stream = self._add_stream(form, rate)
        self._colours = _Colours(self._stream.codec_context)

    def _add_stream(self, form: _Format, rate: Fraction) -> VideoStream:
        stream = self._container.add_stream(form.codec, rate=rate, options=dict(form.codec_options))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.height, context.width = self._even_hw
        context.time_base = self._time_base
        context.gop_size = max(1, round(2 * rate))  # seeking finds a key frame every 2 s
        return stream

    def add(self, image: RgbImage, pts: int) -> None:
        frame = self._colours.convert(self._fitted(image))
        self._last = max(
            pts - self._start, self._last + 1
        )  # sources promise growing PTS, muxers insist on it
        frame.pts, frame.time_base = self._last, self._time_base
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        with self._file:
            with self._container:
                if self._file.error is None:
                    self._mux(self._stream.encode(None))
            self._file.check()

    def _mux(self, packets: Sequence[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            self._container.mux(packet)
        self._file.check()

    def _fitted(self, image: RgbImage) -> RgbImage:
        """The image (H, W, 3) at the file's size: a stream may change its own in the middle."""
        if image.shape[:2] != self._hw:
            image = _letterboxed(image, self._hw)
        bottom, right = np.subtract(self._even_hw, self._hw)
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return image


def _letterboxed(image: RgbImage, hw: tuple[int, int]) -> RgbImage:
    """The whole image (H, W, 3) as large as it fits into (h, w), between black bars if its shape differs."""
    scale = min(hw[0] / image.shape[0], hw[1] / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    fitted = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    top, left = (hw[0] - height) // 2, (hw[1] - width) // 2
    bars = (top, hw[0] - height - top, left, hw[1] - width - left)
    return np.asarray(cv2.copyMakeBorder(fitted, *bars, cv2.BORDER_CONSTANT, value=(0, 0, 0)))


def _start_of_file(first_pts: int, time_base: Fraction, is_live: bool) -> int:
    """The PTS that becomes 0. Files keep their times; a live stream's clock may have run for days."""
    start_s = first_pts * time_base
    return 0 if not is_live and 0 <= start_s <= _LATEST_START_S else first_pts


class _Colours:
    """RGB to YUV, and the tags that tell a player which YUV: BT.601 for SD, BT.709 for HD, as is usual."""

    def __init__(self, context: VideoCodecContext) -> None:
        hd = context.height >= _HD_HEIGHT_PX
        self._space = Colorspace.ITU709 if hd else Colorspace.ITU601
        self._reformatter = VideoReformatter()
        tag = 1 if hd else 6  # ISO/IEC 23091-2: BT.709, SMPTE 170M
        context.colorspace = context.color_primaries = context.color_trc = tag
        context.color_range = ColorRange.MPEG

    def convert(self, image: RgbImage) -> VideoFrame:
        return self._reformatter.reformat(
            VideoFrame.from_ndarray(image, format="rgb24"),
            format="yuv420p",
            dst_colorspace=self._space,
            dst_color_range=ColorRange.MPEG,
        )
