"""Where results go: `video=out.mp4`, `masks=out/masks`, `zmq=tcp://127.0.0.1:5555`, `preview=out.png`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from maskstream.model.errors import ConfigError

from .mask_sink import MaskSink
from .preview_sink import PreviewSink
from .spec_options import Options, all_or_latest, count, path, seconds, split_options, yes_or_no
from .types import FrameResult, StreamInfo
from .video_sink import VideoSink
from .zmq_sink import ZmqSink

__all__ = ["CollectSink", "MaskSink", "PreviewSink", "Sink", "VideoSink", "ZmqSink", "make_sink"]


class Sink(Protocol):
    """Takes results one after the other. Every method is called by one thread at a time.

    A sink that waits for somebody may also have `hurry(within_s)`: called, from another thread or a signal
    handler, when a run has failed or is ended, so that open() waits no more and close() not longer than that.
    One that tells how the stream is doing may have `watch(source, is_paused)`: called before open() with
    functions that any thread may ask.
    """

    def check(self) -> None:
        """See, before any work is done, that writing will be possible; creates nothing.

        Raises:
            SinkError: it will not.
        """
        ...

    def open(self, info: StreamInfo) -> None:
        """Get ready for this stream.

        Raises:
            SinkError: the output cannot be made.
        """
        ...

    def write(self, result: FrameResult) -> None:
        """Take the next result.

        Raises:
            SinkError: it cannot be written; what was written before stays readable.
        """
        ...

    def close(self) -> None:
        """Finish the output; may be called twice, and without open().

        Raises:
            SinkError: the end cannot be written.
        """
        ...


class CollectSink:
    """Keeps all results in memory, for notebooks and tests."""

    def __init__(self) -> None:
        self.info: StreamInfo | None = None
        self.results: list[FrameResult] = []
        self.closed = False

    def check(self) -> None:
        """Memory is always there."""

    def open(self, info: StreamInfo) -> None:
        """Keep the stream's facts."""
        self.info = info

    def write(self, result: FrameResult) -> None:
        """Keep the result."""
        self.results.append(result)

    def close(self) -> None:
        """Note that it is the end."""
        self.closed = True


def make_sink(spec: str) -> Sink:
    """A sink from what a person writes: KIND=TARGET, for masks and zmq also KIND=TARGET?OPTION=VALUE&...

    Raises:
        ConfigError: the kind or an option is unknown, or an option's value is wrong.
    """
    kind, equals, target = spec.partition("=")
    if kind not in _MAKERS:
        raise ConfigError(f"sink {spec!r}: {_advice(kind if equals else '', spec)}")
    if not target:
        raise ConfigError(f"sink {spec!r}: the target is missing, as in {_EXAMPLES[kind]}")
    return _MAKERS[kind](target)


def _advice(kind: str, spec: str) -> str:
    """What was probably meant by a spec of no known kind."""
    if not kind:
        endings = {".png": "preview", ".jpg": "preview", "": "masks"}
        guess = "zmq" if "://" in spec else endings.get(Path(spec).suffix.lower(), "video")
        return f"has no kind, did you mean '{guess}={spec}'?"
    near = difflib.get_close_matches(kind, _MAKERS, 1)
    meant = f"did you mean {near[0]!r}? Known" if near else "known"
    return f"unknown kind {kind!r}, {meant} are {', '.join(_MAKERS)}"


def _masks(target: str) -> Sink:
    folder, options = split_options("sink masks", target, {"png": yes_or_no, "overwrite": yes_or_no})
    return MaskSink(Path(folder).expanduser(), **options)  # type: ignore[arg-type]


def _zmq(target: str) -> Sink:
    known: Options = {
        "keep": all_or_latest,
        "hwm": count,
        "heartbeat_s": seconds,
        "subscribers": count,
        "wait_s": seconds,
        "linger_s": seconds,
        "key": path,
        "clients": path,
    }
    endpoint, options = split_options("sink zmq", target, known)
    return ZmqSink(endpoint, **options)  # type: ignore[arg-type]


_MAKERS: dict[str, Callable[[str], Sink]] = {
    "video": lambda target: VideoSink(Path(target).expanduser()),  # shells leave the ~ in video=~/out.mp4
    "masks": _masks,
    "zmq": _zmq,
    "preview": lambda target: PreviewSink(Path(target).expanduser()),
}
_EXAMPLES = {
    "video": "video=out.mp4",
    "masks": "masks=out/masks",
    "zmq": "zmq=tcp://127.0.0.1:5555",
    "preview": "preview=out.png",
}
