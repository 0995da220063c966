from __future__ import annotations

import numpy as np
import pytest
import torch
from maskstream.model.geometry import padded_hw_for, resized_hw_for
from maskstream.model.metrics import region_iou
from maskstream.model.soft_masks import (
    box_of_soft,
    inside_box,
    low_res_of,
    soft_iou,
    stability_of,
    to_original,
)
from maskstream.model.types import ImageEmbedding


def _embedding(original_hw: tuple[int, int], size: int = 512) -> ImageEmbedding:
    resized_hw = resized_hw_for(original_hw, size)
    input_hw = padded_hw_for(resized_hw, pad_to_square=False)
    features = torch.zeros(1, 256, input_hw[0] // 16, input_hw[1] // 16)
    return ImageEmbedding(features, original_hw, resized_hw, input_hw)


@pytest.mark.parametrize("original_hw", [(480, 854), (1080, 1920), (241, 321), (900, 300), (100, 120)])
def test_a_mask_survives_the_low_res_grid(original_hw: tuple[int, int]) -> None:
    height, width = original_hw
    rows, columns = np.mgrid[:height, :width]
    centre, radius = (0.45 * height, 0.6 * width), 0.3 * min(height, width)
    mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
    back = to_original(low_res_of(mask, _embedding(original_hw)), _embedding(original_hw))
    assert back.shape == mask.shape
    assert region_iou(mask, back) > 0.97


@pytest.mark.parametrize("corner", [(slice(0, 60), slice(0, 80)), (slice(421, 480), slice(775, 854))])
def test_masks_at_the_border_reach_the_border(corner: tuple[slice, slice]) -> None:
    mask = np.zeros((480, 854), np.bool_)
    mask[corner] = True
    back = to_original(low_res_of(mask, _embedding((480, 854))), _embedding((480, 854)))
    assert region_iou(mask, back) > 0.97


def test_an_empty_mask_stays_empty() -> None:
    soft = np.zeros((72, 128), np.float32)
    assert not to_original(soft, _embedding((480, 854))).any()
    assert box_of_soft(soft, _embedding((480, 854))) is None
    assert stability_of(soft) == 0


def test_the_box_leaves_small_parts_out() -> None:
    soft = np.zeros((72, 128), np.float32)
    soft[10:30, 20:60] = 1
    soft[60:62, 100:102] = 1
    box = box_of_soft(soft, _embedding((288, 512)))
    assert box is not None
    assert box.tolist() == [80, 40, 240, 120]


def test_inside_box_keeps_to_the_picture() -> None:
    inside = inside_box(np.array([-5, 3, 4, 99], np.float32), (10, 12), 2)
    assert inside[1:, :7].all()
    assert inside.sum() == 9 * 7


def test_soft_iou_and_stability_of_sharp_masks() -> None:
    a, b = np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)
    a[:4], b[2:6] = 1, 1
    assert soft_iou(a, b) == pytest.approx(1 / 3)
    assert soft_iou(a, a) == 1
    assert stability_of(a) == 1
    unsure = np.full((8, 8), 0.6, np.float32)  # its logit, 0.4, is within one of the threshold
    assert stability_of(unsure) == 0
