"""One image in, masks out: networks, weights, predictors and the tracker. No threads, no sockets."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .predictor import Predictor as Predictor
    from .predictor import load_predictor as load_predictor
    from .sam import SAM as SAM
    from .sam_predictor import SamPredictor as SamPredictor
    from .types import Prompt as Prompt

# Fetched on first use, so that `import maskstream.model` stays quick: torch takes seconds.
_HOMES = {
    "Predictor": "predictor",
    "load_predictor": "predictor",
    "SAM": "sam",
    "SamPredictor": "sam_predictor",
    "Prompt": "types",
}
__all__ = ["SAM", "Predictor", "Prompt", "SamPredictor", "load_predictor"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
