"""Connected parts, against OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from maskstream.model import batch_parts
from maskstream.model.batch_parts import box_around, parts_of, sums_of
from maskstream.model.types import BoolMask, box_of_mask

HW = (72, 128)


def spiral(height: int, width: int) -> BoolMask:
    """One line of a pixel, all the way from the border to the middle."""
    mask = np.zeros((height, width), np.bool_)
    top, left, bottom, right = 0, 0, height - 1, width - 1
    while top <= bottom and left <= right:
        mask[top, left : right + 1] = mask[top : bottom + 1, right] = True
        mask[bottom, left : right + 1] = mask[top + 2 : bottom + 1, left] = True
        mask[top + 2 : top + 3, left : left + 2] = top + 2 <= bottom
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    return mask


def snake(height: int, width: int) -> BoolMask:
    mask = np.zeros((height, width), np.bool_)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


def noise(share: float) -> BoolMask:
    return np.random.default_rng(0).random(HW) < share


def blobs(sigma: float) -> BoolMask:
    values = np.random.default_rng(1).random(HW)
    return cv2.GaussianBlur(values, (0, 0), sigma) > 0.5


SHAPES = {
    "nothing": np.zeros(HW, np.bool_),
    "everything": np.ones(HW, np.bool_),
    "spiral": spiral(*HW),
    "snake": snake(*HW),
    "standing snake": np.ascontiguousarray(snake(128, 72).T),
    "diagonals": np.add.outer(np.arange(72), np.arange(128)) % 4 == 0,
    **{f"noise {share}": noise(share) for share in (0.2, 0.4, 0.5, 0.6)},
    **{f"blobs {sigma}": blobs(sigma) for sigma in (1, 3, 8)},
}


def test_parts_are_those_of_opencv() -> None:
    masks = np.stack(list(SHAPES.values()))
    for name, mask, found in zip(SHAPES, masks, parts_of(torch.from_numpy(masks)), strict=True):
        count, expected = cv2.connectedComponents(mask.astype(np.uint8))
        pairs = set(zip(expected.ravel().tolist(), found.tolist(), strict=True))
        ours, theirs = {b for _, b in pairs}, {a for a, _ in pairs}
        assert len(pairs) == len(ours) == len(theirs) <= count, name
        assert all((a == 0) == (b == 0) for a, b in pairs), name


def test_a_large_spiral_is_one_part() -> None:
    parts = parts_of(torch.from_numpy(spiral(256, 256))[None])
    assert len(parts.unique()) == 2


def test_what_winds_too_much_falls_apart_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_parts, "ROUNDS", 3)
    mask = spiral(*HW)
    parts = parts_of(torch.from_numpy(mask)[None])[0]
    assert len(parts.unique()) > 2
    assert torch.equal(parts > 0, torch.from_numpy(mask).flatten())


def test_sums_are_each_pixels_own_parts() -> None:
    mask = SHAPES["blobs 3"]
    values = np.random.default_rng(2).integers(0, 1000, HW)
    found = sums_of(torch.from_numpy(values).flatten()[None], parts_of(torch.from_numpy(mask)[None]))[0]
    _, regions = cv2.connectedComponents(mask.astype(np.uint8))
    expected = np.bincount(regions.ravel(), values.ravel())[regions] * mask
    assert np.array_equal(found.numpy(), expected.ravel())


def test_boxes_are_tight() -> None:
    masks = np.stack([SHAPES["nothing"], SHAPES["everything"], SHAPES["blobs 8"], np.zeros(HW, np.bool_)])
    masks[3, 5:9, 70] = True
    expected = [box_of_mask(mask).tolist() for mask in masks]
    assert box_around(torch.from_numpy(masks)).tolist() == expected
    assert expected[3] == [70, 5, 71, 9]
