"""What of a frame is known to be something else than the object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maskstream.model.motion import SoftMask
from maskstream.model.outlook import Outlook, OutlookSettings, background_after

HW = (144, 256)
EDGE_PX, FAR_PX = 3, 26
SETTINGS = OutlookSettings()


def square() -> SoftMask:
    soft = np.zeros(HW, np.float32)
    soft[60:80, 100:120] = 1
    return soft


def outlook(background: SoftMask | None = None, is_search: bool = False, looks: float = 1.0) -> Outlook:
    """Of a frame on which everything looks so much like the object."""
    nothing = np.zeros(HW, np.float32)
    known = nothing if background is None else background
    return Outlook(nothing, nothing, known, torch.full((72, 128), looks), is_search)


def test_what_comes_into_view_near_the_object_may_be_a_part_of_it_and_what_does_far_away_is_not() -> None:
    background = background_after(outlook(), square(), SETTINGS)
    assert background[70, 120 + FAR_PX - 1] == 0
    assert background[70, 120 + FAR_PX + 2] == 1
    assert background[60 - FAR_PX + 1, 110] == 0
    assert background[60 - FAR_PX - 2, 110] == 1


@pytest.mark.parametrize(
    "soft, is_search", [(square(), True), (np.zeros(HW, np.float32), False)], ids=["searched for", "nowhere"]
)
def test_nothing_is_far_from_what_may_be_elsewhere(soft: SoftMask, is_search: bool) -> None:
    assert not background_after(outlook(is_search=is_search), soft, SETTINGS).any()


def test_gaps_where_flow_was_unsure_are_closed_up_to_the_width_of_an_edge() -> None:
    known = np.ones(HW, np.float32)
    known[10 : 10 + 2 * EDGE_PX, 10:40] = 0.2
    known[100 : 100 + 4 * EDGE_PX, 10:40] = 0.2
    known[50:90, 90:130] = 0
    background = background_after(outlook(known, is_search=True), square(), SETTINGS)
    assert background[10 : 10 + 2 * EDGE_PX, 10:40].all()
    assert background[100 + 2 * EDGE_PX, 25] == np.float32(0.2)


def test_what_looks_like_something_else_is_that_up_to_the_edge_of_the_object() -> None:
    background = background_after(outlook(looks=-1.0), square(), SETTINGS)
    assert not background[60 - EDGE_PX : 80 + EDGE_PX, 100 - EDGE_PX : 120 + EDGE_PX].any()
    assert background.sum() == background.size - (20 + 2 * EDGE_PX) ** 2
