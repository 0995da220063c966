"""The ladder with its thread, for a stream that comes by the clock."""

from __future__ import annotations

import time
from contextlib import nullcontext
from fractions import Fraction

from maskstream.model.coast import Coaster
from maskstream.model.guided_motion import GuidedMotion
from maskstream.model.predictor import Predictor
from maskstream.model.tracker_choice import make_tracker
from maskstream.model.tracker_settings import TrackerSettings

from .agenda import Agenda
from .fleet_gate import Turn
from .ladder import STALE, Ladder
from .ladder_worker import ThreadWorker
from .segmenter import Segmenter

USUAL_RATE = Fraction(30)  # frames per second, of streams that do not say
HIGHEST_RATE = Fraction(120)  # some say what cannot be


def live_ladder(
    predictor: Predictor,
    agenda: Agenda,
    frame_rate: Fraction | None,
    settings: TrackerSettings = TrackerSettings(),  # noqa: B008
    turn: Turn = nullcontext,
    original_hw: tuple[int, int] | None = None,
) -> Ladder:
    """A ladder for a new stream, which has until the next frame comes to answer one.

    `turn` is waited for before a frame is encoded, where other streams use the same networks. For frames of
    `original_hw` px, where that is known, all is prepared now.
    """
    motion = GuidedMotion()
    segmenter = Segmenter(predictor, make_tracker(predictor, settings, motion), agenda)
    if original_hw is not None:
        segmenter.prepare(original_hw)
    budget_ns = round(1e9 / min(frame_rate or USUAL_RATE, HIGHEST_RATE))
    worker = ThreadWorker(segmenter, round(STALE * budget_ns), turn=turn)
    return Ladder(segmenter, worker, Coaster(), budget_ns, time.monotonic_ns, motion.guide)
