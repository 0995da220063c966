"""Requests to a run and its answers, as bytes; docs/control.md describes them for other languages.

Nothing in a request is trusted, and a key that is not known is a mistake: a request must not do less than it
was meant to.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from maskstream.model.errors import PromptError
from maskstream.model.types import BoolMask, Prompt
from numpy.typing import NDArray

from . import rle
from .commands import Applied, Command, Detections, Remove, Rename, Show
from .wire_fields import Fields, WireError, pack, unpack

VERSION = 1
MAX_REQUEST_BYTES = 1024 * 1024
MAX_POINTS = 64
MAX_BOXES = 256
_MOST_PX = 1e6  # beyond every picture, and well within float32
_ID = re.compile(r"[!-~]{1,64}")

_WHEN = ("pts", "time_s", "wait")
_SHOW = ("object", "box", "points", "negative", "mask", *_WHEN)
KEYS: Mapping[str, tuple[str, ...]] = {
    "add": _SHOW,
    "correct": _SHOW,
    "show": _SHOW,
    "remove": ("object", *_WHEN),
    "rename": ("object", "new_object", *_WHEN),
    "detections": ("boxes", "least_iou", "refresh", "replace", *_WHEN),
    "pause": (),
    "resume": (),
    "shutdown": (),
    "list": (),
    "metrics": (),
}
_KNOWN = {"add": False, "correct": True, "show": None}
_ASKS_ONLY = ("list", "metrics")


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What somebody wants a run to do or to tell."""

    request_id: str  # the sender's; the same once more is the same request, repeated
    verb: str  # one of KEYS
    command: Command | None = None  # of verbs that are about objects
    wait: bool = True  # to be answered when the command has taken effect, not when it is taken in

    @property
    def changes(self) -> bool:
        """Whether it does more than ask."""
        return self.verb not in _ASKS_ONLY


