"""What Prometheus is told of the runs of this process; docs/operations.md describes each metric.

Nothing is counted here: counts are kept where frames flow, and are looked up when somebody asks.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from maskstream.model.types import MaskOrigin, TrackState
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .health import Roster, Watched, numbered
from .metrics_device import device_memory
from .source_status import SourceState, SourceStatus
from .telemetry import Durations
from .watchdog import SOURCE

BOUNDS_MS = (1, 2.5, 5, 10, 20, 40, 60, 100, 150, 200, 300, 500, 1000, 2500, 5000, 10_000)

_COUNTER, _GAUGE = CounterMetricFamily, GaugeMetricFamily
# Each metric's kind, meaning, and labels beside `source`. A counter's name gets `_total` by its kind.
_FAMILIES: dict[str, tuple[type[Metric], str, tuple[str, ...]]] = {
    "frames_captured": (_COUNTER, "Frames that came from the source.", ()),
    "frames_dropped": (_COUNTER, "Frames that were left out, by reason.", ("reason",)),
    "frames_segmented": (_COUNTER, "Frames that were answered with masks.", ()),
    "frames_encoded": (_COUNTER, "Frames whose encoding is behind the masks.", ()),
    "frames_published": (_COUNTER, "Results that a sink has taken.", ("sink",)),
    "sink_frames_dropped": (_COUNTER, "Results that a sink was too slow for.", ("sink",)),
    "masks": (_COUNTER, "Masks given out, by what they rest on.", ("how",)),
    "source_events": (_COUNTER, "What the source had to put up with, by kind.", ("kind",)),
    "latency_seconds": (HistogramMetricFamily, "From capture to result.", ()),
    "stage_work_seconds": (HistogramMetricFamily, "Work of a stage on one frame.", ("stage",)),
    "step_seconds": (HistogramMetricFamily, "A step of the networks' work on one frame.", ("step",)),
    "stage_waited_seconds": (_COUNTER, "Time that a stage waited for frames.", ("stage",)),
    "stage_blocked_seconds": (_COUNTER, "Time that a stage waited for room in the next queue.", ("stage",)),
    "queue_depth": (_GAUGE, "Items that wait before a stage.", ("stage",)),
    "queue_capacity": (_GAUGE, "Items that may wait before a stage.", ("stage",)),
    "stream_state": (StateSetMetricFamily, "What the source is doing.", ()),
    "stream_ready": (_GAUGE, "1 while frames flow.", ()),
    "stream_paused": (_GAUGE, "1 while the run is paused.", ()),
    "last_frame_timestamp_seconds": (_GAUGE, "When the source's last frame was captured.", ()),
    "objects": (_GAUGE, "Objects on the last frame, by state.", ("state",)),
    "stage_stuck": (_GAUGE, "1 while the watchdog finds that a stage hangs.", ("stage",)),
    "stage_stuck_incidents": (_COUNTER, "Times that a stage hung.", ("stage",)),
    "stage_restarts": (_COUNTER, "Times that the watchdog restarted what hung.", ("stage",)),
}


def make_registry(roster: Roster) -> CollectorRegistry:
    """All there is to tell: of the runs, those that come later too; of devices; of this process."""
    registry = CollectorRegistry()
    for collector in (_Streams(roster), _Devices(), _Build()):
        registry.register(collector)
    ProcessCollector(registry=registry)  # CPU time, memory, open files; Linux only
    return registry


class _Streams(Collector):
    """A set of series for each run."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def collect(self) -> Iterator[Metric]:
        teller = _Teller()
        for name, state in self._roster.to_come.items():
            teller.source = name
            _tell_state(teller, state, is_ready=False)
        for run in self._roster:
            teller.source = run.source
            for tell in (_tell_frames, _tell_source, _tell_stages, _tell_objects, _tell_watchdog):
                tell(teller, run)
        yield from teller.families()


class _Teller:
    """Collects samples of one run after another."""

    def __init__(self) -> None:
        self.source = ""
        self._families: dict[str, Any] = {
            name: kind(f"maskstream_{name}", text, labels=("source", *labels))  # type: ignore[call-arg]
            for name, (kind, text, labels) in _FAMILIES.items()
        }

    def add(self, name: str, *values: object, labels: Sequence[str] = ()) -> None:
        """One more series."""
        self._families[name].add_metric((self.source, *labels), *values)

    def histogram(self, name: str, durations: Durations, labels: Sequence[str] = ()) -> None:
        """One more histogram, in seconds."""
        bounds = (f"{bound / 1000:g}" for bound in BOUNDS_MS)
        buckets = [*zip(bounds, durations.counts, strict=True), ("+Inf", durations.total)]
        self.add(name, buckets, durations.sum_ms / 1000, labels=labels)

    def families(self) -> Iterator[Metric]:
        """Those of which there is something to tell."""
        return (family for family in self._families.values() if family.samples)


