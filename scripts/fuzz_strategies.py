"""What scripts/fuzz_messages.py sends: random bytes, random msgpack, and good maps with something wrong."""

import time
from fractions import Fraction
from typing import Any

import msgpack
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream import wire
from maskstream.stream.control_wire import KEYS
from maskstream.stream.source_status import SourceState
from maskstream.stream.stream_status import first_status
from maskstream.stream.types import Frame, FrameResult, StreamInfo

HW = (48, 64)
BOXES = {1: (10, 10, 30, 30), 2: (32, 5, 60, 40)}  # the objects of the run

INTEGER = st.integers(-(2**63), 2**64 - 1)
PLAIN: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | INTEGER | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=10,
)
EDIT = st.tuples(st.sampled_from(["set", "drop", "twice", "cut"]), st.integers(0, 2**20), st.integers(0, 255))


def spoilt(good: SearchStrategy[dict[str, Any]]) -> SearchStrategy[bytes]:
    """Bytes, msgpack, and good maps with a field replaced, taken or added, or with their bytes edited."""

    def replaced(record: dict[str, Any], number: int, value: Any) -> bytes:
        key = sorted(record)[number % len(record)]
        return packed({**record, key: value})

    def dropped(record: dict[str, Any], number: int) -> bytes:
        key = sorted(record)[number % len(record)]
        return packed({name: value for name, value in record.items() if name != key})

    def added(record: dict[str, Any], key: str, value: Any) -> bytes:
        return packed({key: value, **record})

    def edited(record: dict[str, Any], edits: list[tuple[str, int, int]]) -> bytes:
        data = bytearray(packed(record))
        for what, place, byte in edits:
            at = place % max(1, len(data))
            if what == "set" and data:
                data[at] = byte
            elif what == "drop":
                del data[at : at + 1 + byte % 4]
            elif what == "twice":
                data[at:at] = data[at : at + byte]
            else:
                del data[at:]
        return bytes(data)

    number = st.integers(0, 2**20)
    return st.one_of(
        st.binary(max_size=200),
        PLAIN.map(packed),
        st.builds(replaced, good, number, PLAIN),
        st.builds(dropped, good, number),
        st.builds(added, good, st.text(max_size=9), PLAIN),
        st.builds(edited, good, st.lists(EDIT, min_size=1, max_size=4)),
    )


def packed(value: Any) -> bytes:
    """As msgpack."""
    data: bytes = msgpack.packb(value)
    return data


NUMBER = st.integers(0, 70) | st.integers(-100, 200) | st.floats()
FIELDS = {
    "object": st.integers(0, 9) | INTEGER,
    "new_object": st.integers(0, 9),
    "box": st.lists(NUMBER, min_size=4, max_size=4) | st.lists(NUMBER, max_size=5),
    "points": st.lists(st.lists(NUMBER, min_size=2, max_size=2), max_size=3),
    "negative": st.lists(st.lists(NUMBER, min_size=2, max_size=2), max_size=3),
    "mask": st.fixed_dictionaries(
        {"size": st.sampled_from([[48, 64], [10**9, 10**9]]), "counts": st.binary()}
    ),
    "boxes": st.lists(st.lists(NUMBER, min_size=4, max_size=4), max_size=3),
    "least_iou": NUMBER,
    "refresh": st.booleans(),
    "replace": st.booleans(),
    "wait": st.booleans(),
    "pts": INTEGER,
    "time_s": NUMBER,
}


def requests(verb: str) -> SearchStrategy[dict[str, Any]]:
    """Requests that look right; what is in them may not be."""
    return st.builds(
        lambda number, fields: {"version": 1, "id": f"fuzz-{number}", "verb": verb, **fields},
        st.integers(0, 2**63),
        st.fixed_dictionaries({}, optional={key: FIELDS[key] for key in KEYS[verb]}),
    )


def unfit(number: int, stranger: int, x: int, y: int, which: int) -> dict[str, Any]:
    """Requests in the best of form that the run as it is cannot do."""
    body: dict[str, Any] = (
        {"verb": "remove", "object": stranger},
        {"verb": "rename", "object": stranger, "new_object": 1},
        {"verb": "rename", "object": 1, "new_object": 2},
        {"verb": "add", "object": 1, "points": [[x % HW[1], y % HW[0]]]},
        {"verb": "add", "object": stranger, "points": [[HW[1] + x, y]]},
        {"verb": "add", "object": stranger, "negative": [[x % HW[1], y % HW[0]]]},
        {"verb": "correct", "object": stranger, "box": [0, 0, 5, 5]},
        {"verb": "correct", "object": 1, "box": [0, 0, HW[1] + 1 + x, HW[0]]},
        {"verb": "detections", "boxes": [[HW[1] + x, 0, HW[1] + x + 5, 5], [0, 0, 5, 5]]},
    )[which % 9]
    return {"version": 1, "id": f"unfit-{number}", **body}


SMALL = st.integers(0, 1000)
UNFIT = st.builds(unfit, st.integers(0, 2**63), st.integers(3, 65_535), SMALL, SMALL, SMALL)
REQUEST = st.sampled_from(sorted(KEYS)).flatmap(requests)


def frame_result(index: int) -> FrameResult:
    """A frame with the objects of BOXES."""
    frame = Frame(np.zeros((*HW, 3), np.uint8), index, index, Fraction(1, 30), 0, time.time_ns(), "fuzz")
    return FrameResult(frame, tuple(as_object(i, box) for i, box in BOXES.items()), 0, 1.0, 1.0, 0)


def as_object(object_id: int, box: tuple[int, int, int, int]) -> ObjectMask:
    """A tracked object that fills its box."""
    mask = np.zeros(HW, np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return ObjectMask(object_id, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, 0.9)


def messages() -> list[dict[str, Any]]:
    """A good message of each kind."""
    info = StreamInfo("fuzz", HW[1], HW[0], Fraction(1, 30), None, True)
    head = wire.Head(source="fuzz", run="0", sequence=0, published_unix_ns=0)
    made = (
        wire.encode(frame_result(0), head),
        wire.encode_status(first_status(info, 1.0), head),
        wire.encode_end(SourceState.FAILED, "gone", head),
    )
    return [msgpack.unpackb(data) for data in made]
