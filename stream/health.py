"""Is the process well, and do frames flow? For those who start programs anew, or send work to them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from .source_status import SourceState
from .telemetry import Activity

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .summary import Tally
    from .watchdog import Watchdog


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A run that is looked at from outside."""

    source: str  # the stream's name, without passwords; unique in its roster
    pipeline: Pipeline
    tally: Tally
    watchdog: Watchdog | None = None

    @property
    def state(self) -> SourceState:
        """The source's; of one that cannot tell, whether the pipeline runs."""
        status = self.pipeline.source_status()
        if not self.pipeline.is_alive():
            if self.pipeline.error is not None:
                return SourceState.FAILED
            (_, capture), *_ = self.pipeline.stopwatches
            is_to_come = capture.moment().activity is Activity.IDLE
            return SourceState.CONNECTING if is_to_come else SourceState.ENDED
        return SourceState.RUNNING if status is None else status.state

    @property
    def is_ready(self) -> bool:
        """Whether frames flow, or would if the run were not paused."""
        return self.state is SourceState.RUNNING and self.tally.last_index >= 0


class Roster:
    """The runs of a process; more may come while it is read."""

    def __init__(self) -> None:
        self._runs: tuple[Watched, ...] = ()
        self._to_come: dict[str, SourceState] = {}
        self._lock = threading.Lock()

    def expect(self, source: str) -> None:
        """A run of that name is to come."""
        with self._lock:
            self._to_come = {**self._to_come, source: SourceState.CONNECTING}

    def missed(self, source: str) -> None:
        """The run of that name will not come, if it has not."""
        with self._lock:
            if source in self._to_come:
                self._to_come = {**self._to_come, source: SourceState.FAILED}

    @property
    def to_come(self) -> Mapping[str, SourceState]:
        """Runs that are expected, and whether they may still come."""
        return self._to_come

    def add(self, source: str, pipeline: Pipeline, tally: Tally, watchdog: Watchdog | None = None) -> Watched:
        """One more run; a name that is taken gets a number."""
        with self._lock:
            *_, unique = numbered((*(run.source for run in self._runs), source))
            run = Watched(unique, pipeline, tally, watchdog)
            self._runs = (*self._runs, run)
            self._to_come = {name: state for name, state in self._to_come.items() if name != source}
        return run

    def __iter__(self) -> Iterator[Watched]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def numbered(names: Iterable[str]) -> Iterator[str]:
    """The names, with ` (2)` and so on behind those that were there before."""
    seen: set[str] = set()
    for name in names:
        unique = next(text for text in chain([name], (f"{name} ({i})" for i in count(2))) if text not in seen)
        seen.add(unique)
        yield unique


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes or no, and why."""

    is_good: bool
    details: dict[str, Any]  # plain values


def liveness(roster: Roster) -> Verdict:
    """Whether nothing hangs. A run that is paused, or waits for its source, is well."""
    stuck = [
        {"source": run.source, "stage": one.stage, "for_s": round(one.for_s, 1)}
        for run in roster
        if run.watchdog is not None
        for one in run.watchdog.incidents
    ]
    return Verdict(not stuck, {"ok": not stuck, **({"stuck": stuck} if stuck else {})})


def readiness(roster: Roster) -> Verdict:
    """Whether the networks are loaded, and frames of every stream flow."""
    streams = [
        {
            "source": run.source,
            "ready": run.is_ready,
            "state": run.state.value,
            "paused": run.pipeline.is_paused,
        }
        for run in roster
    ]
    streams += [
        {"source": name, "ready": False, "state": state.value, "paused": False}
        for name, state in roster.to_come.items()
    ]
    is_ready = bool(streams) and all(stream["ready"] for stream in streams)
    details: dict[str, Any] = {"ready": is_ready, "streams": streams}
    if not streams:
        details["state"] = SourceState.CONNECTING.value
    return Verdict(is_ready, details)
