"""Masks carried along a picture that moves by a known amount."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from maskstream.model.coast import (
    HALF_LIFE_MS,
    UNSURE_QUALITY,
    Coaster,
    Imprint,
    carried,
    drawn,
    held,
    resized,
)
from maskstream.model.drift import Drift, Thumb
from maskstream.model.metrics import region_iou
from maskstream.model.quality import SHIPPED, apply_table, invert_table
from maskstream.model.types import MaskOrigin, ObjectMask, Prompt, TrackState, box_of_mask

HW = (240, 320)
STEP_XY = (5, -3)  # px a frame


@pytest.fixture(scope="module")
def scene():
    """A textured picture that moves as a whole: frame i shows it shifted by i * STEP_XY."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    wide = cv2.resize(noise, (480, 360), interpolation=cv2.INTER_CUBIC)

    def frame(index):
        x, y = 80 - index * STEP_XY[0], 60 - index * STEP_XY[1]
        return np.ascontiguousarray(wide[y : y + HW[0], x : x + HW[1]])

    return frame


def disc(index=0):
    rows, columns = np.ogrid[: HW[0], : HW[1]]
    x, y = 150 + index * STEP_XY[0], 120 + index * STEP_XY[1]
    return (columns - x) ** 2 + (rows - y) ** 2 < 40**2


def found(mask, state=TrackState.TRACKED, quality=0.9):
    return ObjectMask(7, mask, box_of_mask(mask), 0.95, 0.97, state, quality)


def carry_over(scene, masks, frames, age_ms=200.0):
    """Objects of frame 0, carried to the frame so many later."""
    coaster = Coaster()
    own = drift = coaster.restart(scene(0))
    for index in range(1, frames + 1):
        step, now = coaster.step(scene(index))
        drift = drift.then(step)
    imprints = [Imprint.of(found(mask), own.origin) for mask in masks]
    return coaster.carry(imprints, drift, now.origin, age_ms)


def stay(one, age_ms):
    """An object carried to a later frame on which nothing has moved."""
    thumb = Thumb.of(np.zeros((*HW, 3), np.uint8))
    return carried(Imprint.of(one, thumb), Drift(thumb).came_from(), thumb, age_ms)


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_a_mask_goes_where_its_pixels_go(scene, frames):
    (moved,) = carry_over(scene, [disc()], frames)
    assert region_iou(disc(frames), moved.mask) > 0.95
    assert region_iou(disc(), moved.mask) < 0.95  # or it would be no test
    np.testing.assert_array_equal(moved.box_xyxy, box_of_mask(moved.mask))
    assert (moved.how, moved.age_ms) == (MaskOrigin.WARPED, 200.0)


def test_what_moves_out_of_the_picture_is_gone_from_it(scene):
    corner = np.zeros(HW, bool)
    corner[:12, -12:] = True  # moves to the right and up
    (moved,) = carry_over(scene, [corner], 6)
    assert not moved.mask.any()
    assert not moved.box_xyxy.any()
    assert (moved.state, moved.quality, moved.age_ms) == (TrackState.OCCLUDED, 0.0, 200.0)


def test_part_of_a_mask_may_leave(scene):
    band = np.zeros(HW, bool)
    band[:, 280:] = True
    (moved,) = carry_over(scene, [band], 4)
    assert abs(int(moved.box_xyxy[0]) - 300) <= 3
    assert tuple(moved.box_xyxy[1:]) == (0, 320, 240)
    assert moved.mask[:, 304:].mean() > 0.99  # to the lower edge, where what was cut off comes into view


def test_nothing_is_carried_over_a_cut(scene):
    coaster = Coaster()
    own = coaster.restart(scene(0))
    other = np.random.default_rng(1).integers(0, 255, (*HW, 3), dtype=np.uint8)
    cut, now = coaster.step(other)
    (moved,) = coaster.carry([Imprint.of(found(disc()), own.origin)], own.then(cut), now.origin, 40.0)
    assert not moved.mask.any()
    assert moved.state is TrackState.OCCLUDED


