from __future__ import annotations

import numpy as np
import pytest
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream.overlay import annotate, clock, colour_of

GREY = 90


def grey(hw=(240, 320)):
    return np.full((*hw, 3), GREY, np.uint8)


def square(object_id=1, state=TrackState.TRACKED, corner_xy=(100, 80), side=60, hw=(240, 320)):
    mask = np.zeros(hw, bool)
    x, y = corner_xy
    mask[y : y + side, x : x + side] = True
    return ObjectMask(object_id, mask, box_of_mask(mask), 0.9, 0.9, state, 0.9)


def test_the_picture_given_is_left_alone():
    image = grey()
    image.setflags(write=False)
    drawn = annotate(image, [square()], 1.5)
    assert (image == GREY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_the_inside_takes_the_object_s_colour_and_the_rest_none():
    drawn = annotate(grey(), [square(2)])
    inside = drawn[90:130, 110:150].reshape(-1, 3)
    assert (inside == inside[0]).all()
    np.testing.assert_allclose(inside[0], 0.58 * GREY + 0.42 * np.array(colour_of(2)), atol=2)
    assert (drawn[150:, :] == GREY).all()
    assert (drawn[:, 200:] == GREY).all()


def test_holes_stay_open():
    found = square()
    found.mask[100:120, 120:140] = False
    assert (annotate(grey(), [found])[106:114, 126:134] == GREY).all()


def lit_along_the_left_edge(state):
    """Which of the outline's pixels have the object's full colour."""
    drawn = annotate(grey(), [square(state=state)])
    return (np.abs(drawn[85:135, 100].astype(int) - colour_of(1)).sum(axis=1) < 60).mean()


def test_a_tracked_object_has_a_solid_outline_an_uncertain_one_a_dashed():
    assert lit_along_the_left_edge(TrackState.TRACKED) == 1
    assert 0.15 < lit_along_the_left_edge(TrackState.UNCERTAIN) < 0.7


def test_an_uncertain_object_is_filled_less():
    fills = [annotate(grey(), [square(state=state)])[110, 130].astype(int) for state in TrackState]
    distance = [np.abs(fill - GREY).sum() for fill in fills]
    assert distance[0] > 1.5 * distance[1] > 0


def test_a_lost_object_is_a_note_at_the_lower_left_alone():
    nothing = np.zeros((240, 320), bool)
    lost = ObjectMask(4, nothing, box_of_mask(nothing), 0, 0, TrackState.LOST, 0)
    changed = (annotate(grey(), [lost]) != GREY).any(axis=2)
    assert changed[-20:, :60].any()
    assert not changed[:-30].any()
    assert not changed[:, 80:].any()


def test_two_lost_objects_have_a_note_each():
    nothing = np.zeros((240, 320), bool)
    notes = [ObjectMask(i, nothing, box_of_mask(nothing), 0, 0, TrackState.LOST, 0) for i in (4, 5)]
    drawn = annotate(grey(), notes).reshape(-1, 3).astype(int)
    for object_id in (4, 5):
        assert (np.abs(drawn - colour_of(object_id)).sum(axis=1) < 60).sum() > 100


def test_labels_of_objects_in_one_place_do_not_cover_each_other():
    objects = [square(1), square(2, corner_xy=(102, 82), side=56)]
    drawn = annotate(grey(), objects).reshape(-1, 3).astype(int)
    for object_id in (1, 2):
        assert (np.abs(drawn - colour_of(object_id)).sum(axis=1) < 60).sum() > 500


@pytest.mark.parametrize("corner_xy", [(0, 0), (260, 0), (0, 180), (260, 180)])
@pytest.mark.parametrize("hw", [(240, 320), (241, 321)])
def test_objects_at_the_border_are_drawn_and_named(corner_xy, hw):
    drawn = annotate(grey(hw), [square(corner_xy=corner_xy, hw=hw)], 3.0)
    assert (np.abs(drawn.reshape(-1, 3).astype(int) - colour_of(1)).sum(axis=1) < 60).sum() > 500


@pytest.mark.parametrize("hw", [(1, 1), (2, 3), (16, 16), (16, 2000), (1080, 1920)])
def test_any_size_and_a_mask_over_all_of_it(hw):
    mask = np.ones(hw, bool)
    found = ObjectMask(1, mask, box_of_mask(mask), 0.9, 0.9, TrackState.UNCERTAIN, 0.9)
    assert annotate(grey(hw), [found], 1e6).shape == (*hw, 3)


def test_colours_are_the_same_for_ever_and_21_are_different():
    colours = [colour_of(i) for i in range(1, 22)]
    assert len(set(colours)) == 21
    assert colour_of(22) == colour_of(1) == (230, 159, 0)
    assert all(0 <= part <= 255 for i in (1, 255, 65_535) for part in colour_of(i))


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (0, "00:00.000"),
        (62.345, "01:02.345"),
        (59.9996, "01:00.000"),
        (3661.5, "1:01:01.500"),
        (-0.04, "-00:00.040"),
    ],
)
def test_the_clock_reads_as_people_do(time_s, text):
    assert clock(time_s) == text
