"""What goes wrong in a `chaos:` source, and when: by a script, by a seed, or both."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import Annotated, Literal

from .settings import AtLeast, Settings

Kind = Literal["stall", "drop", "corrupt", "jump", "no_pts", "duplicate", "resize", "disconnect"]
KINDS: tuple[Kind, ...] = (
    "stall",
    "drop",
    "corrupt",
    "jump",
    "no_pts",
    "duplicate",
    "resize",
    "disconnect",
)
_JUMPS_S = (-95_443.7, -3600.0, -60.0, -3.0, -0.5, 0.5, 3.0, 60.0, 3600.0, 86_400.0)  # the first: MPEG's wrap
_SCALES = (0.5, 0.75, 1.0, 1.25)
_MOST_FRAMES = 5
_MOST_FAILURES = 3


class Pace(Enum):
    """How fast frames come."""

    LIVE = "live"  # as by a camera: who does not take them loses them
    FAST = "fast"  # as from a file: all are waited for, and the same seed gives the same frames


@dataclass(frozen=True, slots=True)
class Fault(Settings):
    """One thing that goes wrong just before a frame; which fields matter depends on what it is."""

    at: Annotated[int, AtLeast(0)]  # the frame's number in the source that is wrapped
    do: Kind
    seconds: float = 1.0  # stall: nothing comes for so long; jump: so far the clock goes, back if negative
    frames: Annotated[int, AtLeast(1)] = 1  # drop, corrupt, no_pts: so many; duplicate: so many times more
    failures: Annotated[int, AtLeast(0)] = 0  # disconnect: so many tries to connect again fail
    scale: Annotated[float, AtLeast(0.05)] = 0.5  # resize: of the original size; 1 is back to it


@dataclass(frozen=True, slots=True)
class RandomFaults(Settings):
    """Faults that a seed decides."""

    kinds: tuple[Kind, ...] = KINDS
    every: Annotated[float, AtLeast(1)] = 50.0  # frames from one to the next, on average
    count: Annotated[int, AtLeast(0)] | None = None  # so many, then no more; None: to the end
    longest_stall_s: Annotated[float, AtLeast(0)] = 3.0


@dataclass(frozen=True, slots=True)
class ChaosConfig(Settings):
    """A source and what goes wrong with it: the keys of a script."""

    source: str
    seed: int = 0
    pace: Literal["live", "fast"] = "live"
    refusals: Annotated[int, AtLeast(0)] = 0  # so many first tries to connect fail
    faults: tuple[Fault, ...] = ()
    random: RandomFaults | None = None


def plan(config: ChaosConfig) -> Iterator[Fault]:
    """All faults in order of their frames; perhaps without end."""
    scripted = iter(sorted(config.faults, key=_place))
    drawn = iter(()) if config.random is None else _draw(config.random, Random(config.seed))
    return heapq.merge(scripted, drawn, key=_place)


def _place(fault: Fault) -> int:
    return fault.at


def _draw(settings: RandomFaults, rng: Random) -> Iterator[Fault]:
    at, drawn = 0, 0
    while settings.kinds and drawn != settings.count:
        at += 1 + int(rng.expovariate(1 / settings.every))
        fault = Fault(
            at,
            rng.choice(settings.kinds),
            seconds=rng.uniform(0, settings.longest_stall_s),
            frames=rng.randint(1, _MOST_FRAMES),
            failures=rng.randint(0, _MOST_FAILURES),
            scale=rng.choice(_SCALES),
        )
        yield replace(fault, seconds=rng.choice(_JUMPS_S)) if fault.do == "jump" else fault
        drawn += 1