def test_a_picture_larger_than_its_thumb(scene):
    size = (960, 720)
    masks = [cv2.resize(disc(index).view(np.uint8), size).view(bool) for index in (0, 2)]
    large = [cv2.resize(scene(index), size, interpolation=cv2.INTER_CUBIC) for index in range(3)]
    (moved,) = carry_over(large.__getitem__, [masks[0]], 2)
    assert moved.mask.shape == (720, 960)
    assert region_iou(masks[1], moved.mask) > 0.95


def test_colour_mends_what_flow_gets_wrong():
    """A red square has moved on green ground; the flow says that it went only half as far."""
    before, after = (np.full((*HW, 3), (40, 180, 60), np.uint8) for _ in range(2))
    before[100:140, 100:140] = after[100:140, 116:156] = (200, 40, 40)
    mask, truth = (picture[..., 0] > 100 for picture in (before, after))
    imprint = Imprint.of(found(mask), Thumb.of(before))
    half_way = Drift(Thumb.of(before), np.full((*HW, 2), (-8, 0), np.float32)).came_from()
    with_colour = carried(imprint, half_way, Thumb.of(after), 200.0)
    without = carried(replace(imprint, colors=None), half_way, Thumb.of(after), 200.0)
    assert region_iou(truth, without.mask) < 0.7
    assert region_iou(truth, with_colour.mask) > 0.85


def test_things_that_stay_keep_their_outline_whatever_the_colours():
    one = found(disc())
    np.testing.assert_array_equal(stay(one, 300.0).mask, one.mask)


def test_a_thing_of_a_few_pixels_is_carried_too(scene):
    speck = np.zeros(HW, bool)
    speck[120:123, 150:153] = True
    (moved,) = carry_over(scene, [speck], 2)
    assert 0 < moved.area_px < 40
    assert abs(int(moved.box_xyxy[0]) - 160) <= 2


def test_quality_falls_with_age_and_the_state_with_it():
    fresh = found(disc())
    young, old, ancient = (stay(fresh, age_ms) for age_ms in (1.0, HALF_LIFE_MS, 3 * HALF_LIFE_MS))
    assert 0.89 < young.quality < 0.9
    raw = invert_table(fresh.quality, SHIPPED)
    assert old.quality == pytest.approx(apply_table(raw / 2, SHIPPED))
    assert ancient.quality < UNSURE_QUALITY
    assert (young.state, ancient.state) == (TrackState.TRACKED, TrackState.UNCERTAIN)


def test_holding_ages_on_from_where_carrying_ended():
    at_once, in_two_steps = stay(found(disc()), 300.0), held(stay(found(disc()), 100.0), 300.0)
    assert in_two_steps.quality == pytest.approx(at_once.quality)
    assert (in_two_steps.how, in_two_steps.age_ms) == (MaskOrigin.HELD, 300.0)


@pytest.mark.parametrize("state", [TrackState.OCCLUDED, TrackState.LOST])
def test_the_unseen_stay_unseen(state):
    carried_on = stay(found(np.zeros(HW, bool), state, 0.0), 50.0)
    assert (carried_on.state, carried_on.quality, carried_on.age_ms) == (state, 0.0, 50.0)


def test_what_the_user_draws_is_known_at_once():
    shown = drawn(Prompt(3, mask=disc()))
    assert (shown.object_id, shown.state, shown.how) == (3, TrackState.TRACKED, MaskOrigin.REFINED)
    assert shown.quality == 1.0
    np.testing.assert_array_equal(shown.box_xyxy, box_of_mask(disc()))
    with pytest.raises(ValueError, match="prompt 3 has no mask"):
        drawn(Prompt(3, box_xyxy=[0, 0, 5, 5]))


def test_a_picture_of_another_size_shows_the_same():
    twice = resized(found(disc()), (2 * HW[0], 2 * HW[1]))
    assert twice.mask.shape == (2 * HW[0], 2 * HW[1])
    assert twice.area_px == 4 * int(disc().sum())
    np.testing.assert_array_equal(twice.box_xyxy, box_of_mask(twice.mask))
    same = found(disc())
    assert resized(same, HW) is same
