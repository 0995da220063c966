"""The networks that are scored: chosen first, loaded when they are needed, once in each process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from maskstream.model.types import RgbImage

from .agenda import Agenda
from .commands import Command
from .config import ModelConfig
from .costs import Costs, Realtime
from .evaluate import Segment
from .evaluate_data import LabelledSequence
from .evaluate_stills import Decode, Encode
from .records import Record

if TYPE_CHECKING:
    from maskstream.model.predictor import Predictor
    from maskstream.model.weights import Notify, Progress


@dataclass(frozen=True, slots=True)
class Networks:
    """Which weights, run by what."""

    weights: Path
    weights_name: str
    device: str
    engine: str
    size: int  # long side of the model input, px
    threads: int | None  # of the CPU; None: one for each core

    def record(self) -> Record:
        """What a figure's reader needs to know of them."""
        from maskstream.model.download import digest_of

        weights = {"name": self.weights_name, "sha256": digest_of(self.weights).sha256}
        return {"device": self.device, "engine": self.engine, "size": self.size, "weights": weights}

    def segmenters(self, workers: int, realtime: Realtime | None = None) -> TrackerSegmenters:
        """For videos. Several processes with a thread per core each would get in one another's way."""
        share = self.threads if workers == 1 else max(1, (os.cpu_count() or 1) // workers)
        return TrackerSegmenters(replace(self, threads=self.threads or share), realtime)

    def measure_costs(self, sequence: LabelledSequence, rate: float) -> Costs:
        """What the stages of a live stream take here and now; plays some seconds of a sequence."""
        from .evaluate_costs import measure_costs

        return measure_costs(_predictor(self), sequence, rate)

    def stills(self) -> Encode:
        """For pictures; by torch, for other engines take seconds to get ready for each new size."""
        from maskstream.model.device_time import Moment
        from maskstream.model.sam import best_masks

        predictor = _predictor(replace(self, engine="torch"))

        def encode(image: RgbImage) -> Decode:
            embedding = predictor.encode(image)
            Moment(predictor.device).wait()  # it is timed
            return lambda prompts, multimask: best_masks(predictor, embedding, prompts, multimask)[0]

        return encode


@dataclass(frozen=True, slots=True)
class TrackerSegmenters:
    """Begins each video with a new tracker. Can be sent to another process."""

    networks: Networks
    realtime: Realtime | None = None  # as if frames came by the clock; else every frame is encoded

    def __call__(self, schedule: Sequence[Command]) -> Segment:
        """A segmenter whose objects are shown as scheduled."""
        from maskstream.model.guided_motion import GuidedMotion
        from maskstream.model.tracker_choice import make_tracker

        from .evaluate_realtime import RealtimeSegmenter
        from .segmenter import Segmenter

        predictor = _predictor(self.networks)
        if self.realtime is None:
            return Segmenter(predictor, make_tracker(predictor), Agenda(schedule))
        motion = GuidedMotion()
        segmenter = Segmenter(predictor, make_tracker(predictor, motion=motion), Agenda(schedule))
        return RealtimeSegmenter(segmenter, motion.guide, self.realtime)


def choose_networks(model: ModelConfig, progress: Progress, notify: Notify) -> Networks:
    """Fetches the weights if need be, and loads nothing.

    Raises:
        WeightsError: they cannot be had.
        ConfigError: the device is not on this machine, or the engine does not run on it.
        EngineError: the engine is not installed.
    """
    from maskstream.model.engine_choice import choose_engine
    from maskstream.model.predictor import resolve_device
    from maskstream.model.weights import list_weights, resolve

    device = resolve_device(model.device)
    engine = choose_engine(model.engine, device)
    weights = resolve(model.weights, progress, notify)
    names = [status.known.name for status in list_weights() if status.path == weights]
    name = names[0] if names else weights.name
    return Networks(weights, name, str(device), engine, model.size, model.threads)


@lru_cache(maxsize=1)
def _predictor(networks: Networks) -> Predictor:
    from maskstream.model.predictor import load_predictor

    return load_predictor(
        networks.weights, networks.device, networks.size, engine=networks.engine, threads=networks.threads
    )
