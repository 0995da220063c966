"""URLs that can be shown: whatever is printed or published about a source goes through here first."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.\-]*://")
# Cameras and CDNs put secrets in the query too: `?user=admin&pwd=...`, `?token=...`.
_SECRET_KEY = re.compile(r"pass|pwd|token|secret|auth|key|sig|credential|session", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether `text` starts with a scheme and `://`."""
    return bool(_SCHEME.match(text))


def redact(url: str) -> str:
    """The URL with `***` in place of its password and of secrets in its query."""
    if url.startswith("chaos:"):  # another source, wrapped
        return "chaos:" + redact(url.removeprefix("chaos:"))
    if not is_url(url):
        return url
    scheme, rest = url.split("://", 1)
    before, mark, query = rest.partition("?")
    return f"{scheme}://{_redact_login(before)}{mark}{_redact_query(query)}"


def host_of(url: str) -> str:
    """The host (and port) that the URL names, without user or password."""
    return urlsplit(redact(url)).netloc.rpartition("@")[2]


def _redact_login(rest: str) -> str:
    """`user:secret@host/path` -> `user:***@host/path`.

    An unescaped `@` or `/` in a password makes the URL ambiguous, so everything up to the last `@` is taken
    for the login: rather lose part of a path than print part of a password.
    """
    login, at, tail = rest.rpartition("@")
    if not at:
        return rest
    user, colon, _ = login.partition(":")
    if "/" in user:  # the `@` belongs to the path, as in rtsp://host/@channel
        return rest
    return f"{user}:***@{tail}" if colon else rest


def _redact_query(query: str) -> str:
    return "&".join(_redact_parameter(part) for part in query.split("&"))


def _redact_parameter(part: str) -> str:
    key, equals, _ = part.partition("=")
    return f"{key}=***" if equals and _SECRET_KEY.search(key) else part
