"""Outlines of many objects at once, against those of each alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from maskstream.model import batch_outline
from maskstream.model.batch_outline import BatchOutliner
from maskstream.model.batch_rows import FrameShape
from maskstream.model.device_image import upload
from maskstream.model.geometry import padded_hw_for, resized_hw_for
from maskstream.model.metrics import region_iou
from maskstream.model.motion import SoftMask
from maskstream.model.outline import Outliner
from maskstream.model.types import BoolMask, ImageEmbedding, RgbImage
from numpy.typing import NDArray

CPU = torch.device("cpu")


def embedding_of(hw: tuple[int, int], size: int) -> ImageEmbedding:
    resized_hw = resized_hw_for(hw, size)
    input_hw = padded_hw_for(resized_hw, False)
    grid_hw = input_hw[0] // 16, input_hw[1] // 16
    return ImageEmbedding(
        torch.zeros(1, 256, *grid_hw),
        hw,
        resized_hw,
        input_hw,
        torch.zeros(1, 192, 2 * grid_hw[0], 2 * grid_hw[1]),
    )


def picture_of(hw: tuple[int, int]) -> RgbImage:
    """Coloured clouds with hard edges between them."""
    noise = np.random.default_rng(0).random((*hw, 3)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), max(hw) / 30)
    levels = np.floor((clouds - clouds.min()) / np.ptp(clouds) * 6) * 40
    return (levels + 10 * noise).astype(np.uint8)


def softs_on(embedding: ImageEmbedding) -> SoftMask:
    """A large object, a small one, one at the picture's corner, a spot, nothing."""
    height, width = embedding.input_hw[0] // 4, embedding.input_hw[1] // 4
    places = [(0.5, 0.5, 0.3), (0.3, 0.7, 0.06), (0.02, 0.02, 0.2), (0.8, 0.2, 0.012)]
    masks = np.zeros((5, height, width), np.float32)
    for mask, (y, x, radius) in zip(masks, places, strict=False):
        middle = (round(x * width), round(y * height))
        cv2.ellipse(
            mask,
            middle,
            (max(1, round(radius * height)), max(1, round(radius * width / 3))),
            30,
            0,
            360,
            1,
            -1,
        )
        mask[...] = cv2.GaussianBlur(mask, (0, 0), 0.8)
    return masks


def both(hw: tuple[int, int], size: int) -> tuple[NDArray[np.bool_], list[BoolMask]]:
    embedding, image = embedding_of(hw, size), picture_of(hw)
    softs = softs_on(embedding)
    together = BatchOutliner(FrameShape.of(embedding), CPU)
    alone = Outliner(image, embedding)
    found = together.to_original(upload(image, CPU), torch.from_numpy(softs)).numpy()
    return found, [alone.to_original(soft) for soft in softs]


@pytest.mark.parametrize(
    ("hw", "size"), [((144, 176), 320), ((240, 427), 512), ((480, 640), 320), ((90, 120), 256)]
)
def test_outlines_are_those_of_each_alone(hw: tuple[int, int], size: int) -> None:
    found, expected = both(hw, size)
    assert found.shape == (5, *hw)
    assert found.dtype == np.bool_
    assert not found[4].any()
    for one, other in zip(found[:3], expected[:3], strict=True):
        assert region_iou(one, other) > 0.995
    assert abs(int(found[3].sum()) - int(expected[3].sum())) <= max(4, 0.1 * expected[3].sum())


def test_large_pictures_are_enlarged_from_smaller_ones() -> None:
    found, expected = both((810, 1440), 512)
    assert min(region_iou(one, other) for one, other in zip(found[:3], expected[:3], strict=True)) > 0.98


def test_full_size_is_reached_by_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, _ = both((240, 427), 512)
    monkeypatch.setattr(batch_outline, "MOST_PX", 2 * 240 * 427)
    drawn: list[int] = []
    draw = BatchOutliner._draw
    monkeypatch.setattr(
        BatchOutliner,
        "_draw",
        lambda self, fine, *some: drawn.append(len(some[1])) or draw(self, fine, *some),
    )
    assert np.array_equal(both((240, 427), 512)[0], at_once)
    assert drawn == [2, 2, 1]
