"""Which tracker a predictor's device calls for."""

from __future__ import annotations

from .batch_tracker import BatchTracker
from .lifecycle import AnyTracker
from .motion import MotionEstimator
from .predictor import Predictor
from .tracker import Tracker
from .tracker_settings import TrackerSettings


def make_tracker(
    predictor: Predictor,
    settings: TrackerSettings = TrackerSettings(),  # noqa: B008
    motion: MotionEstimator | None = None,
) -> AnyTracker:
    """A tracker for the device that the predictor is on: on a GPU it stays there. See `ObjectTracker`."""
    kind = BatchTracker if predictor.device.type == "cuda" else Tracker
    return kind(predictor, settings, motion)
