"""What becomes of a live stream that is not there, or breaks off: the settings and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .settings import AtLeast, Settings


@dataclass(frozen=True, slots=True)
class ReconnectConfig(Settings):
    """How a live source is connected again. Recordings are not: they would begin anew."""

    enabled: bool = True
    # If it is not there at the start: wait for it, or refuse to run. auto waits for servers that are down,
    # not for wrong passwords or paths, nor for cameras and http://, where nothing says that it will be live.
    at_start: Literal["auto", "wait", "fail"] = "auto"
    first_delay_s: Annotated[float, AtLeast(0.001)] = 0.25  # the first wait, at most; then it doubles
    longest_delay_s: Annotated[float, AtLeast(0.001)] = 10.0  # up to this
    give_up_after_s: Annotated[float, AtLeast(0)] | None = None  # of trying; None: never
    stall_after_s: Annotated[float, AtLeast(0.1)] = 2.0  # without a frame: its state is then `stalled`
