"""One frame as the tracker sees it."""

from __future__ import annotations

from dataclasses import dataclass

from .appearance import AppearanceGrid
from .outline import Outliner
from .soft_masks import LOW_RES_PX
from .types import ImageEmbedding


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A frame, prepared once for all objects."""

    embedding: ImageEmbedding
    grid: AppearanceGrid
    outliner: Outliner
    time_s: float  # media time

    @property
    def low_res_hw(self) -> tuple[int, int]:
        """Size (4h, 4w) of soft masks."""
        height, width = self.embedding.input_hw
        return height // LOW_RES_PX, width // LOW_RES_PX
