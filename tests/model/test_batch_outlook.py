"""Where many objects should be, against what is said of each alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from maskstream.model.appearance import Anchor, AppearanceGrid, AppearanceMemory
from maskstream.model.batch_outlook import Ahead, BatchOutlook
from maskstream.model.batch_rows import FrameShape, Rows
from maskstream.model.motion import Motion, SoftMask
from maskstream.model.outlook import Outlook, look_ahead, search
from maskstream.model.prompt_batch import batch_prompts
from maskstream.model.soft_masks import box_of_soft, cell_means, logits_of_soft
from maskstream.model.tracker_settings import TrackerSettings
from maskstream.model.types import ImageEmbedding, Prompt
from torch import Tensor
from torch.nn import functional

ORIGINAL_HW, RESIZED_HW, INPUT_HW = (97, 160), (194, 320), (208, 320)
SHAPE = FrameShape(ORIGINAL_HW, RESIZED_HW, INPUT_HW, (52, 80), (20, 12))
CPU, LOW_RES_HW = torch.device("cpu"), (52, 80)
SETTINGS = TrackerSettings()
NEAR, UNKNOWN, GONE = range(3)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def disc(x: float, y: float, radius: int) -> SoftMask:
    soft = np.zeros(LOW_RES_HW, np.float32)
    cv2.circle(soft, (round(x), round(y)), radius, 1, -1)
    return cv2.GaussianBlur(soft, (0, 0), 1)


def grid_of(*objects: SoftMask) -> AppearanceGrid:
    """Vectors that say of which object each cell is, with noise."""
    generator = torch.Generator().manual_seed(len(objects))
    detail = 0.1 * torch.randn(12, *LOW_RES_HW, generator=generator)
    for channel, soft in enumerate(objects):
        detail[channel] += torch.from_numpy(soft)
        detail[11] -= torch.from_numpy(soft)
    detail[11] += 1
    coarse = torch.randn(13, 20, 20, generator=generator)
    return AppearanceGrid(functional.normalize(coarse, dim=2), functional.normalize(detail, dim=0))


# What the frame before showed. On this one the third object is somewhere else, in two parts, one larger.
SOFTS = [disc(20, 20, 9), disc(55, 30, 8), disc(25, 42, 6)]
MOVED = [disc(23, 20, 9), disc(58, 30, 8), np.maximum(disc(60, 8, 5), disc(75, 45, 3))]
PREVIOUS, GRID = grid_of(*SOFTS), grid_of(*MOVED)
FLOW = np.full((*LOW_RES_HW, 2), (-3, 0), np.float32)
MOTION = Motion(
    FLOW, cv2.GaussianBlur(np.random.default_rng(0).random(LOW_RES_HW).astype(np.float32), (0, 0), 2)
)


def memories() -> list[AppearanceMemory]:
    return [
        AppearanceMemory(Anchor.of(PREVIOUS, cell_means(soft, LOW_RES_HW), is_exact=True), 0.5)
        for soft in SOFTS
    ]


def backgrounds() -> list[SoftMask]:
    return [np.maximum.reduce([soft for soft in SOFTS if soft is not own]) for own in SOFTS]


def rows_of() -> Rows:
    rows = Rows.blank(3, SHAPE, CPU)
    for row, soft in enumerate(SOFTS):
        anchor = Anchor.of(PREVIOUS, cell_means(soft, LOW_RES_HW), is_exact=True)
        rows.show(row, row + 1, soft, anchor, anchors=1, anchor_weight=0.5)
        rows.background[row] = torch.from_numpy(backgrounds()[row])
    rows.soft[UNKNOWN] = 0
    return rows


def ahead_of(rows: Rows, has_motion: bool = True) -> Ahead:
    agreement = torch.from_numpy(MOTION.agreement)
    came_from = torch.from_numpy(MOTION.came_from(*LOW_RES_HW))
    outlook = BatchOutlook(rows, SHAPE, SETTINGS)
    return outlook.look_ahead(GRID.coarse, GRID.detail, came_from, agreement, torch.tensor([has_motion]))


def assert_alike(ahead: Ahead, row: int, expected: Outlook) -> None:
    assert bool(ahead.is_search[row]) is expected.is_search
    for name in ("soft_map", "warped", "background"):
        assert np.abs(getattr(ahead, name)[row].numpy() - getattr(expected, name)).max() < 0.02, name
    assert torch.allclose(ahead.as_shown[row], expected.as_shown, atol=1e-4)
    box = box_of_soft(expected.soft_map, embedding())
    assert bool(ahead.has_box[row]) is (box is not None)
    if box is not None:
        assert (
            ahead.box_xyxy[row].tolist()
            == batch_prompts([Prompt(1, box_xyxy=box)], [embedding()], CPU).points_xy.flatten().tolist()
        )


def embedding() -> ImageEmbedding:
    return ImageEmbedding(torch.zeros(1, 20, 13, 20), ORIGINAL_HW, RESIZED_HW, INPUT_HW)


def test_near_where_it_was_and_over_all_of_the_picture() -> None:
    ahead = ahead_of(rows_of())
    near = look_ahead(memories()[NEAR], GRID, MOTION, SOFTS[NEAR], backgrounds()[NEAR], SETTINGS.outlook)
    assert_alike(ahead, NEAR, near)
    for row in (UNKNOWN, GONE):
        found = search(memories()[row], GRID, LOW_RES_HW, SETTINGS.outlook)
        assert (found.soft_map > 0.5).any()
        assert_alike(ahead, row, found)
    assert ahead.soft_map[GONE, 8, 60] > 0.5  # the larger part of two
    assert ahead.soft_map[GONE, 45, 75] == 0


def test_what_is_followed_unseen_is_searched_for_in_turn() -> None:
    rows, memory = rows_of(), memories()[NEAR]
    near = look_ahead(memory, GRID, MOTION, SOFTS[NEAR], backgrounds()[NEAR], SETTINGS.outlook)
    anywhere = search(memory, GRID, LOW_RES_HW, SETTINGS.outlook)
    rows.frames_unseen.fill_(1)
    assert_alike(ahead_of(rows), NEAR, replace(anywhere, warped=near.soft_map, background=near.background))
    rows.frames_unseen.fill_(2)
    assert_alike(ahead_of(rows), NEAR, near)


def test_without_motion_everything_is_searched_for() -> None:
    ahead = ahead_of(rows_of(), has_motion=False)
    for row in range(3):
        assert_alike(ahead, row, search(memories()[row], GRID, LOW_RES_HW, SETTINGS.outlook))


def test_lesser_parts_do_not_widen_the_box() -> None:
    rows = rows_of()
    # Told by its place alone: a crumb belongs to the map, and not to what its box is around.
    rows.looks.weights[NEAR] = rows.looks.anchor_weights[NEAR]
    crumb = np.maximum(SOFTS[NEAR], disc(40, 20, 2))
    rows.soft[NEAR] = torch.from_numpy(crumb)
    grid = grid_of(np.maximum(MOVED[NEAR], disc(43, 20, 2)), *MOVED[1:])
    came_from = torch.from_numpy(MOTION.came_from(*LOW_RES_HW))
    ahead = BatchOutlook(rows, SHAPE, SETTINGS).look_ahead(
        grid.coarse, grid.detail, came_from, torch.from_numpy(MOTION.agreement), torch.tensor([True])
    )
    expected = look_ahead(memories()[NEAR], grid, MOTION, crumb, backgrounds()[NEAR], SETTINGS.outlook)
    assert expected.soft_map[20, 43] > 0.5
    assert_alike(ahead, NEAR, expected)
    assert ahead.box_xyxy[NEAR, 2] / 4 < 40


def test_prompts_are_laid_out_as_those_of_each_alone() -> None:
    outlook = BatchOutlook(rows_of(), SHAPE, SETTINGS)
    ahead = ahead_of(rows_of())
    found = outlook.prompts(ahead)
    boxes = [box_of_soft(soft, embedding()) for soft in ahead.soft_map.numpy()]
    with_map = [
        Prompt(1, box_xyxy=box, low_res_logits=logits_of_soft(soft))
        for box, soft in zip(boxes, ahead.soft_map.numpy(), strict=True)
    ]
    alone = [Prompt(1, box_xyxy=box) for box in boxes]
    expected = batch_prompts([*with_map, *alone], [embedding()] * 6, CPU)
    for name in ("points_xy", "labels", "has_mask"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert torch.allclose(
        masked(found.mask_logits, found.has_mask), masked(expected.mask_logits, found.has_mask)
    )
    assert found.labels.dtype is expected.labels.dtype


def masked(logits: Tensor | None, has_mask: Tensor | None) -> Tensor:
    assert logits is not None
    assert has_mask is not None
    return logits[has_mask]