class RequestError(WireError):
    """A request that cannot be understood; `request_id` is "" where not even that can."""

    def __init__(self, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id


def encode_request(request_id: str, verb: str, fields: Mapping[str, object]) -> bytes:
    """A request as bytes; fields that are None are left out."""
    given = {key: value for key, value in fields.items() if value is not None}
    return pack({"version": VERSION, "id": request_id, "verb": verb, **given})


def decode_request(data: bytes, picture_hw: tuple[int, int]) -> Request:
    """Understand a request, trusting nothing in it.

    Args:
        data: what came.
        picture_hw: size of the stream's pictures, which a mask must have.

    Raises:
        RequestError: with what is wrong.
    """
    request_id = ""
    try:
        fields = Fields(unpack(data, MAX_REQUEST_BYTES), "request")
        request_id = _request_id(fields)
        return _request(request_id, fields, picture_hw)
    except (WireError, PromptError) as error:
        raise RequestError(str(error), request_id) from error


def _request_id(fields: Fields) -> str:
    text = fields.get("id", str)
    if not _ID.fullmatch(text):
        raise WireError("request: id must be 1 to 64 printable ASCII characters without spaces")
    return text


def _request(request_id: str, fields: Fields, picture_hw: tuple[int, int]) -> Request:
    version = fields.integer("version")
    if version != VERSION:
        raise WireError(f"the request has version {version}, this maskstream reads {VERSION}")
    verb = fields.text("verb", 40)
    if verb not in KEYS:
        raise WireError(f"unknown verb {verb!r}, {_nearest(verb, KEYS)}")
    for key in fields.record:
        if key not in ("version", "id", "verb", *KEYS[verb]):
            raise WireError(f"{verb}: unknown key {str(key)[:40]!r}, {_nearest(str(key)[:40], KEYS[verb])}")
    wait = fields.optional("wait", bool)
    return Request(request_id, verb, _command(verb, fields, picture_hw), wait is not False)


def _nearest(name: str, names: Mapping[str, object] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    known = f"known are {', '.join(names)}" if names else "it takes none"
    return f"did you mean {close[0]!r}?" if close else known


def _command(verb: str, fields: Fields, picture_hw: tuple[int, int]) -> Command | None:
    pts, time_s = fields.optional_integer("pts"), fields.number("time_s")
    if pts is not None and time_s is not None:
        raise WireError(f"{verb}: give pts or time_s, not both")
    if time_s is not None and not abs(time_s) < 1e9:
        raise WireError(f"{verb}: time_s must be seconds, got {time_s}")
    match verb:
        case "add" | "correct" | "show":
            prompt = _prompt(fields, picture_hw)
            return Show(prompt, _KNOWN[verb], time_s=time_s, pts=pts, picture_hw=picture_hw)
        case "remove":
            return Remove(_object_id(fields, "object"), time_s=time_s, pts=pts)
        case "rename":
            old, new = (_object_id(fields, key) for key in ("object", "new_object"))
            return Rename(old, new, time_s=time_s, pts=pts)
        case "detections":
            return replace(_detections(fields), time_s=time_s, pts=pts, picture_hw=picture_hw)
    return None


def _object_id(fields: Fields, key: str) -> int:
    return fields.integer(key, 1, 65_535)


def _prompt(fields: Fields, picture_hw: tuple[int, int]) -> Prompt:
    on, off = (_numbers(fields, key, 2, MAX_POINTS) for key in ("points", "negative"))
    box = fields.optional("box", list)
    return Prompt(
        _object_id(fields, "object"),
        points_xy=np.concatenate([on, off]),
        point_labels=np.array([1] * len(on) + [0] * len(off), np.int32),
        box_xyxy=None if box is None else _row(box, "box", 4),
        mask=_mask(fields, picture_hw),
    )


def _numbers(fields: Fields, key: str, width: int, most: int) -> NDArray[np.float32]:
    """A list of at most `most` lists of `width` numbers each, as (N, width)."""
    rows = fields.optional(key, list) or []
    if len(rows) > most:
        raise WireError(f"request: {len(rows)} {key}, more than {most}")
    return np.array([_row(row, key, width) for row in rows], np.float32).reshape(-1, width)


def _row(row: object, key: str, width: int) -> NDArray[np.float32]:
    if (
        not isinstance(row, list)
        or len(row) != width
        or any(type(value) not in (int, float) for value in row)
    ):
        raise WireError(f"request: {key} needs {width} numbers, as in {list(range(width))}")
    if not all(abs(value) <= _MOST_PX for value in row):
        raise WireError(f"request: {key} must be in px, got {row}")
    return np.array(row, np.float32)


def _mask(fields: Fields, picture_hw: tuple[int, int]) -> BoolMask | None:
    code = fields.optional("mask", dict)
    if code is None:
        return None
    inner = Fields(code, "mask")
    size = inner.integers("size", 2)
    if size != picture_hw:  # before memory is touched
        raise WireError(f"mask: size must be that of the picture, {list(picture_hw)}, got {list(size)}")
    try:
        return rle.decode({"size": list(picture_hw), "counts": inner.get("counts", bytes)})
    except ValueError as error:
        raise WireError(f"mask: {error}") from error


def _detections(fields: Fields) -> Detections:
    least_iou = fields.number("least_iou")
    return Detections(
        _numbers(fields, "boxes", 4, MAX_BOXES),
        least_iou=0.5 if least_iou is None else least_iou,
        refresh=bool(fields.optional("refresh", bool)),
        replace=bool(fields.optional("replace", bool)),
    )


def encode_answer(request_id: str, values: Mapping[str, object]) -> bytes:
    """An answer that all went well."""
    return pack({"version": VERSION, "id": request_id, "ok": True, **values})


def encode_refusal(request_id: str, error: str) -> bytes:
    """An answer that nothing was done, and why."""
    return pack({"version": VERSION, "id": request_id, "ok": False, "error": error})


def effect_record(effect: Applied) -> dict[str, Any]:
    """What an answer says of a command that has taken effect."""
    return {
        "index": effect.index,
        "pts": effect.pts,
        "time_s": effect.time_s,
        "objects": list(effect.object_ids),
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run said to a request."""

    request_id: str
    error: str | None  # None: all went well
    values: dict[str, Any]  # what it told

    @property
    def is_pending(self) -> bool:
        """Whether a command is yet to take effect; the same request once more tells what became of it."""
        return self.values.get("pending") is True

    @property
    def effect(self) -> Applied | None:
        """When and on what a command took effect; None where it is yet to."""
        if "time_s" not in self.values:
            return None
        fields = Fields(self.values, "answer")
        return Applied(
            fields.integer("index", 0),
            fields.integer("pts"),
            fields.number("time_s") or 0.0,
            tuple(fields.integers("objects", len(fields.get("objects", list)))),
        )


def decode_answer(data: bytes) -> Answer:
    """Read an answer.

    Raises:
        WireError: it is none.
    """
    fields = Fields(unpack(data, 64 * MAX_REQUEST_BYTES), "answer")
    version = fields.integer("version")
    if version != VERSION:
        raise WireError(f"the answer has version {version}, this maskstream reads {VERSION}")
    error = None if fields.get("ok", bool) else fields.text("error", 65_536)
    values = {
        key: value for key, value in fields.record.items() if key not in ("version", "id", "ok", "error")
    }
    return Answer(fields.get("id", str), error, values)
