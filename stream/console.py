"""How the program speaks to whoever started it: exit codes, and single lines on stderr."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

EXIT_OK = 0
EXIT_BROKEN = 1  # it began and did not come to its end; what came before is written
EXIT_INPUT = 2  # it could not be started as asked
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def say(message: str) -> None:
    """One line to stderr, whatever the message holds."""
    sys.stderr.write(f"maskstream: {' '.join(message.split())}\n")


def leave(code: int) -> NoReturn:
    """End the program with this exit code, at once.

    Everything is closed by now. Python would go on to take PyTorch and OpenVINO apart piece by piece, which
    takes one or two seconds and changes nothing, and would wait for threads that hang.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it has gone, or it was closed
            stream.flush()
    logging.shutdown()
    os._exit(code)


def paper() -> Console:
    """Where results are printed: stdout, and wide enough for a path where it is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)
