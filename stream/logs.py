"""The log of a run: lines for people, or one JSON object per line for programs that collect logs.

What is logged is an event: a word that does not change, a sentence, and fields: docs/operations.md.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from .console import say
from .urls import redact

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "notice", "warning", "error"]
LOG_FORMATS: tuple[str, ...] = get_args(LogFormat)
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)

NOTICE = 25  # what whoever started the run should read, and need not act on
logging.addLevelName(NOTICE, "NOTICE")

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*://\S+")


def log_event(
    log: logging.Logger, level: int, event: str, sentence: str, *, source: str | None = None, **fields: object
) -> None:
    """Log an event.

    Args:
        log: the logger.
        level: its weight.
        event: a word for programs.
        sentence: for people; one line.
        source: the stream's name.
        fields: plain values that the sentence tells, for programs.
    """
    log.log(level, "%s", sentence, extra={"event": event, "source": source, "fields": fields})


def without_secrets(text: str) -> str:
    """The text with `***` for passwords in its URLs: the last net, for whoever logs one should not."""
    return _URL.sub(lambda found: redact(found[0]), text)


class TextLines(logging.Handler):
    """`maskstream: warning: ...` on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        word = "note" if record.levelno < logging.WARNING else record.levelname.lower()
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        try:
            say(f"{word}: {without_secrets(text)}")
        except OSError:  # nobody reads any more, which is no reason to stop
            self.handleError(record)


class JsonLines(logging.Handler):
    """`{"time": ..., "level": ..., "event": ..., ...}` on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(json_line(record) + "\n")
            sys.stderr.flush()
        except OSError:
            self.handleError(record)


def json_line(record: logging.LogRecord) -> str:
    """A record as a JSON object without line breaks, keys in a fixed order."""
    values: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "event": getattr(record, "event", "message"),
        "message": record.getMessage(),
    }
    source = getattr(record, "source", None)
    if source is not None:
        values["source"] = source
    values |= getattr(record, "fields", {})
    if record.exc_info and record.exc_info[1] is not None:
        values["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
    return json.dumps(_clean(values), default=str)


def _clean(value: Any) -> Any:
    """Without secrets, however deep."""
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return without_secrets(value) if isinstance(value, str) else value


@contextmanager
def log_output(form: LogFormat = "text", level: LogLevel | None = None) -> Iterator[None]:
    """Meanwhile the log of the program is written to stderr.

    Args:
        form: text for people, or json.
        level: what is left out is less than this; None: for people what they should read, and who steered
            the run; for programs `info`.
    """
    log, audit = logging.getLogger("maskstream"), logging.getLogger("maskstream.control")
    before = log.level, audit.level
    handler: logging.Handler = JsonLines() if form == "json" else TextLines()
    log.addHandler(handler)
    log.setLevel(_number(level) or (logging.INFO if form == "json" else NOTICE))
    audit.setLevel(_number(level) or logging.INFO)
    try:
        yield
    finally:
        log.setLevel(before[0])
        audit.setLevel(before[1])
        log.removeHandler(handler)


def _number(level: LogLevel | None) -> int | None:
    return None if level is None else logging.getLevelNamesMapping()[level.upper()]


def note(sentence: str) -> None:
    """Tell whoever started the run something."""
    log_event(logging.getLogger("maskstream"), NOTICE, "note", sentence)


def last_line(form: str, level: int, event: str, sentence: str) -> None:
    """Say why the program ends, where no log is open any more."""
    if form == "text":
        say(without_secrets(sentence if level < logging.WARNING else f"error: {sentence}"))
        return
    record = logging.LogRecord("maskstream", level, "", 0, "%s", (sentence,), None)
    record.event = event
    JsonLines().emit(record)
