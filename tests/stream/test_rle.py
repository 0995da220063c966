from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from maskstream.model.types import box_of_mask
from maskstream.stream import rle
from pycocotools import mask as coco

# pycocotools 2.0.11 has not heard of numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda hw: arrays(np.bool_, hw))


@given(MASKS)
@settings(max_examples=200, deadline=None)
def test_is_what_pycocotools_writes_and_reads(mask):
    code = rle.encode(mask)
    assert code == coco.encode(np.asfortranarray(mask, np.uint8))
    np.testing.assert_array_equal(coco.decode(code), mask)
    np.testing.assert_array_equal(rle.decode(code), mask)
    assert rle.encode(mask, box_of_mask(mask)) == code


@pytest.mark.parametrize("fill", [False, True])
def test_empty_and_full_masks(fill):
    mask = np.full((480, 640), fill)
    code = rle.encode(mask)
    assert code == coco.encode(np.asfortranarray(mask, np.uint8))
    np.testing.assert_array_equal(rle.decode(code), mask)


def test_a_part_of_a_larger_mask_is_encoded_as_it_looks():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = np.random.default_rng(0).random((20, 30)) > 0.5
    view = mask[5:35, 15:55]  # not contiguous
    assert rle.encode(view) == coco.encode(np.asfortranarray(view, np.uint8))


def test_long_runs_over_the_whole_of_a_large_picture():
    mask = np.zeros((2160, 3840), bool)
    mask[0, 0] = mask[-1, -1] = True
    code = rle.encode(mask)
    assert code == coco.encode(np.asfortranarray(mask, np.uint8))
    np.testing.assert_array_equal(rle.decode(code), mask)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"", "add up to 0 px, not to 5x3"),
        (b"4", "add up to 4 px, not to 5x3"),
        (b"`0P", "cut off"),
        (b"\x00", "not a COCO"),
        (b"o" * 99, "not a COCO"),
        (b"5NZ5", "add up|not to"),
    ],
)
def test_a_code_that_does_not_fill_the_picture_is_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        rle.decode({"size": [3, 5], "counts": counts})


@given(st.binary(max_size=12) | st.text("01234PQR`o", max_size=8).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_either_are_a_mask_or_a_value_error(counts):
    try:
        mask = rle.decode({"size": [4, 5], "counts": counts})
    except ValueError:
        return
    np.testing.assert_array_equal(coco.decode({"size": [4, 5], "counts": counts}), mask)
