"""What becomes of the decoder's answers for many objects, against the choice for each alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from maskstream.model import finder
from maskstream.model.batch_finder import BatchFinder, BatchFound, Figures
from maskstream.model.batch_outlook import Ahead
from maskstream.model.batch_rows import FrameShape, Rows
from maskstream.model.finder import Found
from maskstream.model.motion import SoftMask
from maskstream.model.outlook import Outlook, background_after
from maskstream.model.soft_masks import fineness_of, inside_box, stability_of
from maskstream.model.tracker_settings import TrackerSettings
from maskstream.model.types import box_of_mask
from torch import Tensor

HW = (52, 80)
SHAPE = FrameShape((97, 160), (194, 320), (208, 320), HW, (20, 12))
# Maps of one thing: clear, clear but searched for, faint, faint and searched for, nothing.
CLEAR, FOUND, FAINT, FAINT_FOUND, NOTHING = range(5)
LEVELS = (0.95, 0.95, 0.7, 0.7, 0.0)
IS_SEARCH = torch.tensor([False, True, False, True, True])
EVERYBODY = torch.ones(5, dtype=torch.bool)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def disc(level: float, shift: int = 0) -> SoftMask:
    soft = np.zeros(HW, np.float32)
    cv2.circle(soft, (40 + shift, 25), 12, level, -1)
    return soft


def background_with_gaps() -> Tensor:
    noise = np.random.default_rng(2).random((*HW, 5)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 1)
    return torch.from_numpy(np.moveaxis(blurred > 0.45, 2, 0).astype(np.float32))


def ahead_of() -> Ahead:
    maps = torch.from_numpy(np.stack([disc(level) for level in LEVELS]))
    boxes = torch.tensor([28.0, 13, 53, 38]).mul(4).repeat(5, 1)
    return Ahead(
        soft_map=maps,
        warped=torch.from_numpy(np.stack([disc(1, shift=-4)] * 5)),
        background=background_with_gaps(),
        as_shown=torch.linspace(1, -0.5, HW[1]).expand(5, *HW),
        is_search=IS_SEARCH,
        box_xyxy=boxes,
        has_box=torch.tensor([level > 0.5 for level in LEVELS]),
    )


def answers() -> tuple[Tensor, Tensor]:
    """Of ten prompts: discs that lie more or less beside the map, and reach out of the box."""
    shifts = np.random.default_rng(0).integers(3, 9, (10, 4))
    shifts[5 + CLEAR, 0] = 1  # the box alone gives the better mask
    logits = [[20 * disc(1, shift) - 10 for shift in four] for four in shifts]
    return torch.tensor(np.array(logits, np.float32)), torch.from_numpy(
        np.random.default_rng(1).random((10, 4)).astype(np.float32)
    )


def found_by(
    rows: Rows,
    settings: TrackerSettings = TrackerSettings(),  # noqa: B008
    follows: Tensor = EVERYBODY,
) -> BatchFound:
    image = torch.zeros(1, 3, *SHAPE.original_hw, dtype=torch.uint8)
    return BatchFinder(rows, SHAPE, settings).find(image, *answers(), follows, *ahead_of())


def outlook_of(row: int, is_doubtful: bool) -> Outlook:
    ahead = ahead_of()
    soft_map, warped, background = (
        one[row].numpy() for one in (ahead.soft_map, ahead.warped, ahead.background)
    )
    return Outlook(soft_map, warped, background, ahead.as_shown[row], bool(IS_SEARCH[row]), is_doubtful)


def alone(row: int, is_doubtful: bool, usual_share: float) -> Found:
    """As the tracker that goes object by object finds it."""
    ahead, (logits, ious) = ahead_of(), answers()
    outlook = replace(outlook_of(row, is_doubtful), usual_share=usual_share)
    if not ahead.has_box[row]:
        return Found(outlook.warped)
    opinions = [row, row + 5] if is_doubtful else [row]
    box = ahead.box_xyxy[row].numpy() / 4
    settings = TrackerSettings().finder
    inside = inside_box(box, HW, settings.box_margin_px)
    candidates = torch.sigmoid(logits[opinions]).numpy()
    drawn = finder._choose(outlook, inside, candidates, ious[opinions].numpy(), settings)
    return finder._believed(outlook, drawn, SHAPE.resized_hw, settings)


def rows_with(agreement: float) -> Rows:
    rows = Rows.blank(5, SHAPE, torch.device("cpu"))
    rows.agreement.fill_(agreement)
    rows.object_id.copy_(torch.arange(5))
    return rows


@pytest.mark.parametrize(
    ("agreement", "usual_share", "sees_faint"), [(0.5, 0.0, 1), (0.9, 0.0, 1), (0.5, 0.27, 1), (0.5, 1.0, 0)]
)
def test_the_choice_is_that_of_each_alone(agreement: float, usual_share: float, sees_faint: int) -> None:
    rows = rows_with(agreement)
    rows.usual_share.fill_(usual_share)
    found = found_by(rows)
    for row in range(5):
        is_doubtful = bool(IS_SEARCH[row]) or agreement < TrackerSettings().sure_agreement
        expected = alone(row, is_doubtful, usual_share)
        figures = Figures(*found.figures[row].tolist())
        assert np.abs(rows.soft[row].numpy() - expected.soft).max() < 1e-5
        assert (figures.is_seen > 0) is expected.is_seen
        assert figures.predicted_iou == pytest.approx(expected.predicted_iou)
        assert figures.raw_quality == pytest.approx(expected.likeness * fineness_of(expected.soft), abs=1e-5)
        stability = stability_of(expected.soft) if expected.is_seen else 0
        assert figures.stability == pytest.approx(stability, abs=1e-5)
        assert figures[-4:] == tuple(box_of_mask(found.masks[row].numpy()))
        background = background_after(outlook_of(row, is_doubtful), expected.soft, TrackerSettings().outlook)
        assert np.array_equal(rows.background[row].numpy(), background)
    # So faint a thing is followed, but not taken for what was searched for, nor for the rest of a large one.
    assert [figures[0] for figures in found.figures.tolist()] == [1, 1, sees_faint, 0, 0]
    assert rows.frames_unseen.tolist() == [0, 0, 1 - sees_faint, 1, 1]
    shares = (rows.soft > 0.5).float().mean(dim=(1, 2)) - usual_share
    learned = usual_share + TrackerSettings().learning_rate * shares * found.figures[:, 0]
    assert torch.allclose(rows.usual_share, learned)


def test_the_choice_hangs_on_what_the_box_alone_says_only_in_doubt() -> None:
    unsure, sure = rows_with(0.5), rows_with(0.9)
    found_by(unsure)
    found_by(sure)
    assert not torch.equal(unsure.soft[CLEAR], sure.soft[CLEAR])
    assert torch.equal(unsure.soft[FOUND], sure.soft[FOUND])


def test_what_is_sure_takes_turns_at_the_decoder() -> None:
    rows, settings = rows_with(0.9), TrackerSettings(ask_every=3)
    found = found_by(rows, settings)
    ahead = ahead_of()
    moved = 0.75 * ahead.soft_map + 0.25 * ahead.warped
    assert not torch.allclose(rows.soft[CLEAR], moved[CLEAR])  # number 0, whose turn it is
    assert torch.allclose(rows.soft[FAINT], moved[FAINT])
    assert not torch.allclose(rows.soft[FOUND], moved[FOUND])
    assert rows.agreement[FAINT] == pytest.approx(0.9)
    assert found.figures[FAINT, 1] == 0  # what the decoder thought of it when it was asked last


def test_who_is_seen_learns_in_turn_or_in_doubt() -> None:
    rows = rows_with(0.5)
    found = found_by(rows, follows=EVERYBODY & (torch.arange(5) != FOUND))
    assert rows.frames_seen.tolist() == [1, 0, 1, 0, 0]
    sure = (rows.agreement >= TrackerSettings().sure_agreement).tolist()
    assert (sure[CLEAR], sure[FAINT]) == (True, False)
    assert found.learns.tolist() == [False, False, True, False, False]  # it is the turn of odd numbers
