"""A tracker that sees every few frames, told of the frames between."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from maskstream.model.drift import DriftEstimator
from maskstream.model.guided_motion import Guide, GuidedMotion
from maskstream.model.metrics import region_iou
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import Predictor
from maskstream.model.tracker import Tracker
from maskstream.model.types import Prompt

HW = (120, 160)
STEP_PX = 9  # to the right, a frame


@pytest.fixture(scope="module")
def frames():
    """A small textured square that crosses the picture faster than flow over several frames can follow."""
    noise = np.random.default_rng(0)
    ground = cv2.resize(noise.integers(60, 120, (30, 40, 3), dtype=np.uint8), HW[::-1])
    skin = cv2.resize(noise.integers(120, 255, (8, 8, 3), dtype=np.uint8), (24, 24))
    images = []
    for index in range(5):
        image = ground.copy()
        image[48:72, 20 + STEP_PX * index : 44 + STEP_PX * index] = skin
        images.append(image)
    return images


def square(index):
    mask = np.zeros(HW, np.float32)
    mask[48:72, 20 + STEP_PX * index : 44 + STEP_PX * index] = 1
    return mask


def guides_of(frames):
    """What a ladder would say of the last frame, having looked at all."""
    estimator = DriftEstimator()
    drift = estimator.restart(frames[0])
    guides = [Guide(frames[0], drift.origin, ())]
    for image in frames[1:]:
        step, own = estimator.step(image)
        drift = drift.then(step)
        guides.append(Guide(image, own.origin, (drift,)))
    return guides


def follows(motion):
    moved = motion.warp(square(0)) > 0.5
    return region_iou(square(4) > 0.5, moved)


def test_the_frames_between_show_the_way(frames):
    alone, guided = GuidedMotion(), GuidedMotion()
    guided.guide(guides_of(frames))
    assert alone.step(frames[0]) is None
    assert guided.step(frames[0]) is None
    assert follows(alone.step(frames[4])) < 0.2
    assert follows(guided.step(frames[4])) > 0.75


def test_what_leads_to_another_frame_is_no_guide(frames):
    motion = GuidedMotion()
    motion.step(frames[0])  # not the very picture that the drifts lead to
    motion.guide(guides_of(frames))
    assert follows(motion.step(frames[4])) < 0.2


def test_without_a_guide_it_is_plain_flow(frames):
    motion = GuidedMotion()
    motion.step(frames[0])
    moved = motion.step(frames[1]).warp(square(0)) > 0.5
    assert region_iou(square(1) > 0.5, moved) > 0.8


def test_a_change_of_size_has_no_motion(frames):
    motion = GuidedMotion()
    motion.step(frames[0])
    assert motion.step(np.ascontiguousarray(frames[1][:, :80])) is None


@torch.inference_mode()
def test_a_tracker_asks_for_it(frames):
    asked = []

    class Motion(GuidedMotion):
        def step(self, image):
            asked.append(image)
            return super().step(image)

    predictor = Predictor(MobileSam().eval(), 64)
    tracker = Tracker(predictor, motion=Motion())
    tracker.step(frames[0], predictor.encode(frames[0]), [Prompt(1, mask=square(0) > 0.5)])
    assert asked[0] is frames[0]
