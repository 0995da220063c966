"""`maskstream keys`: a pair of key files."""

from __future__ import annotations

from pathlib import Path

from .console import EXIT_OK, paper
from .keys import make_keys


def keys_command(name: str) -> int:
    """Make NAME.key and NAME.key_secret, say what they are for; the exit code."""
    public, secret = make_keys(Path(name).expanduser())
    out = paper()
    out.print(f"{public}: give it to whoever this key's owner talks to", soft_wrap=True)
    out.print(f"{secret}: stays with its owner; nobody else may read it", soft_wrap=True)
    return EXIT_OK
