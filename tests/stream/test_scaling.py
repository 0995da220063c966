from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from maskstream.model.errors import PromptError
from maskstream.model.types import Prompt
from maskstream.stream.commands import Detections, Remove, Show
from maskstream.stream.scaling import scaled_prompt

OLD, NEW = (480, 640), (720, 1280)


def test_every_part_goes_to_the_same_place_of_the_picture():
    mask = np.zeros(OLD, bool)
    mask[240:, :320] = True
    drawn = scaled_prompt(Prompt(1, mask=mask), OLD, NEW)
    assert drawn.mask.shape == NEW
    assert drawn.mask[360:, :640].all()
    assert drawn.mask.sum() == 360 * 640
    shown = Prompt(1, points_xy=[[320, 240]], point_labels=[0], box_xyxy=[0, 0, 640, 120])
    moved = scaled_prompt(shown, OLD, NEW)
    assert (moved.points_xy.tolist(), moved.box_xyxy.tolist()) == ([[640, 360]], [0, 0, 1280, 180])
    assert moved.point_labels.tolist() == [0]
    assert scaled_prompt(shown, OLD, OLD) is shown


sides = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


@given(sides, sides, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_what_was_inside_stays_inside(old, new, x, y):
    points = np.minimum([[x * old[1], y * old[0]]], np.nextafter(np.float32(old[::-1]), np.float32(0)))
    prompt = Prompt(1, points_xy=points, point_labels=[1], box_xyxy=[0, 0, old[1], old[0]])
    scaled_prompt(prompt, old, new).check_inside(new)


def test_what_cannot_be_taken_over():
    with pytest.raises(PromptError, match="reaches outside the picture; the picture is 640x480 px"):
        scaled_prompt(Prompt(1, box_xyxy=[0, 0, 641, 9]), OLD, NEW)  # though it would be inside 1280x720
    speck = np.zeros(OLD, bool)
    speck[0, 0] = True
    with pytest.raises(PromptError, match="mask is empty"):
        scaled_prompt(Prompt(1, mask=speck), OLD, (48, 64))


def test_commands_know_which_picture_they_were_given_on():
    prompt = Prompt(1, box_xyxy=[64, 48, 128, 96])
    assert Show(prompt, picture_hw=OLD).fitted(NEW).prompt.box_xyxy.tolist() == [128, 72, 256, 144]
    assert Show(prompt).fitted(NEW).prompt is prompt  # in px of whichever frame it is carried out on
    found = Detections(np.array([[-64, 0, 64, 48]]), picture_hw=OLD).fitted(NEW)
    assert found.boxes_xyxy.tolist() == [[-128, 0, 128, 72]]
    removal = Remove(1, picture_hw=OLD)
    assert removal.fitted(NEW) is removal
