"""Masks carried along a picture that moves by a known amount."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from maskstream.model.coast import HALF_LIFE_MS, UNSURE_QUALITY, Coaster, Drift, carried, drawn, held
from maskstream.model.metrics import region_iou
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


def drift_over(scene, frames):
    coaster = Coaster()
    drift = coaster.restart(scene(0))
    for index in range(1, frames + 1):
        step, _ = coaster.step(scene(index))
        drift = drift.then(step)
    return drift


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_a_mask_goes_where_its_pixels_go(scene, frames):
    drift = drift_over(scene, frames)
    mask, box = drift.move(disc(), box_of_mask(disc()))
    assert region_iou(disc(frames), mask) > 0.95
    assert region_iou(disc(), mask) < 0.95  # or it would be no test
    np.testing.assert_array_equal(box, box_of_mask(mask))
    assert mask.dtype == np.bool_


def test_a_frames_own_drift_moves_nothing(scene):
    coaster = Coaster()
    own = coaster.restart(scene(0))
    mask, box = own.move(disc(), box_of_mask(disc()))
    np.testing.assert_array_equal(mask, disc())
    np.testing.assert_array_equal(box, box_of_mask(disc()))


def test_drifts_lead_back_to_the_frame_they_began_at(scene):
    coaster = Coaster()
    own = coaster.restart(scene(0))
    step, second = coaster.step(scene(1))
    assert step.origin is own.origin
    assert own.then(step).origin is own.origin
    third_step, _ = coaster.step(scene(2))
    assert second.then(third_step).origin is third_step.origin is second.origin


def test_what_moves_out_of_the_picture_is_gone_from_it(scene):
    corner = np.zeros(HW, bool)
    corner[:12, -12:] = True  # moves to the right and up
    moved = carried(found(corner), drift_over(scene, 6), 200.0)
    assert not moved.mask.any()
    assert not moved.box_xyxy.any()
    assert (moved.state, moved.quality, moved.age_ms) == (TrackState.OCCLUDED, 0.0, 200.0)


def test_part_of_a_mask_may_leave(scene):
    band = np.zeros(HW, bool)
    band[:, 280:] = True
    mask, box = drift_over(scene, 4).move(band, box_of_mask(band))
    assert abs(int(box[0]) - 300) <= 1
    assert tuple(box[1:]) == (0, 320, 240)
    assert mask[:, 302:].all()  # down to the lower edge, where the picture goes on with what was cut off


def test_nothing_is_carried_over_a_cut(scene):
    coaster = Coaster()
    own = coaster.restart(scene(0))
    other = np.random.default_rng(1).integers(0, 255, (*HW, 3), dtype=np.uint8)
    cut, _ = coaster.step(other)
    after, _ = coaster.step(other)
    assert cut.is_broken
    assert not after.is_broken
    assert own.then(cut).then(after).is_broken
    moved = carried(found(disc()), own.then(cut), 40.0)
    assert not moved.mask.any()
    assert moved.state is TrackState.OCCLUDED


def test_a_picture_of_another_size_is_a_cut(scene):
    coaster = Coaster()
    coaster.restart(scene(0))
    step, own = coaster.step(np.zeros((120, 320, 3), np.uint8))
    assert step.is_broken
    assert not own.is_broken


def test_a_picture_that_grows_and_shrinks_again_and_again():
    """OpenCV's estimator crashed the whole program when one was used for several sizes."""
    picture = np.random.default_rng(0).integers(0, 256, (240, 384, 3), np.uint8)
    coaster = Coaster()
    for _ in range(10):
        for size_wh in ((80, 60), (160, 120), (200, 150), (384, 240)):
            for shift in range(4):
                moved = cv2.resize(np.roll(picture, 2 * shift, axis=1), size_wh)
                drift, _ = coaster.step(moved)
                assert drift.is_broken or shift


def test_the_first_frame_has_no_drift_but_its_own(scene):
    step, own = Coaster().step(scene(0))
    assert step.is_broken
    assert own.flow is None


def test_a_picture_larger_than_flow_is_estimated_at(scene):
    big = [cv2.resize(scene(index), (960, 720), interpolation=cv2.INTER_CUBIC) for index in (0, 1)]
    masks = [cv2.resize(disc(index).view(np.uint8), (960, 720)).view(bool) for index in (0, 1)]
    coaster = Coaster()
    own = coaster.restart(big[0])
    step, _ = coaster.step(big[1])
    moved, _ = own.then(step).move(masks[0], box_of_mask(masks[0]))
    assert region_iou(masks[1], moved) > 0.95


def test_quality_falls_with_age_and_the_state_with_it():
    still = Drift(np.zeros((16, 16), np.uint8), np.zeros((16, 16, 2), np.float32))
    fresh = found(disc())
    young, old = carried(fresh, still, 1.0), carried(fresh, still, HALF_LIFE_MS)
    assert 0.89 < young.quality < 0.9
    assert old.quality == pytest.approx(0.45)
    assert old.how is MaskOrigin.WARPED
    ancient = carried(fresh, still, 3 * HALF_LIFE_MS)
    assert ancient.quality < UNSURE_QUALITY
    assert (old.state, ancient.state) == (TrackState.TRACKED, TrackState.UNCERTAIN)
    np.testing.assert_array_equal(ancient.mask, fresh.mask)


def test_holding_ages_on_from_where_carrying_ended():
    still = Drift(np.zeros((16, 16), np.uint8), np.zeros((16, 16, 2), np.float32))
    fresh = found(disc())
    at_once, in_two_steps = carried(fresh, still, 300.0), held(carried(fresh, still, 100.0), 300.0)
    assert in_two_steps.quality == pytest.approx(at_once.quality)
    assert (in_two_steps.how, in_two_steps.age_ms) == (MaskOrigin.HELD, 300.0)


@pytest.mark.parametrize("state", [TrackState.OCCLUDED, TrackState.LOST])
def test_the_unseen_stay_unseen(state):
    still = Drift(np.zeros((16, 16), np.uint8), np.zeros((16, 16, 2), np.float32))
    carried_on = carried(found(np.zeros(HW, bool), state, 0.0), still, 50.0)
    assert (carried_on.state, carried_on.quality) == (state, 0.0)


def test_what_the_user_draws_is_known_at_once():
    shown = drawn(Prompt(3, mask=disc()))
    assert (shown.object_id, shown.state, shown.how) == (3, TrackState.TRACKED, MaskOrigin.REFINED)
    assert shown.quality == 1.0
    np.testing.assert_array_equal(shown.box_xyxy, box_of_mask(disc()))
    with pytest.raises(ValueError, match="prompt 3 has no mask"):
        drawn(Prompt(3, box_xyxy=[0, 0, 5, 5]))
