"""What FFmpeg is to open: a file, a URL, a camera or another capture device, with the options each needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import av
import av.device
from maskstream.model.errors import SourceError

from .urls import redact

_ALWAYS_LIVE = ("rtsp", "rtsps", "rtmp", "rtmps", "rtmpt", "udp", "rtp", "srt", "rist")
_SOURCE_ID_LENGTH = 120


class TargetKind(Enum):
    """What stands behind a target; decides about waiting, live handling and words in messages."""

    FILE = "file"
    URL = "url"
    CAMERA = "camera"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class AvTarget:
    """One thing for FFmpeg to open."""

    kind: TargetKind
    address: str  # as FFmpeg wants it; may hold a password, so never print it
    source_id: str  # as people may see it
    format: str | None = None  # FFmpeg's name of the container or device; None: let it find out
    options: dict[str, str] = field(default_factory=dict)
    path: Path | None = None  # regular files only: they can be measured and opened a second time

    @property
    def label(self) -> str:
        """How messages name it: as the user wrote it, without passwords."""
        return self.address.removeprefix("file:") if self.kind is TargetKind.FILE else self.source_id

    @property
    def is_live(self) -> bool | None:
        """Whether frames come whether or not they are taken; None where only the opened stream can tell."""
        if self.kind is TargetKind.URL:
            return True if self.address.split("://")[0].lower() in _ALWAYS_LIVE else None
        return self.kind is not TargetKind.FILE


def file_target(path: Path) -> AvTarget:
    """A file, or a pipe with a name."""
    # `file:` because FFmpeg would take the part before a colon in a name for a protocol.
    return AvTarget(TargetKind.FILE, f"file:{path}", path.name, path=path if path.is_file() else None)


def url_target(url: str) -> AvTarget:
    """An address on a network."""
    scheme = url.split("://")[0].lower()
    source_id = redact(url)[:_SOURCE_ID_LENGTH]
    return AvTarget(TargetKind.URL, url, source_id, options=_URL_OPTIONS.get(scheme, {}))


# No `fflags=nobuffer`: it throws away what was read while probing, the key frame with it, so that the first
# picture waits for the next one. Latency is kept low by decoding without frame threads (see av_decoder.py).
_RTSP = {"rtsp_transport": "tcp", "allowed_media_types": "video"}
# A server may close the connection to a consumer that takes its time: FFmpeg then goes on where it was.
_HTTP = {"reconnect": "1"}
_URL_OPTIONS = {
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "http": _HTTP,
    "https": _HTTP,
    "udp": {"overrun_nonfatal": "1"},
}


def known_already(target: AvTarget) -> AvTarget:
    """A target whose stream was open before: FFmpeg need not watch it for a second to learn what it is."""
    if target.kind is not TargetKind.URL or not target.address.lower().startswith(("rtsp:", "rtsps:")):
        return target
    return replace(target, options={"probesize": "32", **target.options})


def device_target(spec: str) -> AvTarget:
    """`device:FORMAT:NAME`, any capture device that FFmpeg knows.

    Raises:
        SourceError: it is not of that form, or this FFmpeg has no such format.
    """
    _, _, rest = spec.partition(":")
    format_name, colon, name = rest.partition(":")
    if not colon or not name:
        raise SourceError(f"cannot open {spec}: expected device:FORMAT:NAME, for example device:x11grab::0")
    if not _has_input_format(format_name):
        raise SourceError(
            f"cannot open {spec}: FFmpeg has no capture format '{format_name}' on this system; "
            "usual ones are v4l2, x11grab (Linux), avfoundation (macOS), dshow (Windows), lavfi"
        )
    return AvTarget(TargetKind.DEVICE, name, spec[:_SOURCE_ID_LENGTH], format=format_name)


def camera_target(name: str, platform: str = sys.platform) -> AvTarget:
    """A camera by number, by device path or by a part of its name.

    Raises:
        SourceError: no camera of that number or name.
    """
    make = {"linux": _linux_camera, "darwin": _macos_camera, "win32": _windows_camera}.get(platform)
    if make is None:
        raise SourceError(f"cannot open camera {name}: unknown system {platform}; use device:FORMAT:NAME")
    return make(name)


def cameras(sysfs: Path = Path("/sys/class/video4linux")) -> dict[str, str]:
    """Cameras of a Linux machine: device path -> name."""
    folders = sorted(sysfs.glob("video*"), key=lambda folder: (len(folder.name), folder.name))
    return {f"/dev/{folder.name}": (folder / "name").read_text().strip() for folder in folders}


def _linux_camera(name: str) -> AvTarget:
    path = f"/dev/video{name}" if name.isdecimal() else name
    if not path.startswith("/"):
        path = _only_match(name, cameras())
    if not Path(path).exists():
        raise _no_camera(name, cameras())
    return AvTarget(TargetKind.CAMERA, path, f"camera:{name}", format="v4l2")


def _macos_camera(name: str) -> AvTarget:
    # AVFoundation refuses its own default rate on most built-in cameras; `none` leaves the microphone off.
    options = {"framerate": "30"}
    return AvTarget(
        TargetKind.CAMERA, f"{name}:none", f"camera:{name}", format="avfoundation", options=options
    )


def _windows_camera(name: str, list_devices: Callable[[], list[str]] | None = None) -> AvTarget:
    if name.isdecimal():
        found = (list_devices or _dshow_cameras)()
        if int(name) >= len(found):
            raise _no_camera(name, {str(number): camera for number, camera in enumerate(found)})
        camera = found[int(name)]
    else:
        camera = name
    # The default buffer of 3 MB holds less than one raw 1080p frame.
    options = {"rtbufsize": "100M"}
    return AvTarget(TargetKind.CAMERA, f"video={camera}", f"camera:{name}", format="dshow", options=options)


def _dshow_cameras() -> list[str]:
    try:
        devices = av.device.enumerate_input_devices("dshow")
    except (av.FFmpegError, ValueError):
        return []
    return [device.name for device in devices if "video" in device.media_types]


def _only_match(name: str, found: dict[str, str]) -> str:
    matches = [path for path, camera in found.items() if name.lower() in camera.lower()]
    if not matches:
        raise _no_camera(name, found)
    return matches[0]  # one camera often has a second node for metadata, always behind the first


def _no_camera(name: str, found: dict[str, str]) -> SourceError:
    listed = ", ".join(f"{path} ({camera})" for path, camera in found.items()) or "none"
    return SourceError(f"cannot open camera {name}: there is no such camera; found on this machine: {listed}")


def _has_input_format(name: str) -> bool:
    try:
        return bool(re.fullmatch(r"\w+", name)) and av.format.ContainerFormat(name, "r").is_input
    except ValueError:
        return False
