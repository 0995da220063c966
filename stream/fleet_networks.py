"""One set of networks for several streams: loaded when the first of them is open, shared fairly by all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .config import Config, ModelConfig
from .fleet_gate import Gate
from .runner import Inputs, load_networks, make_segmenter
from .types import Frame, FrameResult, StreamInfo

if TYPE_CHECKING:
    from maskstream.model.predictor import Predictor
    from maskstream.model.weights import Notify, Progress

    from .fleet_engine import EngineService, SharedEngine

# Frames that are worked on at once. Where images are encoded one by one, on CPUs, a second frame at the same
# time made all slower on two cores, and every frame older by the time it was encoded.
PLACES_PER_IMAGE = 2  # where several are encoded together: some are prepared and tracked meanwhile
GATHER_S = 0.002  # how long a frame waits for company, where the engine gains by it


class SharedNetworks:
    """Makes segmenters that share a model, its engine and a gate. Streams come and go, in any thread.

    Args:
        model: which networks, where, and at what size.
        weights: the file.
        streams: how many there will be.
        notify: takes sentences for the user.
    """

    def __init__(self, model: ModelConfig, weights: Path, streams: int, notify: Notify | None = None) -> None:
        self._model, self._weights, self._streams, self._notify = model, weights, streams, notify
        self._lock = threading.Lock()
        self._predictor: Predictor | None = None
        self._service: EngineService | None = None
        self._error: Exception | None = None
        self._gate = Gate(1)
        self._engines: dict[str, SharedEngine] = {}

    def segmenter(self, name: str, config: Config, inputs: Inputs) -> Callable[[Frame], FrameResult]:
        """A segmenter for a new stream.

        Raises:
            InputError: the networks cannot be run as asked; every stream is told so.
        """
        from maskstream.model.predictor import Predictor

        info = inputs.source.info
        loaded, service = self._loaded(info)
        engine = self._engines[name] = service.share()
        predictor = Predictor(loaded.model, loaded.size, engine=engine)
        engine.prepare(predictor.input_hw_for((info.height_px, info.width_px)))
        return make_segmenter(config, inputs, predictor, partial(self._gate.turn, name))

    def leave(self, name: str) -> None:
        """A stream has ended. May be called twice, and for one that never got a segmenter."""
        engine = self._engines.pop(name, None)
        if engine is not None:
            engine.close()

    def close(self) -> None:
        """All streams have ended. May be called twice."""
        with self._lock:
            if self._service is not None:
                self._service.close()

    def _loaded(self, info: StreamInfo) -> tuple[Predictor, EngineService]:
        with self._lock:
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._predictor is None or self._service is None:
                try:
                    self._predictor, self._service = self._load(info)
                except Exception as error:
                    self._error = error
                    raise
            return self._predictor, self._service

    def _load(self, info: StreamInfo) -> tuple[Predictor, EngineService]:
        from maskstream.model.device_time import Moment

        from .fleet_engine import EngineService

        predictor = load_networks(self._model, self._weights, info, self._notify)
        most = predictor.engine.most_images
        self._gate = Gate(PLACES_PER_IMAGE * most if most > 1 else 1)
        moment = partial(Moment, predictor.device) if predictor.device.type == "cuda" else None
        gather_s = GATHER_S if most > 1 else 0.0
        return predictor, EngineService(predictor.engine, gather_s, self._streams, moment)


def find_networks(
    model: ModelConfig, streams: int, notify: Notify, progress: Progress | None
) -> SharedNetworks:
    """The networks that a run of so many streams asks for, with their weights fetched; not loaded yet.

    Raises:
        InputError: they cannot be had, or not run here as asked.
    """
    from maskstream.model.engine_choice import choose_engine
    from maskstream.model.predictor import resolve_device
    from maskstream.model.weights import resolve

    choose_engine(model.engine, resolve_device(model.device))  # before a download
    return SharedNetworks(model, resolve(model.weights, progress, notify), streams, notify)
