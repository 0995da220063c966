from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maskstream.model.quality import (
    SHIPPED,
    QualityTable,
    apply_table,
    calibration_error,
    fit_table,
    invert_table,
    reliability,
)

TABLE = QualityTable(raw=(0.2, 0.6, 1.0), quality=(0.1, 0.8, 0.9))


@pytest.mark.parametrize(
    ("raw", "quality"), [(0.0, 0.1), (0.2, 0.1), (0.4, 0.45), (0.6, 0.8), (0.8, 0.85), (1.0, 0.9), (2.0, 0.9)]
)
def test_a_table_is_a_line_through_its_knots_and_level_beyond(raw, quality):
    assert apply_table(raw, TABLE) == pytest.approx(quality)


@pytest.mark.parametrize("raw", [0.2, 0.3, 0.6, 0.77, 1.0])
def test_a_table_can_be_taken_back(raw):
    assert invert_table(apply_table(raw, TABLE), TABLE) == pytest.approx(raw)


def test_the_shipped_table_covers_all_raw_qualities():
    for raw in np.linspace(0, 1, 101):
        quality = apply_table(raw, SHIPPED)
        assert 0 <= quality <= 1
        assert invert_table(quality, SHIPPED) == pytest.approx(raw, abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "quality", "complaint"),
    [
        ((), (), "as many raw as quality knots"),
        ((0.1, 0.2), (0.5,), "as many raw as quality knots"),
        ((0.2, 0.2), (0.1, 0.5), "raw knots must rise within 0..1"),
        ((0.1, 0.2), (0.5, 0.4), "quality knots must rise within 0..1"),
        ((0.1, 1.2), (0.4, 0.5), "raw knots must rise within 0..1"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(raw, quality, complaint):
    with pytest.raises(ValueError, match=complaint):
        QualityTable(raw, quality)


def test_fitting_finds_the_probability_behind_the_verdicts():
    rng = np.random.default_rng(3)
    raw = rng.random(6000)
    table = fit_table(raw, rng.random(6000) < raw**3)
    for value in (0.2, 0.5, 0.8, 0.95):
        assert apply_table(value, table) == pytest.approx(value**3, abs=0.08)


def test_fitting_pools_what_does_not_rise():
    # 100 masks each at four raw qualities; the middle two are in the wrong order and become one step.
    raw = np.repeat([0.2, 0.4, 0.6, 0.8], 100)
    good = np.concatenate([np.arange(100) < count for count in (10, 60, 40, 90)])
    table = fit_table(raw, good)
    levels = [apply_table(value, table) for value in (0.2, 0.4, 0.6, 0.8)]
    assert levels == pytest.approx([0.1, 0.5, 0.5, 0.9], abs=0.01)


def test_no_rate_is_certain_from_a_few_masks():
    table = fit_table([0.3] * 10 + [0.7] * 10, [False] * 10 + [True] * 10)
    assert len(table.raw) == 3  # too few masks for more than one group between the corners
    many = fit_table([0.3] * 200 + [0.7] * 200, [False] * 200 + [True] * 200)
    assert apply_table(0.3, many) == pytest.approx(0.5 / 201, abs=1e-3)
    assert apply_table(0.7, many) == pytest.approx(200.5 / 201, abs=1e-3)


@given(
    st.lists(
        st.tuples(st.floats(0, 1).map(lambda raw: round(raw, 2)), st.booleans()), min_size=1, max_size=300
    )
)
@settings(max_examples=100, deadline=None)
def test_every_fitted_table_is_valid_and_can_be_taken_back(masks):
    raw, good = zip(*masks, strict=True)
    table = fit_table(raw, good)  # QualityTable itself refuses knots that do not rise
    for value in (table.raw[0], 0.33, 0.5, 0.91, table.raw[-1]):
        if table.raw[0] <= value <= table.raw[-1]:
            assert invert_table(apply_table(value, table), table) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "good", "complaint"),
    [
        ([], [], "at least one"),
        ([0.1, 0.2], [True], "as many raw qualities as verdicts"),
        ([0.1, 1.2], [True, False], "must be in 0..1, got 0.1..1.2"),
        ([0.1, np.nan], [True, False], "must be in 0..1"),
    ],
)
def test_fitting_refuses_what_it_cannot_learn_from(raw, good, complaint):
    with pytest.raises(ValueError, match=complaint):
        fit_table(raw, good)


def test_reliability_sets_what_was_promised_beside_what_was_kept():
    curve = reliability([0.05, 0.1, 0.15, 0.95, 1.0], [False, True, False, True, True])
    assert [part.masks for part in curve] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (curve[1].low, curve[1].high) == pytest.approx((0.1, 0.2))
    assert curve[1].mean_quality == pytest.approx(0.125)
    assert curve[1].good_share == 0.5
    assert np.isnan(curve[2].mean_quality)
    expected = (1 * 0.05 + 2 * 0.375 + 2 * 0.025) / 5
    assert calibration_error(curve) == pytest.approx(expected)


def test_no_masks_have_no_calibration_error():
    with pytest.raises(ValueError, match="no masks"):
        calibration_error(reliability([], []))
