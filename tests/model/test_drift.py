"""Flow over several frames of a picture that moves by a known amount."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from maskstream.model.drift import Drift, DriftEstimator, Thumb
from maskstream.model.motion import pixels

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


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_drifts_add_up(scene, frames):
    estimator = DriftEstimator()
    drift = estimator.restart(scene(0))
    for index in range(1, frames + 1):
        step, _ = estimator.step(scene(index))
        drift = drift.then(step)
    middle = drift.flow[60:180, 60:260].reshape(-1, 2)
    np.testing.assert_allclose(np.median(middle, axis=0), np.multiply(STEP_XY, -frames), atol=0.1)


def test_drifts_lead_back_to_the_frame_they_began_at(scene):
    estimator = DriftEstimator()
    own = estimator.restart(scene(0))
    step, second = estimator.step(scene(1))
    assert step.origin is own.origin
    assert own.then(step).origin is own.origin
    third_step, _ = estimator.step(scene(2))
    assert second.then(third_step).origin is third_step.origin is second.origin


def test_a_frames_own_drift_leads_every_pixel_to_itself(scene):
    own = DriftEstimator().restart(scene(0))
    assert own.flow is None
    np.testing.assert_array_equal(own.came_from(), pixels(*HW))


def test_what_came_from_beyond_the_edge_was_at_it():
    thumb = Thumb.of(np.zeros((20, 30, 3), np.uint8))
    came_from = Drift(thumb, np.full((20, 30, 2), (-4, 6), np.float32)).came_from()
    assert came_from[0, 0].tolist() == [0, 6]
    assert came_from[19, 29].tolist() == [25, 19]


def test_a_cut_breaks_every_drift_over_it(scene):
    estimator = DriftEstimator()
    own = estimator.restart(scene(0))
    other = np.random.default_rng(1).integers(0, 255, (*HW, 3), dtype=np.uint8)
    cut, _ = estimator.step(other)
    after, _ = estimator.step(other)
    assert cut.is_broken
    assert not after.is_broken
    assert own.then(cut).then(after).is_broken


def test_a_picture_of_another_size_is_a_cut(scene):
    estimator = DriftEstimator()
    estimator.restart(scene(0))
    step, own = estimator.step(np.zeros((120, 320, 3), np.uint8))
    assert step.is_broken
    assert not own.is_broken


def test_a_picture_that_grows_and_shrinks_again_and_again():
    """OpenCV's estimator crashed the whole program when one was used for several sizes."""
    picture = np.random.default_rng(0).integers(0, 256, (240, 384, 3), np.uint8)
    estimator = DriftEstimator()
    for _ in range(10):
        for size_wh in ((80, 60), (160, 120), (200, 150), (384, 240)):
            for shift in range(4):
                moved = cv2.resize(np.roll(picture, 2 * shift, axis=1), size_wh)
                drift, _ = estimator.step(moved)
                assert drift.is_broken or shift


def test_the_first_frame_has_no_drift_but_its_own(scene):
    step, own = DriftEstimator().step(scene(0))
    assert step.is_broken
    assert own.flow is None


@pytest.mark.parametrize(
    ("hw", "small_hw"), [((1080, 1920), (216, 384)), ((48, 64), (48, 64)), ((4, 900), (16, 384))]
)
def test_a_thumb_is_small_and_keeps_the_shape(hw, small_hw):
    thumb = Thumb.of(np.zeros((*hw, 3), np.uint8))
    assert thumb.rgb.shape == (*small_hw, 3)
    assert thumb.gray.shape == small_hw
