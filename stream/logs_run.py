"""Tells the log when a run begins, and how it ended."""

from __future__ import annotations

import logging
import os
from importlib import metadata
from typing import TYPE_CHECKING

from .logs import log_event

if TYPE_CHECKING:
    from .config import Config
    from .runner import Run
    from .summary import RunSummary

log = logging.getLogger("maskstream")


def log_start(run: Run, config: Config) -> None:
    """The run is about to start."""
    info = run.info
    log_event(
        log,
        logging.INFO,
        "run_start",
        f"{info.source_id}: starts, {info.width_px}x{info.height_px} px",
        source=info.source_id,
        version=metadata.version("maskstream"),
        pid=os.getpid(),
        width_px=info.width_px,
        height_px=info.height_px,
        is_live=info.is_live,
        size=config.model.size,
        sinks=config.sink_specs,
        control=config.control,
        metrics=config.metrics,
    )


def log_end(summary: RunSummary) -> None:
    """The run has ended."""
    log_event(
        log,
        logging.INFO,
        "run_end",
        f"{summary.source_id}: {summary.reason}",
        source=summary.source_id,
        ending=summary.ending.value,
        reason=summary.reason,
        frames=summary.frames,
        dropped=summary.dropped,
        fps=round(summary.fps, 2),
        latency_p95_ms=round(summary.latency_p95_ms, 1),
    )
