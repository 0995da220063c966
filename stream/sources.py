"""The one door to frames: a file, a URL, a camera, a capture device, pictures, or a synthetic scene."""

from __future__ import annotations

import difflib
import functools
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maskstream.model.errors import SourceError

from .av_dialer import AvDialer
from .av_source import AvSource
from .av_target import AvTarget, camera_target, device_target, file_target, url_target
from .chaos import open_chaos
from .chaos_spec import parse_chaos
from .picture_source import PictureSource, find_pictures, is_picture
from .recovery import Notify, keep_connected
from .recovery_connector import Connector
from .recovery_knock import knocker
from .recovery_settings import ReconnectConfig
from .source_base import BaseSource, Source, UnreadyError
from .source_status import SourceCounts, SourceState, SourceStatus
from .synthetic import SyntheticSource
from .urls import is_url, redact

log = logging.getLogger("maskstream")

__all__ = ["Source", "SourceCounts", "SourceState", "SourceStatus", "open_source"]


def open_source(
    spec: str,
    *,
    source_id: str | None = None,
    connect_timeout_s: float = 10.0,
    read_timeout_s: float = 10.0,
    max_frames: int | None = None,
    realtime: bool = False,
    picture_rate: Fraction | float = 24,
    options: Mapping[str, str] | None = None,
    max_staleness_ms: float | None = None,
    reconnect: ReconnectConfig | None = None,
    notify: Notify | None = None,
) -> BaseSource:
    """Opens anything that frames can come from.

    | spec | opens |
    |---|---|
    | `clip.mp4`, `file:///clip.mkv` | a file of any container and codec that FFmpeg knows |
    | `rtsp://`, `http(s)://` (HLS too), `rtmp://`, `udp://` ... | a network stream |
    | `0`, `camera:0`, `camera:NAME`, `/dev/video0` | a camera |
    | `device:FORMAT:NAME` | any capture device of FFmpeg, such as `device:x11grab::0` |
    | `frames/`, `frames/*.png` | pictures, in natural order, `picture_rate` of them a second |
    | `synthetic:objects=3,frames=100` | moving shapes with known masks, see `synthetic` |
    | `chaos:SOURCE?seed=1`, `chaos:SCRIPT.yaml` | another source, and what can go wrong with it |

    Args:
        spec: what to open.
        source_id: its name in frames and messages; derived from `spec`, without passwords, where None.
        connect_timeout_s: how long a stream may take to show its first picture.
        read_timeout_s: how long a stream may be silent before it counts as broken.
        max_frames: stop after so many.
        realtime: play a recording at its own pace and call it live.
        picture_rate: frames per second of a folder of pictures.
        options: FFmpeg's own options for this input, such as `{"video_size": "1280x720"}` for a camera.
        max_staleness_ms: packets of a live stream that have waited longer than this are not decoded.
        reconnect: connect a live stream again when it breaks off; None: it then ends with StreamBrokenError.
        notify: takes sentences about that; a warning in the log, if not given.

    Raises:
        SourceError: it cannot be opened; one line says what, why and what to do.
    """
    if not spec.strip():
        raise SourceError("cannot open a source without a name; give a file, a URL, a camera or a folder")
    if max_frames is not None and max_frames < 1:
        raise SourceError(f"cannot open {redact(spec)}: max_frames must be at least 1, got {max_frames}")
    if spec == "synthetic" or spec.startswith("synthetic:"):
        return SyntheticSource.from_spec(spec, source_id=source_id, max_frames=max_frames, realtime=realtime)
    if spec.startswith("chaos:"):
        chaos = parse_chaos(spec)
        inner = open_source(
            chaos.source,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            picture_rate=picture_rate,
            options=options,
        )
        return open_chaos(
            inner,
            chaos,
            source_id=source_id,
            reconnect=reconnect,
            notify=notify or log.warning,
            max_frames=max_frames,
        )
    local = _local_path(spec)
    if local is not None and _means_pictures(local):
        return PictureSource(
            find_pictures(local),
            source_id=source_id or Path(local).name or local,
            frame_rate=Fraction(picture_rate).limit_denominator(1001),
            max_frames=max_frames,
            realtime=realtime,
        )
    connect = AvDialer(
        lambda: _with_options(_file(Path(local)) if local is not None else _av_target(spec), options),
        functools.partial(
            AvSource,
            source_id=source_id,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            max_frames=max_frames,
            realtime=realtime,
            max_staleness_ms=max_staleness_ms,
            counts=SourceCounts(),
        ),
    )
    closed = threading.Event()
    if reconnect is None or not reconnect.enabled or local is not None or realtime:
        return connect(closed)
    connector = Connector(connect, reconnect, answers=knocker(spec, closed), closed=closed)
    waits = functools.partial(_waits, spec, reconnect.at_start)
    return keep_connected(
        connector, reconnect, waits=waits, notify=notify or log.warning, max_frames=max_frames
    )


