"""Quality: from the tracker's own feeling for a mask to a probability that people can use.

Raw quality (0..1) only says which of two masks is better. A table, fitted by `maskstream eval` on masks whose
truth is known, turns it into the probability that the mask's IoU with the truth is at least 0.75.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOOD_IOU = 0.75
GROUP_SIZE = 100  # masks: neighbouring frames are alike, so that a rate from fewer says little
MOST_GROUPS = 10
SLOPE = 1e-3  # of the table where the rate of good masks does not change
BINS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QualityTable:
    """A strictly rising line through knots; level beyond the first and the last.

    Raises:
        ValueError: the knots do not rise, leave 0..1, or are of different numbers.
    """

    raw: tuple[float, ...]  # knots on the axis of raw quality
    quality: tuple[float, ...]  # the probability at each

    def __post_init__(self) -> None:
        if len(self.raw) != len(self.quality) or not self.raw:
            raise ValueError(f"a table needs as many raw as quality knots, got {self.raw}, {self.quality}")
        for name, knots in (("raw", self.raw), ("quality", self.quality)):
            rising = all(a < b for a, b in zip(knots, knots[1:], strict=False))
            if not rising or knots[0] < 0 or knots[-1] > 1:
                raise ValueError(f"{name} knots must rise within 0..1, got {knots}")


# What the tracker's masks go through, and what `maskstream eval` takes back before it fits a new one. Fitted
# on 2,683 masks of 21 sequences of DAVIS-2016's train list at 1024 px, half from a mask and half from a box.
SHIPPED = QualityTable(
    raw=(0.0, 0.4548, 0.5783, 0.6281, 0.6603, 0.6833, 0.7058, 0.7269, 0.7492, 0.7994, 0.8651, 1.0),
    quality=(0.0, 0.4294, 0.786, 0.9311, 0.9312, 0.9313, 0.9314, 0.9315, 0.9316, 0.9317, 0.998, 1.0),
)


def apply_table(raw: float, table: QualityTable) -> float:
    """The calibrated quality, 0..1, of a raw quality."""
    return float(np.interp(raw, table.raw, table.quality))


def invert_table(quality: float, table: QualityTable) -> float:
    """The raw quality that `apply_table` made into `quality`."""
    return float(np.interp(quality, table.quality, table.raw))


def fit_table(raw: ArrayLike, is_good: ArrayLike) -> QualityTable:
    """The rising table that fits best: isotonic regression over groups of masks of like raw quality.

    Args:
        raw: (N,) raw qualities, 0..1.
        is_good: (N,) bool, whether the mask's IoU with the truth is at least GOOD_IOU.

    Raises:
        ValueError: there are no masks, or raw quality is not within 0..1.
    """
    values, good = np.asarray(raw, np.float64), np.asarray(is_good, np.float64)
    if not values.size or values.shape != good.shape:
        raise ValueError(
            f"need as many raw qualities as verdicts, and at least one: {values.shape}, {good.shape}"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"raw quality must be in 0..1, got {values.min():.3g}..{values.max():.3g}")
    group_raw, rates, sizes = _groups(values, good)
    steps = _isotonic(rates, sizes)
    # The line runs to the corners and has a slight slope even on steps, so that it can be inverted.
    before, after = [0.0] if group_raw[0] > 0 else [], [1.0] if group_raw[-1] < 1 else []
    raw_knots = np.concatenate([before, group_raw, after])
    quality = (1 - SLOPE) * np.concatenate([before, steps, after]) + SLOPE * raw_knots
    return QualityTable(tuple(raw_knots.tolist()), tuple(quality.tolist()))


def _groups(raw: Floats, good: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean raw quality, rate of good masks and number of masks of each group, by rising raw quality."""
    order = np.argsort(raw, kind="stable")
    raw, good = raw[order], good[order]
    count = max(1, min(MOST_GROUPS, raw.size // GROUP_SIZE))
    cuts = np.linspace(0, raw.size, count + 1).astype(int)[1:-1]
    starts = np.unique([0, *np.searchsorted(raw, raw[cuts])])  # equal values stay in one group
    sizes = np.diff([*starts, raw.size]).astype(np.float64)
    # Half a good mask more in each: no rate is exactly 0 or 1, which no finite number of masks can show.
    rates = (np.add.reduceat(good, starts) + 0.5) / (sizes + 1)
    return np.add.reduceat(raw, starts) / sizes, rates, sizes


def _isotonic(rates: Floats, sizes: Floats) -> Floats:
    """The rising rates nearest to these: adjacent groups whose rates do not rise are pooled until all do."""
    blocks: list[tuple[float, float, int]] = []  # rate, masks, groups
    for rate, masks in zip(rates.tolist(), sizes.tolist(), strict=True):
        block = (rate, masks, 1)
        while blocks and blocks[-1][0] >= block[0]:
            block = _joined(blocks.pop(), block)
        blocks.append(block)
    return np.repeat([rate for rate, _, _ in blocks], [groups for _, _, groups in blocks])


def _joined(a: tuple[float, float, int], b: tuple[float, float, int]) -> tuple[float, float, int]:
    masks = a[1] + b[1]
    return (a[0] * a[1] + b[0] * b[1]) / masks, masks, a[2] + b[2]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Masks whose quality lies within `low`..`high`, and how good they were."""

    low: float
    high: float
    masks: int
    mean_quality: float  # what was promised; nan without masks
    good_share: float  # what was kept; nan without masks


def reliability(quality: Sequence[float], is_good: Sequence[bool], bins: int = BINS) -> list[ReliabilityBin]:
    """The reliability curve: bins of equal width over quality (N,), 0..1."""
    values, good = np.asarray(quality, np.float64), np.asarray(is_good, np.float64)
    which = np.clip((values * bins).astype(int), 0, bins - 1)
    curve = []
    for number in range(bins):
        inside = which == number
        means = (values[inside].mean(), good[inside].mean()) if inside.any() else (np.nan, np.nan)
        curve.append(
            ReliabilityBin(
                number / bins, (number + 1) / bins, int(inside.sum()), float(means[0]), float(means[1])
            )
        )
    return curve


def calibration_error(curve: Sequence[ReliabilityBin]) -> float:
    """Expected calibration error (ECE): promised against kept, bins weighted by their masks.

    Raises:
        ValueError: there are no masks.
    """
    masks = sum(part.masks for part in curve)
    if not masks:
        raise ValueError("no masks to calibrate on")
    return sum(part.masks * abs(part.mean_quality - part.good_share) for part in curve if part.masks) / masks
