"""What a process of the benchmark does with several live streams on one set of networks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import cv2
from maskstream.model.errors import MaskstreamError
from maskstream.model.types import MaskOrigin
from maskstream.model.weights import resolve

from .agenda import Agenda
from .bench_scene import BenchScene
from .commands import Show
from .config import Config, load_config
from .fleet_networks import SharedNetworks
from .pipeline import Pipeline
from .runner import Inputs
from .source_base import BaseSource, captured_now
from .summary import Tally
from .types import Frame, FrameResult, StreamInfo
from .zmq_sink import ZmqSink

WARM_UP_S = 2.0  # that do not count, after all streams have masks: GPUs record work at the first of them
START_S = 60.0  # within which they should have
# Streams are sustained with no less, and no more, of their frames (or masks) than that.
LEAST_PUBLISHED, MOST_DROPPED, MOST_HELD = 0.98, 0.005, 0.02

_POLL_S = 0.05


class MemorySource(BaseSource):
    """Frames that are there already, by the clock, as a camera gives them."""

    def __init__(self, name: str, scene: BenchScene, rate: int) -> None:
        height, width = scene.image(0).shape[:2]
        info = StreamInfo(name, width, height, Fraction(1, rate), Fraction(rate), True, None)
        super().__init__(info, realtime=True)
        self._scene = scene

    def _frames(self) -> Iterator[Frame]:
        index = 0
        while True:
            yield captured_now(self.info, self._scene.image(index), index, index)
            index += 1


class _Stream:
    """One of the streams, published, and what is noted of it."""

    def __init__(
        self, source: MemorySource, scene: BenchScene, config: Config, networks: SharedNetworks
    ) -> None:
        self.published: list[tuple[float, FrameResult]] = []
        self.tally = Tally()
        self._has_masks = threading.Event()
        self._from_s, self._to_s = float("inf"), float("inf")
        inputs = Inputs(source, (), Agenda([Show(prompt) for prompt in scene.boxes]))
        segmenter = networks.segmenter(source.info.source_id, config, inputs)
        sink = ZmqSink("tcp://127.0.0.1:*", wait_s=0.0)
        self.pipeline = Pipeline(source, segmenter, (sink,), on_result=self._note)

    def wait_for_masks(self, until_s: float) -> None:
        """Until there are any, or it has failed, or it is that late."""
        while not self._has_masks.wait(_POLL_S) and not self.pipeline.wait(0) and time.monotonic() < until_s:
            pass

    def count(self, from_s: float, to_s: float) -> None:
        """What comes between these moments; what comes before is warm-up."""
        self._from_s, self._to_s = from_s, to_s

    def _note(self, result: FrameResult) -> None:
        now_s = time.monotonic()
        if result.objects:
            self._has_masks.set()
        if self._from_s <= now_s < self._to_s:
            self.published.append((now_s, result))
            self.tally.add(result)


def watch_streams(
    streams: int, width: int, height: int, rate: int, seconds: float, overrides: dict[str, Any]
) -> dict[str, Any]:
    """So many live streams at once, each published on ZeroMQ; the preset `rtsp`, overridden."""
    cv2.setNumThreads(1)  # as a live run has it
    config = load_config("rtsp", overrides)
    networks = SharedNetworks(config.model, resolve(config.model.weights), streams)
    scene = BenchScene(width, height, 1)
    with ExitStack() as stack:
        stack.callback(networks.close)
        watched = [
            _Stream(MemorySource(f"stream {number}", scene, rate), scene, config, networks)
            for number in range(streams)
        ]
        for stream in watched:
            stack.enter_context(stream.pipeline)
        _play(watched, seconds)
    return _record(watched, rate, config.model.size)


def _play(streams: Sequence[_Stream], seconds: float) -> None:
    """Let them run for so long, all of them under way."""
    until_s = time.monotonic() + START_S
    for stream in streams:
        stream.wait_for_masks(until_s)
    from_s = time.monotonic() + WARM_UP_S
    for stream in streams:
        stream.count(from_s, from_s + seconds)
    time.sleep(WARM_UP_S + seconds)
    for stream in streams:
        stream.pipeline.stop()
    for stream in streams:
        stream.pipeline.join()
        if not stream.published:
            raise MaskstreamError(f"one of {len(streams)} streams published nothing for {seconds:g} s")


def _record(watched: list[_Stream], rate: int, size: int) -> dict[str, Any]:
    counted = [stream.published for stream in watched]
    found = [one for published in counted for _, result in published for one in result.objects]
    spans_s = [published[-1][0] - published[0][0] for published in counted]
    fps = [len(published[1:]) / (span_s or 1) for published, span_s in zip(counted, spans_s, strict=True)]
    ends = [(published[0][1], published[-1][1]) for published in counted]
    lost = sum(last.dropped - first.dropped for first, last in ends)
    captured = sum(last.frame.index - first.frame.index for first, last in ends)
    held = sum(one.how is MaskOrigin.HELD for one in found) / max(1, len(found))
    return {
        "size": size,
        "published_fps": fps,  # of each stream
        "encoded_fps": [
            stream.tally.encoded / (span_s or 1) for stream, span_s in zip(watched, spans_s, strict=True)
        ],
        "dropped": lost,
        "held": held,
        "results": sum(map(len, counted)),
        "latencies_ms": [result.latency_ms for published in counted for _, result in published],
        "ages_ms": [one.age_ms for one in found],
        "shortcoming": shortcoming(fps, rate, lost / max(1, captured), held),
    }


def shortcoming(fps: Sequence[float], rate: int, dropped: float, held: float) -> str | None:
    """Why so many streams are too many; None where every one of them kept its rate.

    Args:
        fps: published by each.
        rate: captured by each.
        dropped: share of the frames, of all streams.
        held: share of the masks that are those of the frame before.
    """
    if min(fps) < LEAST_PUBLISHED * rate:
        return f"the slowest published {min(fps):.1f} of {rate} frames/s"
    if dropped > MOST_DROPPED:
        return f"{dropped:.1%} of the frames were dropped"
    return f"{held:.1%} of the masks were those of the frame before" if held > MOST_HELD else None
