"""Pictures made smaller, against OpenCV's area means."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from maskstream.model.shrink import Picture, coarse_means, shrunk

HW = (120, 214)


def picture_of(hw: tuple[int, int]) -> Picture:
    """Smooth noise, so that it matters little how it is sampled, but much where."""
    noise = np.random.default_rng(0).random((*hw, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


@pytest.mark.parametrize("hw", [(90, 160), (60, 107), (48, 86), (17, 30), (15, 26)])
def test_shrunk_is_nearly_the_area_means(hw: tuple[int, int]) -> None:
    found, expected = (
        shrunk(picture_of(HW), hw),
        cv2.resize(picture_of(HW), hw[::-1], interpolation=cv2.INTER_AREA),
    )
    assert found.shape == (*hw, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 6
    assert abs(found.mean() - expected.mean()) < 0.5


@pytest.mark.parametrize("times", [2, 4, 8])
def test_every_pixel_counts_however_much_smaller_it_gets(times: int) -> None:
    lines = np.zeros((96, 160), np.float32)
    lines[5::8] = 8  # one row of eight
    assert shrunk(lines, (96 // 8, 160 // 8)) == pytest.approx(1)
    assert shrunk(lines, (96 // times, 160 // times)).mean() == pytest.approx(1)


def test_a_picture_of_that_size_is_not_copied() -> None:
    picture = picture_of(HW)
    assert shrunk(picture, HW) is picture


@pytest.mark.parametrize("hw", [(15, 27), (40, 70), (96, 128), (120, 214)])
def test_coarse_means_are_not_rounded(hw: tuple[int, int]) -> None:
    picture = picture_of(HW)
    expected = cv2.resize(picture.astype(np.float32), hw[::-1], interpolation=cv2.INTER_AREA)
    assert coarse_means(picture, hw).dtype == np.float32
    assert np.abs(coarse_means(picture, hw) - expected).max() < (3 if hw == (15, 27) else 1e-3)
    assert np.abs(coarse_means(picture, hw) - expected).mean() < 0.25
