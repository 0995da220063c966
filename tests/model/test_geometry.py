from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from maskstream.model.geometry import padded_hw_for, resize_image, resized_hw_for, scale_box, scale_points

SIDES = st.integers(1, 5000)
SIZES = st.sampled_from([512, 768, 1024])


@pytest.mark.parametrize(
    ("original_hw", "resized_hw"),
    [
        ((480, 854), (576, 1024)),  # 575.5 rounds up, as SAM rounds
        ((720, 1280), (576, 1024)),
        ((1280, 720), (1024, 576)),
        ((1200, 1800), (683, 1024)),
        ((1024, 1024), (1024, 1024)),
        ((1, 5000), (1, 1024)),  # 0.2 would round to nothing
    ],
)
def test_the_long_side_becomes_the_size(original_hw: tuple[int, int], resized_hw: tuple[int, int]) -> None:
    assert resized_hw_for(original_hw, 1024) == resized_hw


def test_padding_goes_to_the_next_multiple_of_16_or_to_a_square() -> None:
    assert padded_hw_for((683, 1024), pad_to_square=False) == (688, 1024)
    assert padded_hw_for((576, 1024), pad_to_square=False) == (576, 1024)
    assert padded_hw_for((683, 1024), pad_to_square=True) == (1024, 1024)


@given(SIDES, SIDES, SIZES)
def test_the_model_input_holds_the_image_and_less_than_a_cell_of_padding(h: int, w: int, size: int) -> None:
    resized_hw = resized_hw_for((h, w), size)
    assert max(resized_hw) == size
    for resized, padded in zip(resized_hw, padded_hw_for(resized_hw, pad_to_square=False), strict=True):
        assert padded % 16 == 0
        assert resized <= padded < resized + 16


def test_points_and_boxes_scale_by_x_and_y_apart() -> None:
    assert scale_points([[10, 20]], (100, 200), (50, 400)).tolist() == [[20, 10]]
    assert scale_box([10, 20, 30, 40], (100, 200), (50, 400)).tolist() == [20, 10, 60, 20]
    assert scale_box(np.zeros((3, 4)), (1, 1), (2, 2)).shape == (3, 4)
    assert scale_points(np.zeros((0, 2)), (1, 1), (2, 2)).shape == (0, 2)


@given(SIDES, SIDES, SIZES, st.floats(0, 1), st.floats(0, 1))
def test_points_come_back_where_they_were(h: int, w: int, size: int, x: float, y: float) -> None:
    resized_hw = resized_hw_for((h, w), size)
    point = np.array([x * w, y * h])
    back = scale_points(scale_points(point, (h, w), resized_hw), resized_hw, (h, w))
    np.testing.assert_allclose(back, point, rtol=1e-6, atol=1e-3)


def test_resizing_averages_when_shrinking_and_leaves_a_fitting_image_alone() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert resize_image(stripes, (64, 64)) is stripes
    small = resize_image(stripes, (8, 8))
    assert small.shape == (8, 8, 3)
    assert abs(small.astype(int) - 127).max() < 20  # without antialiasing it would be 0 or 255
