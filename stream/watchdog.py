"""Notices what hangs: names it, restarts it where that can be done, and else ends the run if told to."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskstream.model.errors import StageStuckError

from .logs import log_event
from .source_status import SourceState
from .telemetry import Activity, Clock

if TYPE_CHECKING:
    from .pipeline import Pipeline

SOURCE = "source"  # what a source that hangs is called, beside the stages
_NETWORKS = ("segmenter", "ladder worker")  # stages whose first frame may take long
_TICK_S = 0.25
_SLEPT_NS = 5_000_000_000  # between two looks: the whole program was stopped, and not one stage

log = logging.getLogger("maskstream")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each may take, s."""

    after_s: float  # a stage, at one item
    first_frame_s: float  # the networks, at their first
    source_s: float  # a source that says nothing, before its own time-outs should have struck, and then some


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that hangs."""

    stage: str
    what: str  # `has been at one frame`
    for_s: float  # when it was last looked at

    def __str__(self) -> str:
        return f"{self.stage} {self.what} for {self.for_s:.0f} s"


class Watchdog:
    """Looks at a pipeline's stages four times a second, from a thread of its own.

    A stage is stuck when it has worked on one item for too long. One that waits for an item, or for room in
    the next queue, is not: it is not to blame. So a paused run, and one whose source is being connected
    again, are fine. A source is stuck when its own time-outs should have struck long ago.

    A source is connected again, if that is in its nature. Nothing else can be restarted: a thread in native
    code, or in a file system that does not answer, cannot be stopped.

    Args:
        name: the stream's, for the log.
        pipeline: what is looked at.
        patience: how long each may take.
        end: give the run up when something is stuck that cannot be restarted.
        leave_out: sinks that may take as long as they like.
        also: called at each look.
        clock: the pipeline's, monotonic, in ns.
    """

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        patience: Patience,
        *,
        end: bool = False,
        leave_out: Collection[str] = (),
        also: Sequence[Callable[[], None]] = (),
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._name, self._pipeline, self._patience, self._end = name, pipeline, patience, end
        self._leave_out, self._also, self._clock = frozenset(leave_out), also, clock
        self._incidents: dict[str, Incident] = {}  # replaced as a whole: other threads read it
        self.counts: Counter[str] = Counter()  # incidents so far, by stage
        self.restarts: Counter[str] = Counter()  # by stage
        self._looked_ns = self._awake_ns = self._source_ns = clock()
        self._source_was: object = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """What hangs at this moment."""
        return tuple(self._incidents.values())

    def open(self) -> None:
        """Look from now on."""
        self._thread.start()

    def close(self) -> None:
        """Look no more. May be called twice, and without open()."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        has_failed = False
        while not self._closing.wait(_TICK_S):
            try:
                self.look()
            except Exception:  # of a source or sink of the user's own, say: the others are still looked at
                if not has_failed:
                    log.exception("%s: the watchdog cannot see everything", self._name)
                has_failed = True

    def look(self) -> None:
        """Look once."""
        now_ns = self._clock()
        if now_ns - self._looked_ns > _SLEPT_NS:
            self._awake_ns = now_ns
        self._looked_ns = now_ns
        before, found = self._incidents, {one.stage: one for one in self._stuck(now_ns)}
        self._incidents = found
        for stage in before.keys() - found.keys():
            self._over(before[stage])
        for stage in found.keys() - before.keys():
            self._begin(found[stage])
        for call in self._also:
            call()

    def _stuck(self, now_ns: int) -> Iterator[Incident]:
        for name, stats in self._pipeline.stopwatches:
            moment = stats.moment()
            is_first = name in _NETWORKS and not moment.items
            limit_s = self._patience.first_frame_s if is_first else self._patience.after_s
            for_s = self._since_s(moment.since_ns, now_ns)
            if moment.activity is Activity.WORKING and for_s > limit_s and name not in self._leave_out:
                yield Incident(name, "has been at one frame", for_s)
        yield from self._stuck_source(now_ns)

    def _stuck_source(self, now_ns: int) -> Iterator[Incident]:
        status = self._pipeline.source_status()
        if status is None:
            return
        now = (status.state, status.frames, status.failed_tries)
        if now != self._source_was:
            self._source_was, self._source_ns = now, now_ns
        for_s = self._since_s(self._source_ns, now_ns)
        if status.state in _SAYS_NOTHING and for_s > self._patience.source_s:
            yield Incident(SOURCE, _SAYS_NOTHING[status.state], for_s)

    def _since_s(self, since_ns: int, now_ns: int) -> float:
        return (now_ns - max(since_ns, self._awake_ns)) / 1e9

    def _begin(self, incident: Incident) -> None:
        self.counts[incident.stage] += 1
        if incident.stage == SOURCE and self._pipeline.reconnect(f"it {incident.what}"):
            self.restarts[SOURCE] += 1
            self._log(incident, "it is connected again", logging.WARNING)
        elif self._end:
            self._log(incident, "the run is ended", logging.ERROR)
            self._pipeline.give_up(StageStuckError(f"{self._name}: {incident}; the run was ended"))
        else:
            self._log(incident, "it cannot be restarted: if it stays so, start the run anew", logging.ERROR)

    def _log(self, incident: Incident, then: str, level: int) -> None:
        fields = {"stage": incident.stage, "for_s": round(incident.for_s, 1), "then": then}
        text = f"{self._name}: stuck: {incident}; {then}"
        log_event(log, level, "stage_stuck", text, source=self._name, **fields)

    def _over(self, incident: Incident) -> None:
        text = f"{self._name}: {incident.stage} goes on"
        log_event(log, logging.WARNING, "stage_goes_on", text, source=self._name, stage=incident.stage)


# Of other states, RUNNING and so on, it is known that there is nothing to wait for.
_SAYS_NOTHING = {
    SourceState.STALLED: "has given no frame",
    SourceState.RECONNECTING: "has tried to connect, without an answer,",
}
