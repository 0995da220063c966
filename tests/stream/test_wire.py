from __future__ import annotations

from fractions import Fraction

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maskstream.model.types import MaskOrigin, TrackState
from maskstream.stream import wire
from maskstream.stream.source_status import SourceState
from pycocotools import mask as coco

# pycocotools 2.0.11 has not heard of numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


HEAD = wire.Head(source="shapes", run="1f2e", sequence=2, published_unix_ns=1_700_000_000_000_000_999)
STATUS = wire.Status(
    state=SourceState.RECONNECTING,
    since_unix_ns=1_700_000_000_000_000_000,
    paused=True,
    reason="connection refused",
    heartbeat_s=0.5,
    index=7,
    pts=120,
    time_base=Fraction(1, 90_000),
    captured_unix_ns=1_700_000_000_000_000_001,
    objects=(wire.LastSeen(3, TrackState.LOST, 0.25, (1, 2, 3, 4)),),
    width_px=64,
    height_px=48,
    is_live=True,
)


@pytest.fixture(scope="module")
def message(make_result):
    return wire.encode(make_result(3), HEAD)


def test_a_frame_survives_the_journey(message, make_result):
    result = make_result(3)
    frame = wire.decode(message)
    assert isinstance(frame, wire.FrameMessage)
    assert (frame.source, frame.sequence, frame.index, frame.pts) == ("shapes", 2, 3, 120)
    assert (frame.run, frame.stretch) == ("1f2e", 0)
    assert frame.time_base == Fraction(1, 1000)
    assert (frame.width_px, frame.height_px, frame.dropped) == (64, 48, 0)
    assert frame.captured_unix_ns == 1_700_000_000_000_000_003
    assert frame.published_unix_ns == 1_700_000_000_000_000_999
    assert (frame.latency_ms, frame.encode_ms, frame.track_ms) == (20.0, 12.5, 3.25)
    assert [found.object_id for found in frame.objects] == [1, 2, 3]
    assert [found.state for found in frame.objects] == [
        TrackState.TRACKED,
        TrackState.UNCERTAIN,
        TrackState.LOST,
    ]
    for got, sent in zip(frame.objects, result.objects, strict=True):
        np.testing.assert_array_equal(got.mask(), sent.mask)
        assert got.box_xyxy == tuple(sent.box_xyxy)
        assert got.area_px == sent.area_px
        assert got.how is MaskOrigin.FRESH


def test_other_languages_need_msgpack_and_coco_alone(message, make_result):
    plain = msgpack.unpackb(message)
    assert plain["version"] == 1
    assert plain["kind"] == "frame"
    np.testing.assert_array_equal(coco.decode(plain["objects"][0]["rle"]), make_result(3).objects[0].mask)


@pytest.mark.parametrize(("state", "reason"), [(SourceState.FAILED, "no more"), (SourceState.ENDED, None)])
def test_the_end_is_told(state, reason):
    end = wire.decode(wire.encode_end(state, reason, HEAD))
    assert isinstance(end, wire.EndMessage)
    assert (end.source, end.run, end.sequence, end.state, end.reason) == ("shapes", "1f2e", 2, state, reason)


def test_a_sign_of_life_survives_the_journey():
    message = wire.decode(wire.encode_status(STATUS, HEAD))
    assert isinstance(message, wire.StatusMessage)
    assert (message.sequence, message.status) == (2, STATUS)


def test_what_an_older_sender_left_out_is_not_missed(message):
    plain = msgpack.unpackb(message)
    del plain["run"], plain["stretch"]
    frame = wire.decode(msgpack.packb(plain))
    assert (frame.run, frame.stretch) == ("", 0)


def test_a_newer_sender_s_kinds_can_be_passed_over(message):
    with pytest.raises(wire.UnknownKindError, match="unknown kind of message 'weather'"):
        wire.decode(msgpack.packb(msgpack.unpackb(message) | {"kind": "weather"}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"state": "asleep"}, "message: 'asleep' is not a valid SourceState"),
        ({"paused": 1}, "paused must be bool, got int"),
        ({"objects": None}, "objects must be list"),
        ({"objects": [{"id": 1}]}, "object: state must be str"),
        ({"source": "x" * 5000}, "source has 5000 characters, more than 4096"),
        ({"pts": "1"}, "pts must be int, got str"),
    ],
)
def test_a_wrong_field_of_a_sign_of_life_is_named(changes, complaint):
    plain = msgpack.unpackb(wire.encode_status(STATUS, HEAD))
    with pytest.raises(wire.WireError, match=complaint):
        wire.decode(msgpack.packb(plain | changes))


def test_what_a_newer_sender_adds_is_ignored(message):
    plain = msgpack.unpackb(message)
    plain["new"] = plain["objects"][0]["new"] = 1
    assert isinstance(wire.decode(msgpack.packb(plain)), wire.FrameMessage)


MISSING = object()


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("version",), 2, "version 2, this maskstream reads 1"),
        (("version",), True, "version must be int, got bool"),
        (("kind",), "weather", "unknown kind of message 'weather'"),
        (("source",), MISSING, "source must be str, got NoneType"),
        (("sequence",), -1, "sequence must be in 0"),
        (("width_px",), 10**9, "width_px must be in 1..16384"),
        (("time_base",), [1, 0], "time_base must be positive"),
        (("time_base",), [1], "time_base must be 2 integers"),
        (("latency_ms",), "fast", "latency_ms must be float"),
        (("objects",), [1], "object must be a map"),
        (("objects", 0, "id"), 0, "id must be in 1..65535"),
        (("objects", 0, "state"), "sleepy", "'sleepy' is not a valid TrackState"),
        (("objects", 0, "box_xyxy"), [0, 0, 1, 1.5], "box_xyxy must be 4 integers"),
        (("objects", 0, "rle", "size"), [64, 48], "size must be that of the frame"),
        (("objects", 0, "rle", "counts"), "text", "counts must be bytes"),
    ],
)
def test_a_wrong_field_is_named(message, path, value, complaint):
    plain = msgpack.unpackb(message)
    *parents, key = path
    place = plain
    for parent in parents:
        place = place[parent]
    if value is MISSING:
        del place[key]
    else:
        place[key] = value
    with pytest.raises(wire.WireError, match=complaint):
        wire.decode(msgpack.packb(plain))


def test_a_damaged_mask_is_named_when_it_is_asked_for(message):
    plain = msgpack.unpackb(message)
    plain["objects"][0]["rle"]["counts"] = b"4"
    with pytest.raises(wire.WireError, match="the mask of object 1 is damaged: runs add up to 4 px"):
        wire.decode(msgpack.packb(plain)).objects[0].mask()


def test_a_huge_message_is_not_even_unpacked():
    with pytest.raises(wire.WireError, match="more than"):
        wire.decode(bytes(wire.MAX_MESSAGE_BYTES + 1))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=80) | PLAIN.map(msgpack.packb))
@settings(max_examples=200, deadline=None)
def test_anything_else_is_a_wire_error(data):
    with pytest.raises(wire.WireError):
        wire.decode(data)


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_one_wrong_byte_is_a_wire_error_or_another_number(message, position, byte):
    damaged = bytearray(message)
    damaged[position % len(damaged)] = byte
    try:
        decoded = wire.decode(bytes(damaged))
        masks = [found.mask() for found in getattr(decoded, "objects", ())]
    except wire.WireError:
        return
    assert all(mask.shape == (48, 64) for mask in masks)
