"""Options at the end of what a person writes for a sink or for control: `TARGET?OPTION=VALUE&...`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from maskstream.model.errors import ConfigError

Options = Mapping[str, Callable[[str], object]]


def split_options(what: str, target: str, known: Options) -> tuple[str, dict[str, object]]:
    """`TARGET?a=1&b=2` -> TARGET and the options, each read by its reader in `known`.

    Raises:
        ConfigError: an option is unknown or its value wrong; the message begins with `what`.
    """
    target, _, query = target.partition("?")
    options: dict[str, object] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            meant = f", did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise ConfigError(f"{what}: unknown option {key!r}{meant}")
        try:
            options[key] = known[key](text)
        except ValueError as error:
            raise ConfigError(f"{what}: {key}={text!r}: {error}") from error
    return target, options


def yes_or_no(text: str) -> bool:
    """1 or 0, and words for them."""
    try:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
    except KeyError:
        raise ValueError("must be 1 or 0") from None


def path(text: str) -> Path:
    """A file or folder; `~` is the user's home."""
    if not text:
        raise ValueError("must be a path")
    return Path(text).expanduser()


def all_or_latest(text: str) -> str:
    """What is kept for a subscriber."""
    if text not in ("all", "latest"):
        raise ValueError("must be all or latest")
    return text


def count(text: str) -> int:
    """A whole number."""
    if not text.isdecimal():
        raise ValueError("must be a whole number")
    return int(text)


def seconds(text: str) -> float:
    """A time of at most an hour."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise ValueError("must be seconds, 0 to 3600")
    return value
