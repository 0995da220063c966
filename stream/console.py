"""How the program speaks to whoever started it: exit codes, and single lines on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class LogLines(logging.Handler):
    """What the log has to say, as single lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        word = "note" if record.levelno < logging.WARNING else record.levelname.lower()
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        say(f"{word}: {text}")


@contextmanager
def log_lines() -> Iterator[None]:
    """Meanwhile the log is shown: warnings, and who steered the run."""
    log, audit, handler = logging.getLogger("maskstream"), logging.getLogger("maskstream.control"), LogLines()
    before = audit.level
    log.addHandler(handler)
    audit.setLevel(logging.INFO)
    try:
        yield
    finally:
        audit.setLevel(before)
        log.removeHandler(handler)


def say_error(error: BaseException) -> None:
    """One line to stderr."""
    say(f"error: {error}")


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