def _tell_frames(teller: _Teller, run: Watched) -> None:
    report = run.pipeline.report()
    teller.add("frames_captured", report.captured)
    teller.add("frames_dropped", report.dropped, labels=["queue"])
    teller.add("frames_segmented", report.segmented)
    teller.add("frames_encoded", run.tally.encoded)
    teller.histogram("latency_seconds", run.pipeline.stopwatches[1][1].durations(BOUNDS_MS)[1])
    for name, sink in zip(numbered(sink.name for sink in report.sinks), report.sinks, strict=True):
        teller.add("frames_published", sink.stage.items, labels=[name])
        teller.add("sink_frames_dropped", sink.dropped, labels=[name])


def _tell_source(teller: _Teller, run: Watched) -> None:
    _tell_state(teller, run.state, run.is_ready)
    teller.add("stream_paused", int(run.pipeline.is_paused))
    status = run.pipeline.source_status()
    if status is not None:
        _tell_status(teller, status)


def _tell_state(teller: _Teller, state: SourceState, is_ready: bool) -> None:
    teller.add("stream_state", {one.value: one is state for one in SourceState})
    teller.add("stream_ready", int(is_ready))


def _tell_status(teller: _Teller, status: SourceStatus) -> None:
    counts = dataclasses.asdict(status.counts)
    for kind, count in counts.items():
        teller.add("source_events", count, labels=[kind])
    teller.add("frames_dropped", counts["stale_frames"], labels=["stale"])
    teller.add("frames_dropped", counts["duplicate_frames"], labels=["duplicate"])
    if status.last_captured_unix_ns is not None:
        teller.add("last_frame_timestamp_seconds", status.last_captured_unix_ns / 1e9)


def _tell_stages(teller: _Teller, run: Watched) -> None:
    stopwatches = run.pipeline.stopwatches
    names = list(numbered(name for name, _ in stopwatches))
    for name, (_, stats) in zip(names, stopwatches, strict=True):
        report = stats.report()
        teller.add("stage_waited_seconds", report.waited_s, labels=[name])
        teller.add("stage_blocked_seconds", report.blocked_s, labels=[name])
        if name != names[0]:  # capturing is waiting, and no work
            teller.histogram("stage_work_seconds", stats.durations(BOUNDS_MS)[0], labels=[name])
    steps = run.pipeline.steps
    for name, durations in ({} if steps is None else steps.durations(BOUNDS_MS)).items():
        teller.histogram("step_seconds", durations, labels=[name])
    for name, (_, queue) in zip(names[1:], run.pipeline.queues, strict=False):  # a helper has none
        teller.add("queue_depth", queue.waiting, labels=[name])
        teller.add("queue_capacity", queue.capacity, labels=[name])


def _tell_objects(teller: _Teller, run: Watched) -> None:
    states, origins = run.tally.last_states(), run.tally.origins()
    for state in TrackState:
        teller.add("objects", states[state], labels=[state.value])
    for origin in MaskOrigin:
        teller.add("masks", origins[origin], labels=[origin.value])


def _tell_watchdog(teller: _Teller, run: Watched) -> None:
    if run.watchdog is None:
        return
    watchdog, stuck = run.watchdog, {one.stage for one in run.watchdog.incidents}
    names = dict.fromkeys([SOURCE, *(name for name, _ in run.pipeline.stopwatches)])  # each once
    for name in names:
        teller.add("stage_stuck", int(name in stuck), labels=[name])
        teller.add("stage_stuck_incidents", watchdog.counts[name], labels=[name])
    teller.add("stage_restarts", watchdog.restarts[SOURCE], labels=[SOURCE])


class _Devices(Collector):
    """What is held of GPUs; nothing where none is used."""

    def collect(self) -> Iterator[Metric]:
        text = "Memory of a device: held by tensors, by PyTorch, free for all, and in all."
        family = GaugeMetricFamily("maskstream_device_memory_bytes", text, labels=("device", "kind"))
        for memory in device_memory():
            values = dataclasses.asdict(memory)
            device = values.pop("device")
            for kind, value in values.items():
                family.add_metric((device, kind), value)
        if family.samples:
            yield family


class _Build(Collector):
    """What program this is."""

    def collect(self) -> Iterator[Metric]:
        value = {"version": metadata.version("maskstream"), "python": platform.python_version()}
        yield InfoMetricFamily("maskstream_build", "What program this is.", value=value)
