from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from maskstream.stream.evaluate_data import find_sequences
from maskstream.stream.evaluate_seeds import deepest_point, schedule_seeds, seed_prompt


def box(x0, y0, x1, y1, hw=(40, 60)):
    mask = np.zeros(hw, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_the_three_ways_to_show_an_object():
    mask = box(10, 5, 31, 20)
    np.testing.assert_array_equal(seed_prompt(3, mask, "mask").mask, mask)
    by_box = seed_prompt(3, mask, "box")
    assert by_box.box_xyxy.tolist() == [10, 5, 31, 20]
    assert by_box.mask is None
    by_click = seed_prompt(3, mask, "click")
    assert (by_click.points_xy.shape, by_click.point_labels.tolist()) == ((1, 2), [1])
    assert mask[int(by_click.points_xy[0, 1]), int(by_click.points_xy[0, 0])]
    assert by_click.box_xyxy is None


def test_a_click_goes_deepest_into_the_largest_part():
    bar, blob = box(0, 0, 50, 4), box(20, 20, 31, 31)  # the bar is larger, and thin everywhere
    x, y = deepest_point(bar | blob)
    assert y in (1, 2)
    x, y = deepest_point(blob | box(0, 0, 10, 4))
    assert (x, y) == (25, 25)


def test_the_pictures_border_is_an_edge():
    x, y = deepest_point(box(0, 0, 21, 40))
    assert x == 10
    assert deepest_point(np.ones((1, 1), bool)).tolist() == [0, 0]


@pytest.mark.parametrize("seed", ["mask", "box", "click"])
def test_each_object_is_shown_when_it_appears(davis, seed):
    _, crowd = find_sequences(davis.root)
    schedule = {item.prompt.object_id: item for item in schedule_seeds(crowd, seed, Fraction(24))}
    assert {key: item.time_s for key, item in schedule.items()} == pytest.approx({1: 0, 2: 4 / 24, 3: 0})
    for object_id, item in schedule.items():
        item.prompt.check_inside((72, 96))
        if seed == "mask":
            frame = 4 if object_id == 2 else 0
            np.testing.assert_array_equal(item.prompt.mask, davis.truth("crowd", frame)[object_id])