def _with_options(target: AvTarget, options: Mapping[str, str] | None) -> AvTarget:
    return replace(target, options={**target.options, **(options or {})})


def _waits(spec: str, at_start: str, error: SourceError) -> bool:
    """Whether a source that was not there at the start is waited for."""
    if at_start != "auto":
        return at_start == "wait"
    is_live_url = is_url(spec) and url_target(spec).is_live is True
    return is_live_url and isinstance(error, UnreadyError)


def check_spec(spec: str) -> bool:
    """Whether a source can be opened just to look at it; False where a network or a device has its say.

    Raises:
        SourceError: there is no such device, or the spec makes no sense.
    """
    if spec.startswith("chaos:"):
        return check_spec(parse_chaos(spec).source)
    if not spec or spec == "synthetic" or spec.startswith("synthetic:"):
        return True  # opening it will tell what is wrong
    local = _local_path(spec)
    if local is None:
        _av_target(spec)
    return local is not None and not Path(local).is_fifo()


def files_of(spec: str) -> list[Path]:
    """What a source reads on this machine: a file, or pictures and their folder; else empty."""
    if spec.startswith("chaos:"):
        return files_of(parse_chaos(spec).source)
    local = None if spec.startswith("synthetic") else _local_path(spec)
    if not local:
        return []
    try:
        pictures = find_pictures(local) if _means_pictures(local) else []
    except SourceError:  # opening it will tell
        return []
    return [Path(local), *pictures]


def _local_path(spec: str) -> str | None:
    """The path that `spec` names; None where it names a camera, a device or a URL."""
    if spec.startswith("file://"):
        return unquote(urlsplit(spec).path)
    if is_url(spec) or _camera_name(spec) is not None or spec.startswith("device:"):
        return None
    return spec


def _camera_name(spec: str) -> str | None:
    if spec.startswith("camera:"):
        return spec.removeprefix("camera:")
    return spec if spec.isdecimal() or spec.startswith(("/dev/video", "/dev/v4l/")) else None


def _av_target(spec: str) -> AvTarget:
    camera = _camera_name(spec)
    if camera is not None:
        return camera_target(camera)
    return device_target(spec) if spec.startswith("device:") else url_target(spec)


def _means_pictures(local: str) -> bool:
    path = Path(local)
    if _exists(path):
        return path.is_dir() or is_picture(path)
    return any(character in local for character in "*?[")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        raise _forbidden(path) from None
    except (OSError, ValueError):  # a name that no file can have
        return False


def _file(path: Path) -> AvTarget:
    if not _exists(path):
        raise SourceError(f"cannot open {path}: there is no such file{_nearest(path)}")
    if path.is_file():
        _check_readable(path)
    return file_target(path)


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except PermissionError:
        raise _forbidden(path) from None
    except OSError as error:
        raise SourceError(f"cannot open {path}: {error.strerror}; check the disk it is on") from None
    if is_empty:
        raise SourceError(f"cannot open {path}: the file is empty (0 bytes); get a complete copy")


def _forbidden(path: Path) -> SourceError:
    return SourceError(f"cannot open {path}: permission denied; ask for the right to read it")


def _nearest(path: Path) -> str:
    """A hint for a name that does not exist: the one it may have meant, or the folder that was searched."""
    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder} either, check the path"
    names = [entry.name for entry in folder.iterdir()] if os.access(folder, os.R_OK) else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {folder / close[0]}?" if close else f" in {folder.resolve()}; check the name"
