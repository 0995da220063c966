"""Pictures resized on the device, beside Pillow's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from maskstream.model.device_image import resize, upload
from maskstream.model.geometry import resize_image

CPU = torch.device("cpu")


def picture(hw: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (5, 5), 0))


@pytest.mark.parametrize("to_hw", [(90, 160), (60, 107), (37, 66), (180, 320)])
def test_as_pillow_does_it_but_for_rounding(to_hw: tuple[int, int]) -> None:
    image = picture((120, 213))
    found = resize(upload(image, CPU), to_hw)[0].permute(1, 2, 0).numpy()
    gap = np.abs(found - resize_image(image, to_hw).astype(np.float32))
    assert found.shape == (*to_hw, 3)
    assert gap.max() <= 1
    assert (gap > 0).mean() < 0.25


def test_a_picture_of_the_size_is_left_alone_and_a_read_only_one_is_no_riddle() -> None:
    image = picture((32, 48))
    image.setflags(write=False)
    there = upload(image, CPU)
    assert (there.dtype, tuple(there.shape)) == (torch.uint8, (1, 3, 32, 48))
    np.testing.assert_array_equal(resize(there, (32, 48))[0].permute(1, 2, 0).numpy(), image)
