from __future__ import annotations

import cv2
import numpy as np
from maskstream.model.motion import Motion, MotionEstimator
from maskstream.model.types import RgbImage


def _texture(seed: int, height: int = 160, width: int = 240) -> RgbImage:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.ascontiguousarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def test_the_first_frame_and_a_new_size_have_no_motion() -> None:
    estimator = MotionEstimator()
    assert estimator.step(_texture(0)) is None
    assert estimator.step(_texture(0, 80, 120)) is None


def test_a_mask_moves_with_the_picture() -> None:
    picture = _texture(0)
    moved = np.ascontiguousarray(np.roll(picture, (6, -9), axis=(0, 1)))
    estimator = MotionEstimator()
    estimator.step(picture)
    motion = estimator.step(moved)
    assert motion is not None
    soft = np.zeros((40, 60), np.float32)  # another grid than the picture's
    soft[15:25, 20:40] = 1
    warped = motion.warp(soft)
    rows, columns = np.nonzero(warped > 0.5)
    assert abs(rows.mean() - (19.5 + 6 / 4)) < 0.3
    assert abs(columns.mean() - (29.5 - 9 / 4)) < 0.3


def test_agreement_tells_a_move_from_a_cut() -> None:
    estimator = MotionEstimator()
    estimator.step(_texture(0))
    same = estimator.step(np.ascontiguousarray(np.roll(_texture(0), 3, axis=1)))
    other = estimator.step(_texture(1))
    assert same is not None
    assert other is not None
    assert not same.is_cut
    assert other.is_cut
    assert same.agreement.mean() > 0.8


def test_what_came_into_the_picture_agrees_with_nothing() -> None:
    estimator = MotionEstimator()
    picture = _texture(0)
    estimator.step(np.ascontiguousarray(picture[:, 12:]))
    motion = estimator.step(np.ascontiguousarray(picture[:, :-12]))
    assert motion is not None
    assert (motion.agreement[20:-20, :4] == 0).all()
    assert motion.agreement[:, 40:].mean() > 0.8


def test_flow_is_measured_in_pixels_of_the_grid_asked_for() -> None:
    flow = np.full((20, 40, 2), (4, 2), np.float32)
    came_from = Motion(flow, np.ones((20, 40), np.float32)).came_from(60, 20)
    assert came_from[0, 0].tolist() == [2, 6]
    assert came_from[10, 7].tolist() == [9, 16]
