"""What an object looks like: a ridge regression from the encoder's features to its mask, one per object.

The regression is solved in closed form from two sums, so learning from a frame is adding to them and memory
stays constant. Half of the weight is on the object and half on the rest, however small the object is. What
the user gave (the anchor) is kept apart from what the tracker taught itself and never fades.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from .types import ImageEmbedding

BIAS = 0.3  # the constant component beside unit-length features
RIDGE = 0.01  # of the mean diagonal of the Gram matrix
OBJECT_SHARE = 0.02  # a cell with more of the object than this is on it
MOST_CELLS = 128  # of the object, and as many of the rest, that teach what they look like on one frame
MOST_ANCHOR_CELLS = 4096  # the same where the user shows it, which happens once


@dataclass(frozen=True, slots=True, eq=False)
class AppearanceGrid:
    """One frame's feature vectors on the grid of detail, shared by all objects.

    A cell's vector is the image embedding there, interpolated, beside its detail and a constant. The vectors
    are never made as a whole: interpolation is linear, so that responses may be interpolated in their stead.
    """

    coarse: Tensor  # (256, h, w) float32, image embedding at unit length
    detail: Tensor  # (192, gh, gw) float32

    @classmethod
    def of(cls, embedding: ImageEmbedding) -> AppearanceGrid:
        """The grid of a frame.

        Raises:
            ValueError: the embedding was made without detail features.
        """
        if embedding.detail is None:
            raise ValueError("tracking needs detail features: make the embedding with Predictor.encode")
        return cls(functional.normalize(embedding.features.float())[0], embedding.detail.float()[0])

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(gh, gw)."""
        return self.detail.shape[1], self.detail.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.detail.device

    def respond(self, weights: Tensor) -> Tensor:
        """Products (K, gh, gw) of each cell's vector with each of the weights (K, C)."""
        of_coarse, of_detail, of_bias = torch.split(weights, [len(self.coarse), len(self.detail), 1], dim=1)
        coarse = (of_coarse @ self.coarse.flatten(1)).view(1, len(weights), *self.coarse.shape[1:])
        smooth = functional.interpolate(coarse, self.grid_hw, mode="bilinear")[0]
        detail = (of_detail @ self.detail.flatten(1)).view(len(weights), *self.grid_hw)
        response: Tensor = smooth + detail + BIAS * of_bias[:, :, None]
        return response

    def vectors(self, cells: Tensor) -> Tensor:
        """Vectors (C, M) of the cells with these numbers (M,), counted row by row."""
        rows_columns = torch.stack([cells % self.grid_hw[1], cells // self.grid_hw[1]], dim=1) + 0.5
        places = 2 * rows_columns / rows_columns.new_tensor(self.grid_hw[::-1]) - 1  # (M, 2), -1..1, x and y
        coarse = functional.grid_sample(
            self.coarse[None], places[None, None], padding_mode="border", align_corners=False
        )[0, :, 0]
        detail = self.detail.flatten(1).index_select(1, cells)
        return torch.cat([coarse, detail, torch.full_like(coarse[:1], BIAS)])


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The sums a ridge regression needs, class-balanced over one frame."""

    gram: Tensor  # (C, C)
    moment: Tensor  # (C,)

    def mix(self, other: Evidence, share: float) -> Evidence:
        """`share` of the other and the rest of this."""
        gram = torch.lerp(self.gram, other.gram, share)
        return Evidence(gram, torch.lerp(self.moment, other.moment, share))

    def solve(self) -> Tensor:
        """The regression's weights (C,)."""
        gram = self.gram.clone()
        diagonal = gram.diagonal()
        diagonal += RIDGE * diagonal.mean()
        return torch.cholesky_solve(self.moment[:, None], torch.linalg.cholesky(gram))[:, 0]


def gather_evidence(grid: AppearanceGrid, soft: Tensor, trust: Tensor | None = None) -> Evidence:
    """Evidence from a frame whose object covers `soft` (gh, gw), 0..1, of each cell.

    Args:
        grid: the frame's vectors.
        soft: the object's share of each cell.
        trust: (gh, gw), 0..1, how sure that share is; None where the user gave it.
    """
    share = soft.flatten().to(grid.device)
    on_object = share > OBJECT_SHARE
    order = _shuffled(len(share), grid.device)
    most = MOST_ANCHOR_CELLS if trust is None else MOST_CELLS
    sides = [order[on_object[order]], order[~on_object[order]]]
    cells = torch.cat([side[:most] for side in sides])
    # A cell stands for those of its side that were left out.
    sure = torch.cat([share.new_full((min(len(side), most),), max(1.0, len(side) / most)) for side in sides])
    vectors, share = grid.vectors(cells), share[cells]
    if trust is not None:
        sure = sure * trust.flatten().to(share)[cells]
    weight = _half(sure * share) + _half(sure * (1 - share))
    weighted = vectors * weight  # (C, M)
    return Evidence(weighted @ vectors.T, weighted @ (2 * share - 1))


def _half(weight: Tensor) -> Tensor:
    return 0.5 * weight / weight.sum().clamp(min=1e-3)


@lru_cache(maxsize=8)
def _shuffled(cells: int, device: torch.device) -> Tensor:
    """Numbers of cells (N,) in a random order, the same for every frame, object and run."""
    return torch.randperm(cells, generator=torch.Generator().manual_seed(0)).to(device)


class AppearanceMemory:
    """One object's looks: an anchor from the user and a running mean of what was seen since.

    Args:
        anchor: evidence from the frame on which the user showed the object.
        anchor_weight: weight of the anchor against the running mean.
    """

    def __init__(self, anchor: Evidence, anchor_weight: float) -> None:
        self._anchor = anchor
        self._anchor_weights = anchor.solve()
        self._anchors = 1
        self._recent: Evidence | None = None
        self._weights: Tensor | None = None  # solved when they are asked for
        self._anchor_weight = anchor_weight

    def add_anchor(self, anchor: Evidence) -> None:
        """Learn from a correction by the user; every anchor counts the same."""
        self._anchors += 1
        self._anchor = self._anchor.mix(anchor, 1 / self._anchors)
        self._anchor_weights = self._anchor.solve()
        self._weights = None

    def learn(self, evidence: Evidence, rate: float) -> None:
        """Learn from the tracker's own output, which gets the share `rate` of the running mean."""
        if self._recent is None:
            self._recent = evidence
        else:
            self._recent = self._recent.mix(evidence, rate)
        self._weights = None

    def respond(self, grid: AppearanceGrid) -> tuple[Tensor, Tensor]:
        """How much each cell looks like the object, about +1 on it and -1 off it.

        Returns:
            By all that is known of it, and by what the user showed alone; (gh, gw) each.
        """
        if self._weights is None:
            recent = self._recent or self._anchor
            self._weights = recent.mix(self._anchor, self._anchor_weight).solve()
        now, as_shown = grid.respond(torch.stack([self._weights, self._anchor_weights]))
        return now, as_shown
