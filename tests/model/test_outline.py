"""Masks on the coarse grid, brought to full size along the picture's edges."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from maskstream.model.geometry import resized_hw_for
from maskstream.model.metrics import region_iou
from maskstream.model.outline import Outliner
from maskstream.model.soft_masks import low_res_of, to_original
from maskstream.model.types import BoolMask, ImageEmbedding, RgbImage


def embedding_of(hw: tuple[int, int], size: int) -> ImageEmbedding:
    """What an Outliner asks of an embedding: how the low-res grid lies on the picture."""
    resized_hw = resized_hw_for(hw, size)
    input_hw = (-(-resized_hw[0] // 16) * 16, -(-resized_hw[1] // 16) * 16)
    features = torch.zeros(1, 256, input_hw[0] // 16, input_hw[1] // 16)
    return ImageEmbedding(features, hw, resized_hw, input_hw)


def star(hw: tuple[int, int]) -> BoolMask:
    """A star with sharp corners, which a coarse grid rounds off."""
    height, width = hw
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 0.15, 0.4) * height
    corners = np.stack([width / 2 + radii * np.sin(angles), height / 2 - radii * np.cos(angles)], axis=1)
    canvas = np.zeros(hw, np.uint8)
    cv2.fillPoly(canvas, [corners.round().astype(np.int32)], 1)
    return canvas > 0


def picture_of(mask: BoolMask) -> RgbImage:
    """The mask in orange on a background of changing green."""
    height, width = mask.shape
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 1] = np.linspace(60, 200, width)
    image[mask] = (230, 120, 30)
    return image


@pytest.mark.parametrize(
    ("hw", "size"), [((480, 854), 512), ((480, 854), 1024), ((480, 854), 2048), ((1080, 1440), 512)]
)
def test_outlines_fall_on_edges(hw: tuple[int, int], size: int) -> None:
    truth, embedding = star(hw), embedding_of(hw, size)
    soft = cv2.GaussianBlur(low_res_of(truth, embedding), (0, 0), 1.5)
    drawn = region_iou(truth, Outliner(picture_of(truth), embedding).to_original(soft))
    plain = region_iou(truth, to_original(soft, embedding))
    assert drawn > plain
    assert drawn > 0.94


def test_without_edges_the_mask_stays() -> None:
    hw = (240, 320)
    truth, embedding = star(hw), embedding_of(hw, 512)
    soft = low_res_of(truth, embedding)
    drawn = Outliner(np.full((*hw, 3), 90, np.uint8), embedding).to_original(soft)
    assert region_iou(to_original(soft, embedding), drawn) > 0.8


def test_grey_pictures_are_fine() -> None:
    hw = (240, 320)
    truth, embedding = star(hw), embedding_of(hw, 512)
    grey = np.repeat(cv2.cvtColor(picture_of(truth), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    soft = cv2.GaussianBlur(low_res_of(truth, embedding), (0, 0), 1.5)
    assert region_iou(truth, Outliner(grey, embedding).to_original(soft)) > region_iou(
        truth, to_original(soft, embedding)
    )


def test_a_speck_is_not_denied() -> None:
    hw = (480, 854)
    embedding = embedding_of(hw, 512)
    soft = np.zeros((72, 128), np.float32)
    soft[30, 40] = 0.9
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    assert Outliner(image, embedding).to_original(soft).any()


def test_nothing_stays_nothing() -> None:
    embedding = embedding_of((240, 320), 512)
    assert (
        not Outliner(picture_of(star((240, 320))), embedding)
        .to_original(np.zeros((96, 128), np.float32))
        .any()
    )


def test_parts_at_the_rim() -> None:
    hw = (240, 320)
    truth = np.zeros(hw, bool)
    truth[:90, -100:] = True
    embedding = embedding_of(hw, 512)
    assert (
        region_iou(truth, Outliner(picture_of(truth), embedding).to_original(low_res_of(truth, embedding)))
        > 0.97
    )
