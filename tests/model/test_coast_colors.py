"""Colours of an object and of what is around it."""

from __future__ import annotations

import numpy as np
import pytest
from maskstream.model.coast_colors import MOST_ODDS, Colors

RED, GREEN, BLUE = (200, 40, 40), (40, 180, 60), (30, 60, 200)


@pytest.fixture
def learned():
    """A red object on green ground, with a noise of some levels."""
    picture = np.empty((40, 60, 3), np.int64)
    picture[:] = GREEN
    inside = np.zeros((40, 60), bool)
    inside[10:30, 20:40] = True
    picture[inside] = RED
    picture += np.random.default_rng(0).integers(-6, 7, picture.shape)
    return Colors.of(picture.astype(np.uint8), inside, ~inside)


def flat(color):
    return np.full((9, 9, 3), color, np.uint8)


def test_the_objects_colour_speaks_for_it_and_the_grounds_against(learned):
    assert (learned.odds(flat(RED)) > 2).all()
    assert (learned.odds(flat(GREEN)) < -2).all()


def test_a_colour_never_seen_says_nothing(learned):
    np.testing.assert_allclose(learned.odds(flat(BLUE)), 0)


def test_a_little_other_light_is_no_other_colour(learned):
    assert (learned.odds(flat([level + 8 for level in RED])) > 1).all()


def test_no_colour_is_certain(learned):
    assert np.abs(learned.table).max() <= MOST_ODDS


def test_a_single_odd_pixel_is_outvoted(learned):
    picture = flat(GREEN)
    picture[4, 4] = RED
    assert learned.odds(picture)[4, 4] < 0


def test_like_on_like_says_nothing():
    same = np.random.default_rng(0).integers(90, 110, (60, 60, 3), dtype=np.uint8)
    left = np.zeros((60, 60), bool)
    left[:, :30] = True
    assert np.abs(Colors.of(same, left, ~left).odds(same)).mean() < 0.2
