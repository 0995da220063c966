from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from maskstream.model.metrics import boundary, boundary_f, region_iou, statistics

HW = (40, 60)


def box(x0, y0, x1, y1, hw=HW):
    mask = np.zeros(hw, bool)
    mask[y0:y1, x0:x1] = True
    return mask


NOTHING = np.zeros(HW, bool)


def test_region_iou_is_the_shared_part_of_all():
    assert region_iou(box(0, 0, 10, 10), box(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert region_iou(box(0, 0, 10, 10), box(0, 0, 10, 10)) == 1
    assert region_iou(box(0, 0, 10, 10), box(30, 0, 40, 10)) == 0


@pytest.mark.parametrize("measure", [region_iou, boundary_f])
def test_nothing_is_right_where_nothing_is_and_wrong_elsewhere(measure):
    assert measure(NOTHING, NOTHING) == 1
    assert measure(box(3, 3, 9, 9), NOTHING) == 0
    assert measure(NOTHING, box(3, 3, 9, 9)) == 0


@pytest.mark.parametrize("measure", [region_iou, boundary_f])
def test_masks_of_two_sizes_are_refused(measure):
    with pytest.raises(ValueError, match=r"one shape, got \(40, 60\) and \(60, 40\)"):
        measure(NOTHING, NOTHING.T)


def test_boundary_lies_half_a_pixel_towards_the_origin():
    expected = box(4, 4, 10, 10) & ~box(5, 5, 9, 9)
    np.testing.assert_array_equal(boundary(box(5, 5, 10, 10)), expected)


def test_boundary_f_forgives_a_shift_within_the_tolerance_only():
    hw = (300, 400)  # 0.008 of the diagonal is 4 px
    truth = box(100, 100, 200, 200, hw)
    assert boundary_f(truth, np.roll(truth, 4, 1)) == 1
    shifted = boundary_f(truth, np.roll(truth, 5, 1))
    assert 0.4 < shifted < 0.6  # the upright edges are off, the level ones still fit
    assert boundary_f(truth, np.roll(truth, 5, 1), tolerance=5) == 1


def test_boundary_f_counts_misses_and_inventions():
    one, two = box(5, 5, 15, 15), box(35, 20, 45, 30)
    assert boundary_f(one | two, one) == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert boundary_f(one, one | two) == pytest.approx(2 / 3)


def blobs(hw):
    """Coarse cells, so that there are parts, holes and border contact rather than noise."""
    coarse = (hw[0] // 4, hw[1] // 4)
    return arrays(np.bool_, coarse).map(lambda cells: np.kron(cells, np.ones((4, 4), bool)))


@given(st.tuples(blobs(HW), blobs(HW), st.integers(-3, 3)))
@settings(max_examples=60, deadline=None)
def test_agrees_with_an_independent_scorer(case):
    evaluator = pytest.importorskip("vos_benchmark.evaluator", reason="the scorer extra is not installed")
    truth, mask, shift = case
    mask = np.roll(mask, shift, 1)
    scorer = evaluator.Evaluator()
    scorer.feed_frame(np.ones(HW), np.ones(HW))  # so that it knows object 1, should both masks be empty
    scorer.feed_frame(mask.astype(np.uint8), truth.astype(np.uint8))
    assert region_iou(truth, mask) == pytest.approx(scorer.object_iou[1][1], abs=1e-9)
    assert boundary_f(truth, mask) == pytest.approx(scorer.boundary_f[1][1], abs=1e-9)


def test_statistics_are_those_of_davis():
    scores = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    result = statistics(scores)
    assert result.mean == pytest.approx(0.55)
    assert result.recall == pytest.approx(0.5)  # 0.5 itself is not above it
    # DAVIS's bins share their ends: frames 0..2 and 7..9.
    assert result.decay == pytest.approx(np.mean(scores[0:3]) - np.mean(scores[7:10]))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 70, 400])
def test_decay_uses_the_bins_of_the_official_code(count):
    scores = np.random.default_rng(count).random(count)
    ids = (np.round(np.linspace(1, count, 5) + 1e-10) - 1).astype(int)
    first, last = (scores[ids[i] : ids[i + 1] + 1] for i in (0, 3))
    assert statistics(scores.tolist()).decay == pytest.approx(first.mean() - last.mean())


def test_no_frames_have_no_statistics():
    with pytest.raises(ValueError, match="at least three"):
        statistics([])
