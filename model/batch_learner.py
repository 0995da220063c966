"""What many objects look like, learned from where they were found: the last part of the tracker's frame."""

from __future__ import annotations

import torch
from torch import Tensor

from .appearance import AppearanceGrid
from .batch_looks import gather_evidence, places_in_order
from .batch_masks import cell_means
from .batch_rows import FrameShape, Rows
from .tracker import DOUBT_GAIN
from .tracker_settings import TrackerSettings


class BatchLearner:
    """Teaches rows what their objects look like.

    Args:
        rows: what is known of the objects.
        shape: of the frames.
        settings: the constants.
    """

    def __init__(self, rows: Rows, shape: FrameShape, settings: TrackerSettings) -> None:
        self._rows, self._grid_hw, self._settings = rows, shape.grid_hw, settings
        self._order_of = places_in_order(shape.grid_hw[0] * shape.grid_hw[1], rows.soft.device)

    def learn(self, coarse: Tensor, detail: Tensor, as_shown: Tensor, learns: Tensor) -> tuple[()]:
        """See `Tracker._update`.

        Args:
            coarse: (h, w, 256), see `AppearanceGrid`.
            detail: (192, gh, gw), likewise.
            as_shown: (N, gh, gw), see `Ahead`.
            learns: (N,) bool, which rows.
        """
        rows, settings = self._rows, self._settings
        share, known = (cell_means(one, self._grid_hw) for one in (rows.soft, rows.background))
        looks_like_it = torch.sigmoid(DOUBT_GAIN * (as_shown * (1 - known) - known))
        doubt = settings.doubt * (1 - share) * looks_like_it
        trust = (2 * share - 1).abs() ** settings.confidence * (1 - doubt)
        grid = AppearanceGrid(coarse, detail)
        evidence = gather_evidence(grid, self._order_of, share, trust)
        rate = 1 - (1 - settings.learning_rate) ** (rows.frames_seen - rows.learned_at).float()
        rows.looks.learn(*evidence, rate, learns, settings.anchor_weight)
        rows.learned_at.copy_(torch.where(learns, rows.frames_seen, rows.learned_at))
        return ()
