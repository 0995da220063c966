"""What is done to many soft masks at once, against OpenCV and what is done to each alone."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from maskstream.model import batch_masks, soft_masks
from maskstream.model.motion import Motion, SoftMask
from maskstream.model.shrink import coarse_means
from torch import Tensor

CPU = torch.device("cpu")
HW = (48, 80)


def softs(hw: tuple[int, int] = HW) -> SoftMask:
    """Four masks (4, h, w): smooth, rough, one spot, nothing."""
    noise = np.random.default_rng(0).random((2, *hw)).astype(np.float32)
    smooth = np.clip(cv2.GaussianBlur(noise[0], (0, 0), 3) * 12 - 5.5, 0, 1)
    spot = np.zeros(hw, np.float32)
    spot[7, 11] = 0.9
    return np.stack([smooth, noise[1], spot, np.zeros(hw, np.float32)])


def each(work: Callable[[SoftMask], SoftMask], pictures: SoftMask) -> Tensor:
    return torch.from_numpy(np.stack([work(picture) for picture in pictures]))


def gap(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


@pytest.mark.parametrize("to_hw", [(24, 40), (31, 50), (7, 13), (48, 80)])
def test_area_means(to_hw: tuple[int, int]) -> None:
    found = batch_masks.area_means(HW, to_hw, CPU)(torch.from_numpy(softs()))
    assert gap(found, each(lambda one: coarse_means(one, to_hw), softs())) < 1e-6


@pytest.mark.parametrize("sigma", [0.5, 2.0, 4.5, 20.0])  # at the last the kernel is larger than the picture
def test_gaussian_blur(sigma: float) -> None:
    found = batch_masks.gaussian_blur(sigma, HW, CPU)(torch.from_numpy(softs()))
    assert gap(found, each(lambda one: cv2.GaussianBlur(one, (0, 0), sigma), softs())) < 1e-5


@pytest.mark.parametrize("side", [3, 7, 13])
def test_box_filter(side: int) -> None:
    found = batch_masks.box_filter(side, HW, CPU, torch.float64)(torch.from_numpy(softs()).double())
    expected = each(lambda one: cv2.boxFilter(one.astype(np.float64), -1, (side, side)), softs())
    assert gap(found, expected) < 1e-12


@pytest.mark.parametrize("reach", [1, 3])
def test_close(reach: int) -> None:
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    found = batch_masks.close(torch.from_numpy(softs()), reach)
    assert gap(found, each(lambda one: cv2.morphologyEx(one, cv2.MORPH_CLOSE, kernel), softs())) == 0


@pytest.mark.parametrize("reach", [1, 3, 8])
def test_dilate(reach: int) -> None:
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    found = batch_masks.dilate(torch.from_numpy(softs()), reach)
    assert torch.equal(found, each(lambda one: cv2.dilate(one, kernel), softs()))


@pytest.mark.parametrize("to_hw", [(96, 160), (24, 40), (72, 111), (48, 80)])
def test_resize(to_hw: tuple[int, int]) -> None:
    found = batch_masks.resize(torch.from_numpy(softs()), to_hw)
    assert gap(found, each(lambda one: soft_masks.resize_soft(one, to_hw), softs())) < 1e-5


@pytest.mark.parametrize("scale", [(0.5, 0.5), (0.37, 0.41), (1.7, 1.3)])
def test_zooms_and_samples_lie_where_opencv_has_them(scale: tuple[float, float]) -> None:
    to_hw, pictures = (60, 90), torch.from_numpy(softs())
    to_pictures = np.array([[scale[1], 0, scale[1] / 2 - 0.5], [0, scale[0], scale[0] / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = each(
        lambda one: cv2.warpAffine(
            one, to_pictures, to_hw[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
        ),
        softs(),
    )
    zoomed = batch_masks.linear_zoom(HW, to_hw, scale, CPU)(pictures)
    sampled = batch_masks.sample(pictures[:, None], batch_masks.places_of(to_hw, scale, CPU))[:, 0]
    assert gap(zoomed, sampled) < 1e-4
    assert gap(sampled, expected) < 0.04  # OpenCV rounds places to 1/32 px


def test_moved_masks_are_those_of_remap() -> None:
    flow = np.random.default_rng(1).normal(0, 6, (24, 40, 2)).astype(np.float32)
    flow = cv2.GaussianBlur(flow, (0, 0), 3) * 4
    motion = Motion(flow, np.ones((24, 40), np.float32))
    found = batch_masks.sample(torch.from_numpy(softs())[:, None], torch.from_numpy(motion.came_from(*HW)))[
        :, 0
    ]
    expected = each(motion.warp, softs())
    assert gap(found[:1], expected[:1]) < 0.01
    assert gap(found, expected) < 0.04  # OpenCV rounds places to 1/32 px


def test_cell_means() -> None:
    found = batch_masks.cell_means(torch.from_numpy(softs()), (24, 40))
    expected = torch.stack([soft_masks.cell_means(one, (24, 40)) for one in softs()])
    assert gap(found, expected) < 1e-6


@pytest.mark.parametrize("name", ["certainty_of", "fineness_of", "stability_of"])
def test_figures_are_those_of_each_alone(name: str) -> None:
    found = getattr(batch_masks, name)(torch.from_numpy(softs()))
    assert found.tolist() == pytest.approx([getattr(soft_masks, name)(one) for one in softs()], abs=1e-6)


def test_soft_iou() -> None:
    a, b = softs(), softs()[[1, 0, 2, 3]]
    found = batch_masks.soft_iou(torch.from_numpy(a), torch.from_numpy(b))
    assert found.tolist() == pytest.approx([soft_masks.soft_iou(*pair) for pair in zip(a, b, strict=True)])
