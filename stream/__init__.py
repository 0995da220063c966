"""Frames flow through: sources, queues, the segmenter stage, sinks, the command line.

from maskstream.stream import track

for result in track("clip.mp4", ["1:box=100,80,300,400"]):
    for found in result.objects:
        print(result.frame.time_s, found.object_id, found.box_xyxy, found.mask.sum())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config, load_config
    from .pipeline import Pipeline
    from .runner import run
    from .sinks import make_sink
    from .sources import open_source
    from .tracking import Session, track

__all__ = ["Config", "Pipeline", "Session", "load_config", "make_sink", "open_source", "run", "track"]

# Imported when first asked for, so that `maskstream --help` need not wait for FFmpeg and OpenCV.
_HOMES = {
    "Config": "config",
    "Pipeline": "pipeline",
    "Session": "tracking",
    "load_config": "config",
    "make_sink": "sinks",
    "open_source": "sources",
    "run": "runner",
    "track": "tracking",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
