"""Who is to do what in a benchmark. Nothing heavy is imported here."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

PEERS = {"reference": "mobile_sam", "ultralytics": "ultralytics"}  # by the module that is imported


@dataclass(frozen=True, slots=True)
class Task:
    """A contender, as it is asked for."""

    who: str = "maskstream"  # or one of PEERS
    engine: str = "auto"
    size: int = 1024  # long side of the model input, px; the peers know only 1024
    width: int = 1280  # of the pictures, px
    height: int = 720
    objects: int = 1
    weights: str | None = None
    threads: int | None = None

    def label(self, name: str) -> str:
        """What to call it in a table; `name` is what it calls itself."""
        if self.who != "maskstream":
            return name
        return f"{name}, {self.size} px" + (f", {self.objects} objects" if self.objects > 1 else "")


def installed_peers() -> list[str]:
    """Those that are here."""
    return [name for name, module in PEERS.items() if importlib.util.find_spec(module) is not None]
