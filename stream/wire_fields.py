"""msgpack maps from places that are not trusted: unpacked within bounds, every field looked at before use."""

from __future__ import annotations

from typing import Any, TypeVar

import msgpack
from maskstream.model.errors import MaskstreamError

T = TypeVar("T")


class WireError(MaskstreamError, ValueError):
    """A message is not one of ours, is damaged, or is of another version."""


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes."""
    packed: bytes = msgpack.packb(message)
    return packed


def unpack(data: bytes, most_bytes: int) -> dict[str, Any]:
    """The map that a message is.

    Raises:
        WireError: it is longer than `most_bytes`, not msgpack, or not a map.
    """
    if len(data) > most_bytes:
        raise WireError(f"the message has {len(data)} bytes, more than {most_bytes}")
    try:
        message = msgpack.unpackb(data, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"the message is not msgpack: {error}") from error
    if not isinstance(message, dict):
        raise WireError(f"the message must be a map, got {type(message).__name__}")
    return message


class Fields:
    """Looks up fields of a map with their types checked; each complaint names the map and the field."""

    def __init__(self, record: dict[str, Any], name: str) -> None:
        self.record, self.name = record, name

    def get(self, key: str, kind: type[T]) -> T:
        """A field that must be there."""
        value = self.record.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise WireError(f"{self.name}: {key} must be {kind.__name__}, got {type(value).__name__}")
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """A field that may be nil or left out."""
        return None if self.record.get(key) is None else self.get(key, kind)

    def text(self, key: str, most: int) -> str:
        """A text of at most so many characters."""
        value = self.get(key, str)
        if len(value) > most:
            raise WireError(f"{self.name}: {key} has {len(value)} characters, more than {most}")
        return value

    def integer(self, key: str, low: int = -(2**63), high: int = 2**64) -> int:
        """A whole number within bounds."""
        value = self.get(key, int)
        if not low <= value <= high:
            raise WireError(f"{self.name}: {key} must be in {low}..{high}, got {value}")
        return value

    def optional_integer(self, key: str) -> int | None:
        """A whole number that may be nil or left out."""
        return None if self.record.get(key) is None else self.integer(key)

    def number(self, key: str) -> float | None:
        """A number that may be nil or left out."""
        if self.record.get(key) is None:
            return None
        return float(self.get(key, int) if isinstance(self.record[key], int) else self.get(key, float))

    def integers(self, key: str, count: int) -> tuple[int, ...]:
        """A list of so many whole numbers."""
        values = self.get(key, list)
        if len(values) != count or any(type(value) is not int for value in values):
            raise WireError(f"{self.name}: {key} must be {count} integers")
        return tuple(values)

    def maps(self, key: str, most: int, name: str) -> list[Fields]:
        """A list of at most so many maps."""
        values = self.get(key, list)
        if len(values) > most:
            raise WireError(f"{self.name}: {len(values)} {key}, more than {most}")
        for value in values:
            if not isinstance(value, dict):
                raise WireError(f"{name} must be a map, got {type(value).__name__}")
        return [Fields(value, name) for value in values]
