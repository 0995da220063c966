"""One measured figure, and what is made of many durations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a benchmark."""

    figure: str  # which of FIGURES it belongs to
    what: str  # was measured: "encode 512x288"
    who: str  # did it: an engine, a setting, a peer
    value: float  # of durations: the median
    unit: str
    runs: int
    p95: float | None = None
    p99: float | None = None
    times_faster: float | None = None  # than the first of those beside it: median of the paired ratios


def durations(
    figure: str, what: str, who: str, ms: Sequence[float], first_ms: Sequence[float] | None = None
) -> Row:
    """The row of N durations; `first_ms` are those of what it is compared with, run by run."""
    ratio = None if first_ms is None else float(np.median(np.divide(first_ms, ms)))
    p50, p95, p99 = (float(np.percentile(ms, percent)) for percent in (50, 95, 99))
    return Row(figure, what, who, p50, "ms", len(ms), p95, p99, ratio)
