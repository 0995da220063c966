"""The messages on ZeroMQ: one msgpack map each, versioned; docs/wire.md describes them for other languages.

Whoever only wants to read them in Python needs msgpack and pycocotools; client.py is for those who want loss,
silence and types seen to. `decode` trusts nothing.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import Any, TypeVar

from maskstream.model.types import MaskOrigin, TrackState

from .records import Record, frame_record
from .source_status import SourceState
from .types import FrameResult
from .wire_fields import Fields, WireError, pack, unpack
from .wire_messages import EndMessage, FrameMessage, Head, LastSeen, ObjectMessage, Status, StatusMessage

__all__ = [
    "EndMessage",
    "FrameMessage",
    "Head",
    "LastSeen",
    "ObjectMessage",
    "Status",
    "StatusMessage",
    "UnknownKindError",
    "VersionError",
    "WireError",
    "decode",
    "encode",
    "encode_end",
    "encode_status",
]

VERSION = 1  # raised when a field changes its meaning or goes; new fields and kinds may come without
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_SIDE_PX = 16_384  # a message of a few bytes may claim a mask as large as the memory
MAX_OBJECTS = 65_535
_MAX_TEXT = 4096  # characters

Message = FrameMessage | StatusMessage | EndMessage
E = TypeVar("E", bound=Enum)


def encode(result: FrameResult, head: Head) -> bytes:
    """The message of one frame."""
    height_px, width_px = result.frame.hw
    facts = {"time_base": _pair(result.frame.time_base), "width_px": width_px, "height_px": height_px}
    return pack(_head("frame", head) | facts | frame_record(result))


def encode_status(status: Status, head: Head) -> bytes:
    """The message that stands in for frames while none comes."""
    return pack(_head("status", head) | status_record(status))


def status_record(status: Status) -> Record:
    """A status as plain values."""
    objects = [
        {"id": seen.object_id, "state": seen.state.value, "quality": seen.quality, "box_xyxy": seen.box_xyxy}
        for seen in status.objects
    ]
    return {
        "state": status.state.value,
        "since_unix_ns": status.since_unix_ns,
        "paused": status.paused,
        "reason": status.reason,
        "heartbeat_s": status.heartbeat_s,
        "index": status.index,
        "pts": status.pts,
        "time_base": _pair(status.time_base),
        "captured_unix_ns": status.captured_unix_ns,
        "objects": objects,
        "width_px": status.width_px,
        "height_px": status.height_px,
        "is_live": status.is_live,
    }


def encode_end(state: SourceState | None, reason: str | None, head: Head) -> bytes:
    """The message that says that no more will come."""
    return pack(_head("end", head) | {"state": state and state.value, "reason": reason})


def _head(kind: str, head: Head) -> Record:
    return {
        "version": VERSION,
        "kind": kind,
        "source": head.source,
        "run": head.run,
        "sequence": head.sequence,
        "published_unix_ns": head.published_unix_ns,
    }


def _pair(time_base: Fraction) -> list[int]:
    return [time_base.numerator, time_base.denominator]


def decode(data: bytes) -> Message:
    """Read one message, trusting nothing in it.

    Raises:
        WireError: with what is wrong; UnknownKindError for a kind that a newer publisher may send,
            VersionError for a message that cannot be understood at all.
    """
    message = Fields(unpack(data, MAX_MESSAGE_BYTES), "message")
    version = message.integer("version")
    if version != VERSION:
        raise VersionError(
            f"the message has version {version}, this maskstream reads {VERSION}; update the older side"
        )
    match message.get("kind", str):
        case "frame":
            return _frame(message)
        case "status":
            return _status(message)
        case "end":
            state = message.optional("state", str)
            return EndMessage(
                **_head_of(message),
                state=None if state is None else _one_of(SourceState, message, "state"),
                reason=message.optional("reason", str),
            )
        case kind:
            raise UnknownKindError(f"unknown kind of message {kind[:40]!r}")


class VersionError(WireError):
    """A message of another version than ours: no use to wait for more."""


class UnknownKindError(WireError):
    """A message of a kind that this version does not know: to be passed over."""


def _head_of(message: Fields) -> dict[str, Any]:
    return {
        "source": message.text("source", _MAX_TEXT),
        "run": message.text("run", _MAX_TEXT) if "run" in message.record else "",
        "sequence": message.integer("sequence", 0),
        "published_unix_ns": message.integer("published_unix_ns"),
    }


def _one_of(kind: type[E], fields: Fields, key: str) -> E:
    try:
        return kind(fields.get(key, str))
    except ValueError as error:
        raise WireError(f"{fields.name}: {error}") from error


def _side(message: Fields, key: str) -> int:
    return message.integer(key, 1, MAX_SIDE_PX)


def _time_base(message: Fields) -> Fraction:
    numerator, denominator = message.integers("time_base", 2)
    if min(numerator, denominator) < 1:
        raise WireError(f"message: time_base must be positive, got {numerator}/{denominator}")
    return Fraction(numerator, denominator)


def _frame(message: Fields) -> FrameMessage:
    height_px, width_px = _side(message, "height_px"), _side(message, "width_px")
    return FrameMessage(
        **_head_of(message),
        width_px=width_px,
        height_px=height_px,
        index=message.integer("index", 0),
        pts=message.integer("pts"),
        time_base=_time_base(message),
        stretch=message.optional_integer("stretch") or 0,
        captured_unix_ns=message.integer("captured_unix_ns"),
        dropped=message.integer("dropped", 0),
        latency_ms=message.number("latency_ms"),
        encode_ms=message.number("encode_ms"),
        track_ms=message.number("track_ms"),
        objects=tuple(
            _object(found, height_px, width_px) for found in message.maps("objects", MAX_OBJECTS, "object")
        ),
    )


def _object(fields: Fields, height_px: int, width_px: int) -> ObjectMessage:
    code = Fields(fields.get("rle", dict), "rle")
    if code.integers("size", 2) != (height_px, width_px):
        raise WireError(f"rle: size must be that of the frame, {[height_px, width_px]}")
    return ObjectMessage(
        object_id=fields.integer("id", 1, 65_535),
        state=_one_of(TrackState, fields, "state"),
        how=_one_of(MaskOrigin, fields, "how"),
        quality=fields.number("quality"),
        predicted_iou=fields.number("predicted_iou"),
        stability_score=fields.number("stability_score"),
        box_xyxy=_box(fields),
        area_px=fields.integer("area_px", 0),
        age_ms=fields.number("age_ms"),
        rle={"size": [height_px, width_px], "counts": code.get("counts", bytes)},
    )


def _box(fields: Fields) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = fields.integers("box_xyxy", 4)
    return x0, y0, x1, y1


def _status(message: Fields) -> StatusMessage:
    status = Status(
        width_px=_side(message, "width_px"),
        height_px=_side(message, "height_px"),
        state=_one_of(SourceState, message, "state"),
        since_unix_ns=message.optional_integer("since_unix_ns"),
        paused=message.get("paused", bool),
        reason=message.optional("reason", str),
        heartbeat_s=message.number("heartbeat_s") or 0.0,
        index=message.optional_integer("index"),
        pts=message.optional_integer("pts"),
        time_base=_time_base(message),
        captured_unix_ns=message.optional_integer("captured_unix_ns"),
        objects=tuple(_last_seen(seen) for seen in message.maps("objects", MAX_OBJECTS, "object")),
        is_live=message.get("is_live", bool),
    )
    return StatusMessage(**_head_of(message), status=status)


def _last_seen(fields: Fields) -> LastSeen:
    return LastSeen(
        object_id=fields.integer("id", 1, 65_535),
        state=_one_of(TrackState, fields, "state"),
        quality=fields.number("quality"),
        box_xyxy=_box(fields),
    )
