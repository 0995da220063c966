from __future__ import annotations

import struct

import pytest
from maskstream.stream.truncation import declared_size, missing_bytes


def box(kind, size, content=b""):
    return struct.pack(">I4s", size, kind) + content


def ebml(size_field, content=b""):
    return bytes.fromhex("1A45DFA3 83 010203 18538067") + size_field + content


def riff(size, content):
    return b"RIFF" + struct.pack("<I", size) + b"AVI " + content


CASES = {
    "whole mp4": (box(b"ftyp", 16, b"isom0000") + box(b"mdat", 12, b"abcd"), 28),
    "cut mp4": (box(b"ftyp", 16, b"isom0000") + box(b"mdat", 100, b"abcd"), 116),
    "mp4 with a long box": (
        box(b"ftyp", 8) + box(b"mdat", 1, struct.pack(">Q", 5_000_000_000)),
        5_000_000_008,
    ),
    "mp4 whose last box is open": (box(b"ftyp", 8) + box(b"mdat", 0, b"abcd"), None),
    "mp4 with a foreign tail": (box(b"ftyp", 8) + b"\xff\xff\xff\xff\x00\x01\x02\x03", None),
    "mp4 with zeros behind": (box(b"ftyp", 8) + bytes(64), None),
    "whole avi": (riff(12, b"12345678"), 20),
    "cut avi": (riff(1000, b"12345678"), 1008),
    "avi of two parts, the second cut": (riff(12, b"12345678") + b"RIFF" + struct.pack("<I", 99), 127 + 1),
    "avi of a recorder that was stopped": (riff(0, b"12345678"), None),
    "whole mkv": (ebml(b"\x84", b"1234"), 17),
    "cut mkv": (ebml(bytes.fromhex("01 00000000000064"), b"1234"), 120),
    "live mkv of unknown size": (ebml(bytes.fromhex("01 FFFFFFFFFFFFFF"), b"1234"), None),
    "whole ts": ((b"G" + bytes(187)) * 5, 940),
    "cut ts": ((b"G" + bytes(187)) * 5 + b"G123", 1128),
    "cut m2ts": ((b"1234G" + bytes(187)) * 5 + b"1", 1152),
    "something else": (b"\0\0\0\1\x67 raw H.264", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize("name", CASES)
def test_declared_size(tmp_path, name):
    content, expected = CASES[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert declared_size(path) == expected
    assert missing_bytes(path) == max(0, (expected or 0) - len(content))
