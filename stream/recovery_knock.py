"""Does anybody listen there? A cheap look at a server that was gone, in place of a whole try to connect."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from .interruptible import call_with_deadline

_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
_TIMEOUT_S = 1.0


def knocker(url: str, closed: threading.Event) -> Callable[[], bool] | None:
    """A function that says whether the URL's port accepts connections; None for what has no such port.

    `closed` ends it early.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme.lower())
        host = parts.hostname
    except ValueError:  # FFmpeg takes addresses that are no proper URLs
        return None
    if parts.scheme.lower() not in _PORTS or host is None or port is None:
        return None
    return functools.partial(_listens, host, port, closed)


def _listens(host: str, port: int, closed: threading.Event) -> bool:
    def knock() -> bool:
        with socket.create_connection((host, port), _TIMEOUT_S):
            return True

    # On a thread of its own: looking a name up cannot be interrupted.
    with contextlib.suppress(OSError):  # a TimeoutError is one
        return call_with_deadline(knock, 2 * _TIMEOUT_S, lambda _: None, closed)
    return False
