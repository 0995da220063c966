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
OBJECT_SHARE = 0.02  # a cell with more of the object than this is always learned from
BACKGROUND_SHARE = 1 / 6  # of the other cells: enough to know the background by, six times cheaper


@dataclass(frozen=True, slots=True, eq=False)
class AppearanceGrid:
    """One frame's feature vectors on the grid of detail, shared by all objects."""

    vectors: Tensor  # (N, C) float32, N = gh * gw cells
    grid_hw: tuple[int, int]  # (gh, gw)

    @classmethod
    def of(cls, embedding: ImageEmbedding) -> AppearanceGrid:
        """Unit-length image embedding and detail vectors side by side, with a constant.

        Raises:
            ValueError: the embedding was made without detail features.
        """
        if embedding.detail is None:
            raise ValueError("tracking needs detail features: make the embedding with Predictor.encode")
        detail = embedding.detail.float()
        grid_hw = (detail.shape[2], detail.shape[3])
        coarse = functional.normalize(embedding.features.float())
        coarse = functional.interpolate(coarse, grid_hw, mode="bilinear")
        bias = torch.full_like(detail[:, :1], BIAS)
        stacked = torch.cat([coarse, detail, bias], dim=1)  # (1, 256 + 192 + 1, gh, gw)
        return cls(stacked[0].flatten(1).T.contiguous(), grid_hw)


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
    share = soft.flatten().to(grid.vectors)
    on_object = share > OBJECT_SHARE
    cells = (on_object | _background_lattice(len(share), share.device)).nonzero()[:, 0]
    vectors, share, on_object = grid.vectors[cells], share[cells], on_object[cells]
    sure = torch.ones_like(share) if trust is None else trust.flatten().to(share)[cells]
    background = (1 - share) * torch.where(on_object, 1.0, 1 / BACKGROUND_SHARE)
    weight = _half(sure * share) + _half(sure * background)
    weighted = vectors * weight[:, None]
    return Evidence(vectors.T @ weighted, weighted.T @ (2 * share - 1))


def _half(weight: Tensor) -> Tensor:
    return 0.5 * weight / weight.sum().clamp(min=1e-3)


@lru_cache(maxsize=8)
def _background_lattice(cells: int, device: torch.device) -> Tensor:
    """A fixed random choice of cells (N,) bool: the same for every frame, object and run."""
    draw = torch.rand(cells, generator=torch.Generator().manual_seed(0))
    return (draw < BACKGROUND_SHARE).to(device)


class AppearanceMemory:
    """One object's looks: an anchor from the user and a running mean of what was seen since.

    Args:
        anchor: evidence from the frame on which the user showed the object.
        learning_rate: weight of a new frame in the running mean.
        anchor_weight: weight of the anchor against the running mean.
    """

    def __init__(self, anchor: Evidence, learning_rate: float, anchor_weight: float) -> None:
        self._anchor = anchor
        self._anchor_weights = anchor.solve()
        self._anchors = 1
        self._recent: Evidence | None = None
        self._learning_rate = learning_rate
        self._anchor_weight = anchor_weight

    def add_anchor(self, anchor: Evidence) -> None:
        """Learn from a correction by the user; every anchor counts the same."""
        self._anchors += 1
        self._anchor = self._anchor.mix(anchor, 1 / self._anchors)
        self._anchor_weights = self._anchor.solve()

    def learn(self, evidence: Evidence) -> None:
        """Learn from the tracker's own output."""
        if self._recent is None:
            self._recent = evidence
        else:
            self._recent = self._recent.mix(evidence, self._learning_rate)

    def respond(self, grid: AppearanceGrid) -> Tensor:
        """How much each cell looks like the object: (gh, gw), about +1 on it and -1 off it."""
        if self._recent is None:
            return self.respond_as_shown(grid)
        weights = self._recent.mix(self._anchor, self._anchor_weight).solve()
        return (grid.vectors @ weights).view(grid.grid_hw)

    def respond_as_shown(self, grid: AppearanceGrid) -> Tensor:
        """As `respond`, by what the user showed alone."""
        return (grid.vectors @ self._anchor_weights).view(grid.grid_hw)
