"""What is torn off an object's map and stays behind is no part of it, alone and for many at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maskstream.model.batch_fate import BatchFate
from maskstream.model.common_fate import strangers_in
from maskstream.model.motion import Motion, SoftMask
from maskstream.model.types import BoolMask

HW = (72, 128)
BODY, PIECE = (slice(20, 45), slice(60, 90)), (slice(30, 40), slice(36, 48))
STANDS, PASSES = (0.0, 0.0), (3.0, 0.0)  # px a frame, x then y
LIKENESS = 0.25


def map_of(*places: tuple[slice, slice]) -> SoftMask:
    soft = np.zeros(HW, np.float32)
    for place in places:
        soft[place] = 0.9
    return soft


def motion_of(
    body: tuple[float, float], piece: tuple[float, float], around: tuple[float, float] = STANDS
) -> Motion:
    flow = np.tile(np.float32(around), (*HW, 1))
    flow[BODY], flow[PIECE] = body, piece
    return Motion(-flow, np.ones(HW, np.float32))


def background_of(soft: SoftMask) -> SoftMask:
    return np.float32(soft == 0)


def found_by_both(soft: SoftMask, background: SoftMask, motion: Motion) -> BoolMask:
    """Of an object alone; of a batch the same is asked for."""
    alone = strangers_in(soft, background, motion, LIKENESS)
    together = BatchFate(HW, torch.device("cpu")).strangers_in(
        torch.from_numpy(np.stack([map_of(BODY), soft])),
        torch.from_numpy(np.stack([background, background])),
        torch.from_numpy(motion.came_from(*HW)),
        LIKENESS,
    )
    assert not together[0].any()
    np.testing.assert_array_equal(together[1].numpy(), alone)
    return alone


@pytest.mark.parametrize("around", [STANDS, (-4.0, 2.0)])
def test_a_piece_that_stays_behind_is_a_stranger(around: tuple[float, float]) -> None:
    soft, body = map_of(BODY, PIECE), (around[0] + 3, around[1])
    strangers = found_by_both(soft, background_of(soft), motion_of(body, around, around))
    np.testing.assert_array_equal(strangers, map_of(PIECE) > 0.5)


@pytest.mark.parametrize(
    ("body", "piece"),
    [(PASSES, PASSES), (PASSES, (1.0, 0.0)), (STANDS, STANDS), ((0.1, 0.0), STANDS), (STANDS, PASSES)],
    ids=["with the body", "in between", "all stand", "hardly apart", "of its own"],
)
def test_what_may_be_a_part_stays(body: tuple[float, float], piece: tuple[float, float]) -> None:
    soft = map_of(BODY, PIECE)
    assert not found_by_both(soft, background_of(soft), motion_of(body, piece)).any()


def test_what_touches_the_body_is_a_part() -> None:
    bridge = (slice(34, 36), slice(40, 70))
    soft = map_of(BODY, PIECE, bridge)
    assert not found_by_both(soft, background_of(soft), motion_of(PASSES, STANDS)).any()
    soft[:, 58:60] = 0  # a gap of two pixels
    assert not found_by_both(soft, background_of(soft), motion_of(PASSES, STANDS)).any()


def test_where_nothing_is_known_nobody_is_told_apart() -> None:
    soft = map_of(BODY, PIECE)
    assert not found_by_both(soft, np.zeros(HW, np.float32), motion_of(PASSES, STANDS)).any()


def test_the_body_itself_is_never_a_stranger() -> None:
    soft = map_of(BODY, PIECE)
    strangers = found_by_both(soft, background_of(soft), motion_of(STANDS, PASSES))
    assert not strangers[BODY].any()


def test_an_empty_map_has_none() -> None:
    soft = np.zeros(HW, np.float32)
    assert not found_by_both(soft, background_of(soft), motion_of(PASSES, STANDS)).any()
