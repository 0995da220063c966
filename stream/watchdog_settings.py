"""When a stage counts as stuck, and what becomes of the run: the settings and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .settings import AtLeast, Settings


@dataclass(frozen=True, slots=True)
class WatchdogConfig(Settings):
    """How long a stage may take; a source has its own time-outs besides."""

    after_s: Annotated[float, AtLeast(0.1)] = 30.0  # at one frame
    first_frame_s: Annotated[float, AtLeast(0.1)] = 180.0  # the networks, at their first: they may compile
    end: bool = False  # end the run when a stage is stuck that cannot be restarted
