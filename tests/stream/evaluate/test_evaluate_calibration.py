from __future__ import annotations

import numpy as np
import pytest
from maskstream.model.quality import SHIPPED, apply_table, invert_table
from maskstream.stream.evaluate_calibration import (
    Promise,
    calibration_record,
    fitted_table,
    promises_of,
    refitted,
)
from maskstream.stream.evaluate_scores import FrameScore, ObjectScores, SequenceScores


def drawn(sequence, seed, count=1500):
    """Masks whose quality says too much: their chance to be good is its square."""
    rng = np.random.default_rng(seed)
    quality = rng.random(count)
    good = rng.random(count) < quality**2
    return [Promise(sequence, float(q), bool(g)) for q, g in zip(quality, good, strict=True)]


def frame(number, iou, quality, mask_px=50):
    return FrameScore(number, j=0.5, f=0.5, iou=iou, truth_px=60, mask_px=mask_px, quality=quality, state="x")


def test_every_mask_that_was_followed_is_a_promise():
    scores = (frame(3, 0.9, 1.0), frame(4, 0.75, 0.8), frame(5, 0.74, 0.7), frame(6, 0.0, 0.0, mask_px=0))
    sequence = SequenceScores("a", (ObjectScores(1, 3, scores),), (1.0,), (1.0,))
    # Not the frame on which it was shown, and not the empty mask.
    assert promises_of([sequence]) == [Promise("a", 0.8, True), Promise("a", 0.7, False)]


def test_a_refit_finds_what_quality_should_have_said():
    promises = drawn("a", 1) + drawn("b", 2) + drawn("c", 3)
    record = calibration_record(promises)
    assert record["ECE"] == pytest.approx(np.mean([p.quality - p.quality**2 for p in promises]), abs=0.03)
    assert record["ECE_refit"] < 0.04
    assert sum(part["masks"] for part in record["reliability"]) == len(promises)
    assert apply_table(invert_table(0.7, SHIPPED), fitted_table(promises)) == pytest.approx(0.49, abs=0.06)


def test_a_refit_does_not_see_the_sequence_it_is_judged_on():
    right = [Promise("right", 0.9, True)] * 100
    wrong = [Promise("wrong", 0.9, False)] * 100
    again = refitted(right + wrong)
    assert {p.sequence: round(p.quality) for p in again} == {"right": 0, "wrong": 1}


def test_a_single_sequence_has_no_refit_and_no_masks_no_figures():
    record = calibration_record(drawn("a", 1))
    assert (record["ECE_refit"], record["reliability_refit"]) == (None, [])
    assert record["ECE"] > 0.1
    assert calibration_record([])["ECE"] is None
