from __future__ import annotations

import re

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maskstream.stream import rle
from maskstream.stream.commands import Applied, Detections, Remove, Rename, Show
from maskstream.stream.control_wire import (
    MAX_REQUEST_BYTES,
    RequestError,
    decode_answer,
    decode_request,
    effect_record,
    encode_answer,
    encode_refusal,
    encode_request,
)
from maskstream.stream.wire_fields import WireError

HW = (48, 64)


def decoded(verb, **fields):
    return decode_request(encode_request("r1", verb, fields), HW)


def test_showing_an_object():
    request = decoded("add", object=3, box=[1, 2, 30, 40.5], points=[[5, 6]], negative=[[7, 8]], pts=90)
    assert (request.request_id, request.verb, request.wait, request.changes) == ("r1", "add", True, True)
    command = request.command
    assert isinstance(command, Show)
    assert (command.known, command.pts, command.time_s) == (False, 90, None)
    assert command.prompt.box_xyxy.tolist() == [1, 2, 30, 40.5]
    assert command.prompt.points_xy.tolist() == [[5, 6], [7, 8]]
    assert command.prompt.point_labels.tolist() == [1, 0]
    assert decoded("correct", object=3, negative=[[7, 8]]).command.known is True
    assert decoded("show", object=3, points=[[7, 8]], time_s=2, wait=False).command.time_s == 2.0


def test_a_mask_is_sent_as_it_is_published():
    mask = np.zeros(HW, bool)
    mask[3:9, 5:20] = True
    command = decoded("add", object=3, mask=dict(rle.encode(mask))).command
    np.testing.assert_array_equal(command.prompt.mask, mask)


def test_other_commands():
    remove, rename = decoded("remove", object=3).command, decoded("rename", object=3, new_object=5).command
    assert isinstance(remove, Remove)
    assert isinstance(rename, Rename)
    assert (remove.object_id, rename.object_id, rename.new_id) == (3, 3, 5)
    found = decoded("detections", boxes=[[1, 2, 3, 4], [5, 6, 7, 8]], replace=True).command
    assert isinstance(found, Detections)
    assert (found.boxes_xyxy.shape, found.least_iou, found.refresh, found.replace) == (
        (2, 4),
        0.5,
        False,
        True,
    )
    for verb in ("pause", "resume", "shutdown", "list", "metrics"):
        request = decoded(verb)
        assert request.command is None
        assert request.changes is (verb not in ("list", "metrics"))


@pytest.mark.parametrize(
    ("verb", "fields", "complaint"),
    [
        ("ad", {}, "unknown verb 'ad', did you mean 'add'?"),
        ("dance", {}, "unknown verb 'dance', known are add, correct, show, remove"),
        ("add", {"object": 1, "bx": [1, 2, 3, 4]}, "add: unknown key 'bx', did you mean 'box'?"),
        ("pause", {"object": 1}, "pause: unknown key 'object', it takes none"),
        ("add", {"box": [1, 2, 3, 4]}, "request: object must be int, got NoneType"),
        ("add", {"object": 0, "box": [1, 2, 3, 4]}, "object must be in 1..65535, got 0"),
        ("add", {"object": True, "box": [1, 2, 3, 4]}, "object must be int, got bool"),
        ("add", {"object": 1}, "prompt 1 is empty: give points, a box or a mask"),
        ("add", {"object": 1, "box": [1, 2, 3]}, "box needs 4 numbers, as in [0, 1, 2, 3]"),
        ("add", {"object": 1, "box": [1, 2, 3, "4"]}, "box needs 4 numbers"),
        ("add", {"object": 1, "box": [1, 2, 3, float("nan")]}, "box must be in px"),
        ("add", {"object": 1, "box": [1, 2, 3, 1e30]}, "box must be in px"),
        ("add", {"object": 1, "box": [1, 2, 1, 4]}, "box must have x0 < x1"),
        ("add", {"object": 1, "points": [[1, 2]] * 65}, "65 points, more than 64"),
        ("add", {"object": 1, "points": [1, 2]}, "points needs 2 numbers"),
        ("add", {"object": 1, "points": [[1, 2]], "pts": 1, "time_s": 1}, "give pts or time_s, not both"),
        ("add", {"object": 1, "points": [[1, 2]], "time_s": float("inf")}, "time_s must be seconds"),
        ("add", {"object": 1, "points": [[1, 2]], "wait": 1}, "wait must be bool"),
        ("add", {"object": 1, "mask": {"size": [9, 9], "counts": b"x"}}, "mask: size must be that"),
        ("add", {"object": 1, "mask": {"size": [48, 64], "counts": b"4"}}, "mask: runs add up to 4 px"),
        ("rename", {"object": 1}, "new_object must be int"),
        ("detections", {"boxes": [[0, 0, 1, 1]] * 257}, "257 boxes, more than 256"),
        ("detections", {"boxes": [[3, 3, 1, 1]]}, "x0 < x1"),
        ("detections", {"boxes": [], "least_iou": 2.0}, "least_iou must be above 0"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_what_is_wrong(verb, fields, complaint):
    with pytest.raises(RequestError, match=re.escape(complaint)) as caught:
        decoded(verb, **fields)
    assert caught.value.request_id == "r1"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not msgpack"),
        (msgpack.packb([1]), "must be a map"),
        (msgpack.packb({"id": "a b", "verb": "list"}), "id must be 1 to 64 printable"),
        (msgpack.packb({"id": "a\n", "verb": "list"}), "id must be 1 to 64 printable"),
        (msgpack.packb({"id": "x" * 65, "verb": "list"}), "id must be 1 to 64 printable"),
        (msgpack.packb({"id": 5, "verb": "list"}), "id must be str"),
        (bytes(MAX_REQUEST_BYTES + 1), "more than 1048576"),
    ],
)
def test_what_is_no_request_has_no_id(data, complaint):
    with pytest.raises(RequestError, match=complaint) as caught:
        decode_request(data, HW)
    assert caught.value.request_id == ""


def test_another_version_is_refused():
    with pytest.raises(RequestError, match="the request has version 2, this maskstream reads 1"):
        decode_request(msgpack.packb({"version": 2, "id": "r", "verb": "list"}), HW)


def test_answers():
    effect = Applied(7, 90, 0.5, (3, 4))
    answer = decode_answer(encode_answer("r1", effect_record(effect)))
    assert (answer.request_id, answer.error, answer.effect) == ("r1", None, effect)
    refusal = decode_answer(encode_refusal("r1", "no"))
    assert (refusal.error, refusal.effect) == ("no", None)
    with pytest.raises(WireError, match="version 2"):
        decode_answer(msgpack.packb({"version": 2}))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
KEY = st.sampled_from(["object", "box", "points", "mask", "boxes", "pts", "time_s", "new_object", "wait"])
VERB = st.sampled_from(["add", "correct", "remove", "rename", "detections", "pause"])


@given(st.binary(max_size=80) | PLAIN.map(msgpack.packb) | st.builds(
    lambda verb, fields: encode_request("r", verb, fields), VERB, st.dictionaries(KEY, PLAIN, max_size=4)
))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_anything_is_a_request_or_a_request_error(data):
    try:
        request = decode_request(data, HW)
    except RequestError as error:
        assert str(error)
    else:
        assert request.request_id
