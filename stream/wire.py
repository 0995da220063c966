"""The messages on ZeroMQ: one msgpack map each, versioned; docs/wire.md describes them for other languages.

Whoever only wants to read them in Python needs msgpack and pycocotools, as scripts/subscribe.py shows.
`decode` is for those who want types, and for messages from places that are not trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import msgpack
from maskstream.model.errors import MaskstreamError
from maskstream.model.types import BoolMask, MaskOrigin, TrackState

from . import rle
from .records import Record, frame_record
from .types import FrameResult, StreamInfo

VERSION = 1  # raised when a field changes its meaning or goes; new fields and kinds may come without
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_SIDE_PX = 65_536
MAX_OBJECTS = 65_535

T = TypeVar("T")


class WireError(MaskstreamError, ValueError):
    """A message is not one of ours, is damaged, or is of another version."""


@dataclass(frozen=True, slots=True)
class ObjectMessage:
    """One object on one frame."""

    object_id: int
    state: TrackState
    how: MaskOrigin
    quality: float | None  # 0..1; None where the sender had no number
    predicted_iou: float | None
    stability_score: float | None
    box_xyxy: tuple[int, int, int, int]  # half-open px, zeros for an empty mask
    area_px: int
    age_ms: float | None
    rle: rle.Rle

    def mask(self) -> BoolMask:
        """The mask (H, W) bool.

        Raises:
            WireError: its run-length code is damaged.
        """
        try:
            return rle.decode(self.rle)
        except ValueError as error:
            raise WireError(f"the mask of object {self.object_id} is damaged: {error}") from error


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """One video frame's objects."""

    source: str
    sequence: int  # 0, 1, 2, ... by message: a gap is a message that did not arrive
    index: int  # the frame's, in capture order: a gap is a frame that was dropped
    pts: int
    time_base: Fraction  # seconds per tick of pts
    captured_unix_ns: int
    published_unix_ns: int
    width_px: int
    height_px: int
    dropped: int  # frames dropped before this one since the start
    latency_ms: float | None  # capture to result
    encode_ms: float | None
    track_ms: float | None
    objects: tuple[ObjectMessage, ...]


@dataclass(frozen=True, slots=True)
class EndMessage:
    """The last message of a stream."""

    source: str
    sequence: int  # equals the number of frame messages before it
    published_unix_ns: int


def encode(result: FrameResult, info: StreamInfo, sequence: int, published_unix_ns: int) -> bytes:
    """The message of one frame."""
    height_px, width_px = result.frame.hw
    message = _head("frame", info, sequence, published_unix_ns)
    time_base = result.frame.time_base
    message |= {
        "time_base": [time_base.numerator, time_base.denominator],
        "width_px": width_px,
        "height_px": height_px,
    }
    return _pack(message | frame_record(result))


def encode_end(info: StreamInfo, sequence: int, published_unix_ns: int) -> bytes:
    """The message that says that no more will come."""
    return _pack(_head("end", info, sequence, published_unix_ns))


def _head(kind: str, info: StreamInfo, sequence: int, published_unix_ns: int) -> Record:
    return {
        "version": VERSION,
        "kind": kind,
        "source": info.source_id,
        "sequence": sequence,
        "published_unix_ns": published_unix_ns,
    }


def _pack(message: Record) -> bytes:
    packed: bytes = msgpack.packb(message)
    return packed


def decode(data: bytes) -> FrameMessage | EndMessage:
    """Read one message, trusting nothing in it.

    Raises:
        WireError: with what is wrong.
    """
    message = _Fields(_unpack(data), "message")
    version = message.integer("version")
    if version != VERSION:
        raise WireError(
            f"the message has version {version}, this maskstream reads {VERSION}; update the older side"
        )
    match message.get("kind", str):
        case "frame":
            return _frame(message)
        case "end":
            return EndMessage(
                message.get("source", str),
                message.integer("sequence", 0),
                message.integer("published_unix_ns"),
            )
        case kind:
            raise WireError(f"unknown kind of message {kind[:40]!r}")


