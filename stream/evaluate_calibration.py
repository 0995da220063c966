"""Does quality keep what it promises? Measured on every mask whose truth is known, and fitted anew.

An empty mask promises nothing (its quality is 0 by definition) and is left out; whether it is right to be
empty is told by the figures on absent frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from maskstream.model.quality import (
    GOOD_IOU,
    SHIPPED,
    QualityTable,
    apply_table,
    calibration_error,
    fit_table,
    invert_table,
    reliability,
)

from .evaluate_scores import SequenceScores
from .records import Record


@dataclass(frozen=True, slots=True)
class Promise:
    """One mask: what was said of it, and what it was."""

    sequence: str
    quality: float
    is_good: bool  # IoU with the truth of at least GOOD_IOU


def promises_of(sequences: Iterable[SequenceScores]) -> list[Promise]:
    """Every mask that is not empty, of all frames on which objects were followed."""
    return [
        Promise(sequence.name, score.quality, score.iou >= GOOD_IOU)
        for sequence in sequences
        for found in sequence.objects
        for score in found.followed
        if score.mask_px
    ]


def fitted_table(promises: Sequence[Promise]) -> QualityTable:
    """From raw quality, which the shipped table is taken back for, to the share of good masks.

    Raises:
        ValueError: there are no masks.
    """
    return fit_table(
        [invert_table(each.quality, SHIPPED) for each in promises], [each.is_good for each in promises]
    )


def refitted(promises: Sequence[Promise]) -> list[Promise]:
    """With the quality that a table fitted on all the other sequences gives; empty for a single sequence."""
    result = []
    for name in dict.fromkeys(each.sequence for each in promises):
        others = [each for each in promises if each.sequence != name]
        if not others:
            return []
        table = fitted_table(others)
        result += [
            replace(each, quality=apply_table(invert_table(each.quality, SHIPPED), table))
            for each in promises
            if each.sequence == name
        ]
    return result


def calibration_record(promises: Sequence[Promise]) -> Record:
    """`ECE` and curve of quality as shipped; `ECE_refit` and curve of a refit that never saw the sequence."""
    shipped, refit = _curve_record(promises), _curve_record(refitted(promises))
    return {
        "ECE": shipped["ECE"],
        "ECE_refit": refit["ECE"],
        "reliability": shipped["curve"],
        "reliability_refit": refit["curve"],
    }


def _curve_record(promises: Sequence[Promise]) -> Record:
    if not promises:
        return {"ECE": None, "curve": []}
    curve = reliability([each.quality for each in promises], [each.is_good for each in promises])
    bins = [
        {
            "quality": [part.low, part.high],
            "masks": part.masks,
            "mean_quality": part.mean_quality if part.masks else None,
            "good_share": part.good_share if part.masks else None,
        }
        for part in curve
    ]
    return {"ECE": calibration_error(curve), "curve": bins}
