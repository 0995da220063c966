"""FFmpeg's errors in words that say what to do."""

from __future__ import annotations

import errno

import av
from av import error as ffmpeg

from .av_target import AvTarget, TargetKind
from .urls import host_of

_NOT_MEDIA = "it is not a video, or its beginning is damaged"
_PLAYS_ELSEWHERE = "check that it plays in another program, or get a fresh copy"
_BY_ERROR: list[tuple[type[Exception], str, str]] = [
    (ffmpeg.HTTPUnauthorizedError, "wrong or missing user name or password (401)", "check them in the URL"),
    (ffmpeg.HTTPForbiddenError, "access is forbidden (403)", "check the user's rights and the URL"),
    (ffmpeg.HTTPNotFoundError, "the server has no such stream (404)", "check the path in the URL"),
    (ffmpeg.HTTPTooManyRequestsError, "too many requests (429)", "try again later"),
    (ffmpeg.HTTPClientError, "the server refuses, or has no video there (4xx)", "check the URL"),
    (ffmpeg.HTTPServerError, "the server failed (5xx)", "try again later, or ask who runs it"),
    (ffmpeg.ConnectionRefusedError, "connection refused", "check host and port, and that the server runs"),
    (ffmpeg.ConnectionResetError, "the server closed the connection", "check that it serves this protocol"),
    (ffmpeg.ProtocolNotFoundError, "this FFmpeg has no such protocol", "use another, such as rtsp or https"),
    (ffmpeg.DecoderNotFoundError, "this FFmpeg has no decoder for it", "convert it to H.264 first"),
    (ffmpeg.PermissionError, "permission denied", "ask for the right to read it"),
    (ffmpeg.FileNotFoundError, "there is no such thing", "check the name"),
    (ffmpeg.EOFError, "it ended before any picture", _PLAYS_ELSEWHERE),
]
_BY_ERRNO = {
    errno.EBUSY: ("it is in use", "close the program that uses it"),
    errno.ENODEV: ("the device is gone", "plug it in again"),
    errno.EHOSTUNREACH: ("no way to that host", "check the address and the network"),
    errno.ENETUNREACH: ("no network", "check the connection"),
    errno.ETIMEDOUT: ("no answer", "check the address and the network"),
}
# Of a network: what a server that restarts, or a machine that is still booting, makes of a try to connect.
_NOBODY = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EIO)
_PASSING = (
    ffmpeg.HTTPServerError,
    ffmpeg.HTTPTooManyRequestsError,
    ffmpeg.ConnectionResetError,
    ffmpeg.BrokenPipeError,
    ffmpeg.EOFError,
)
_LOST_CONNECTION = (errno.EIO, errno.ECONNRESET, errno.EPIPE)


def why_not_opened(error: Exception, target: AvTarget) -> str:
    """`why; what to do` for an error while opening `target`; free of passwords."""
    for kind, why, what in _BY_ERROR:
        if isinstance(error, kind):
            return f"{why}; {what}"
    number = getattr(error, "errno", None)
    if number in _BY_ERRNO:
        return "; ".join(_BY_ERRNO[number])
    if target.kind is TargetKind.URL and number == errno.EIO:
        # What FFmpeg makes of a name that cannot be resolved, and of little else.
        return f"host {host_of(target.address)} cannot be found or does not answer; check name and network"
    if isinstance(error, av.InvalidDataError) and target.kind is TargetKind.URL:
        return "what answers there sends no video; check the URL"
    if isinstance(error, av.InvalidDataError):
        return f"{_NOT_MEDIA}; {_PLAYS_ELSEWHERE}"
    return f"{reason_of(error)}; check the name and its options"


def nobody_is_there(error: Exception, target: AvTarget) -> bool:
    """Whether nothing answers at the address."""
    return target.kind is TargetKind.URL and getattr(error, "errno", None) in _NOBODY


def may_pass(error: Exception, target: AvTarget) -> bool:
    """Whether the same address may work later, unlike with a wrong password or path."""
    passing = target.kind is TargetKind.URL and isinstance(error, _PASSING)
    return passing or nobody_is_there(error, target)


def why_reading_failed(error: Exception, target: AvTarget) -> str:
    """Why an opened stream gives no more."""
    if target.kind is TargetKind.URL and getattr(error, "errno", None) in _LOST_CONNECTION:
        return "the connection was lost"
    return reason_of(error)


def reason_of(error: Exception) -> str:
    """What FFmpeg calls the error, without the address it adds."""
    return getattr(error, "strerror", None) or type(error).__name__