def _unpack(data: bytes) -> Record:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"the message has {len(data)} bytes, more than {MAX_MESSAGE_BYTES}")
    try:
        message = msgpack.unpackb(data, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"the message is not msgpack: {error}") from error
    if not isinstance(message, dict):
        raise WireError(f"the message must be a map, got {type(message).__name__}")
    return message


class _Fields:
    """Looks up fields of a map with their types checked."""

    def __init__(self, record: Record, name: str) -> None:
        self._record, self._name = record, name

    def get(self, key: str, kind: type[T]) -> T:
        value = self._record.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise WireError(f"{self._name}: {key} must be {kind.__name__}, got {type(value).__name__}")
        return value

    def integer(self, key: str, low: int = -(2**63), high: int = 2**64) -> int:
        value = self.get(key, int)
        if not low <= value <= high:
            raise WireError(f"{self._name}: {key} must be in {low}..{high}, got {value}")
        return value

    def number(self, key: str) -> float | None:
        if self._record.get(key) is None:
            return None
        return float(self.get(key, int) if isinstance(self._record[key], int) else self.get(key, float))

    def integers(self, key: str, count: int) -> tuple[int, ...]:
        values = self.get(key, list)
        if len(values) != count or any(type(value) is not int for value in values):
            raise WireError(f"{self._name}: {key} must be {count} integers")
        return tuple(values)


def _frame(message: _Fields) -> FrameMessage:
    width_px, height_px = (message.integer(key, 1, MAX_SIDE_PX) for key in ("width_px", "height_px"))
    numerator, denominator = message.integers("time_base", 2)
    if min(numerator, denominator) < 1:
        raise WireError(f"message: time_base must be positive, got {numerator}/{denominator}")
    objects = message.get("objects", list)
    if len(objects) > MAX_OBJECTS:
        raise WireError(f"message: {len(objects)} objects, more than {MAX_OBJECTS}")
    return FrameMessage(
        source=message.get("source", str),
        sequence=message.integer("sequence", 0),
        index=message.integer("index", 0),
        pts=message.integer("pts"),
        time_base=Fraction(numerator, denominator),
        captured_unix_ns=message.integer("captured_unix_ns"),
        published_unix_ns=message.integer("published_unix_ns"),
        width_px=width_px,
        height_px=height_px,
        dropped=message.integer("dropped", 0),
        latency_ms=message.number("latency_ms"),
        encode_ms=message.number("encode_ms"),
        track_ms=message.number("track_ms"),
        objects=tuple(_object(found, height_px, width_px) for found in objects),
    )


def _object(found: Any, height_px: int, width_px: int) -> ObjectMessage:
    if not isinstance(found, dict):
        raise WireError(f"an object must be a map, got {type(found).__name__}")
    fields = _Fields(found, "object")
    x0, y0, x1, y1 = fields.integers("box_xyxy", 4)
    code = _Fields(fields.get("rle", dict), "rle")
    if code.integers("size", 2) != (height_px, width_px):
        raise WireError(f"rle: size must be that of the frame, {[height_px, width_px]}")
    try:
        state, how = TrackState(fields.get("state", str)), MaskOrigin(fields.get("how", str))
    except ValueError as error:
        raise WireError(f"object: {error}") from error
    return ObjectMessage(
        object_id=fields.integer("id", 1, 65_535),
        state=state,
        how=how,
        quality=fields.number("quality"),
        predicted_iou=fields.number("predicted_iou"),
        stability_score=fields.number("stability_score"),
        box_xyxy=(x0, y0, x1, y1),
        area_px=fields.integer("area_px", 0),
        age_ms=fields.number("age_ms"),
        rle={"size": [height_px, width_px], "counts": code.get("counts", bytes)},
    )
