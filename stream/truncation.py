"""Is a file whole? Containers that hold their own size tell, even where FFmpeg takes the cut for the end."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_TS_SYNC = 0x47
_BOX_NAME = re.compile(rb"[ -~\xa9]{4}")


def declared_size(path: Path) -> int | None:
    """Bytes that the container at `path` says it has; None where it does not say.

    Knows MP4/MOV, AVI, Matroska/WebM and MPEG transport streams. Larger than the file's size means that the
    end is missing.
    """
    with path.open("rb") as file:
        head = file.read(1024)
        for knows, measure in _FORMATS:
            if knows(head):
                return measure(file, path.stat().st_size)
    return None


def missing_bytes(path: Path) -> int:
    """How many bytes are missing at the end of `path`, as far as its container tells; 0 for a whole file."""
    declared = declared_size(path)
    return 0 if declared is None else max(0, declared - path.stat().st_size)


def _is_mp4(head: bytes) -> bool:
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def _mp4_size(file: BinaryIO, file_size: int) -> int | None:
    """End of the last top-level box, walking from box to box."""
    end = 0
    while end + 8 <= file_size:
        file.seek(end)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        # Size 0 means "up to the end"; what does not look like a box is a tail that something else wrote.
        if size < 8 or not _BOX_NAME.fullmatch(kind):
            return None
        end += size
    return max(end, file_size)


def _is_riff(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:11] == b"AVI"


def _riff_size(file: BinaryIO, file_size: int) -> int | None:
    """End of the last RIFF chunk; large AVI files have several, one after another."""
    end = 0
    while end + 8 <= file_size:
        file.seek(end)
        kind, size = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF" or size == 0:  # a recorder that was stopped hard leaves 0
            break
        end += 8 + size + size % 2
    return end or None


def _is_matroska(head: bytes) -> bool:
    return int.from_bytes(head[:4], "big") == _EBML


def _matroska_size(file: BinaryIO, file_size: int) -> int | None:
    """End of the segment, which holds everything behind the EBML header."""
    file.seek(4)
    header = _read_ebml_size(file)
    if header is None:
        return None
    file.seek(header, 1)
    if int.from_bytes(file.read(4), "big") != _SEGMENT:
        return None
    segment = _read_ebml_size(file)
    return None if segment is None else file.tell() + segment


def _read_ebml_size(file: BinaryIO) -> int | None:
    """A variable-length size; None for 'unknown' (all ones), as live recordings have it."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value


def _ts_layout(head: bytes) -> tuple[int, int] | None:
    """Packet size and offset of the first sync byte: plain, Blu-ray (time code ahead), with parity bytes."""
    for size, offset in ((188, 0), (192, 4), (204, 0)):
        if len(head) > offset + 3 * size and all(head[offset + i * size] == _TS_SYNC for i in range(4)):
            return size, offset
    return None


def _is_ts(head: bytes) -> bool:
    return _ts_layout(head) is not None


def _ts_size(file: BinaryIO, file_size: int) -> int | None:
    """The file's size rounded up to whole packets."""
    file.seek(0)
    layout = _ts_layout(file.read(1024))
    assert layout is not None
    return -(-file_size // layout[0]) * layout[0]


_FORMATS: list[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], int | None]]] = [
    (_is_mp4, _mp4_size),
    (_is_riff, _riff_size),
    (_is_matroska, _matroska_size),
    (_is_ts, _ts_size),
]
