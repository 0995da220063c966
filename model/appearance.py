"""What an object looks like: a ridge regression from the encoder's features to its mask, one per object.

The regression is solved in closed form from two sums, so learning from a frame is adding to them and memory
stays constant. Half of the weight is on the object and half on the rest, however small the object is. What
the user gave (the anchor) is kept apart from what the tracker taught itself and never fades. If that was an
exact mask, what is hard to tell counts most; of a mask that may be wrong there it would teach the errors.
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
STEPS = 10  # of conjugate gradients, for an object's looks that have changed a little
TINY = 1e-20  # in place of a divisor of 0, where the dividend is 0 too
OBJECT_SHARE = 0.02  # a cell with more of the object than this is on it
MOST_CELLS = 64  # of the object, and as many of the rest, that teach what they look like on one frame
MOST_ANCHOR_CELLS = 4096  # the same where the user shows it, which happens once
EASY = 0.1  # weight of a cell of the anchor that a first regression gets right, to which its miss is added
MOST_MISS = 2.0  # of a response, in that: as if it stood on the wrong side
BALANCE = 0.5  # how far responses are brought to a mean of 1 on what the user showed and of -1 off it
LEAST_CONTRAST = 0.5  # of these means, in that: what hardly differs is not told apart by enlarging it


@dataclass(frozen=True, slots=True, eq=False)
class AppearanceGrid:
    """One frame's feature vectors on the grid of detail, shared by all objects.

    A cell's vector is the image embedding there, interpolated, beside its detail and a constant. The vectors
    are never made as a whole: interpolation is linear, so that responses may be interpolated in their stead.
    """

    coarse: Tensor  # (h, w, 256) float32, image embedding at unit length
    detail: Tensor  # (192, gh, gw) float32

    @classmethod
    def of(cls, embedding: ImageEmbedding) -> AppearanceGrid:
        """The grid of a frame.

        Raises:
            ValueError: the embedding was made without detail features.
        """
        if embedding.detail is None:
            raise ValueError("tracking needs detail features: make the embedding with Predictor.encode")
        features = embedding.features[0].float()
        # PyTorch transposes a matrix twice as fast as it permutes three axes.
        coarse = features.flatten(1).T.contiguous().view(*features.shape[1:], -1)
        return cls(functional.normalize(coarse, dim=2, out=coarse), embedding.detail.float()[0])

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
        channels = [self.coarse.shape[2], len(self.detail), 1]
        of_coarse, of_detail, of_bias = torch.split(weights, channels, dim=1)
        coarse = (self.coarse @ of_coarse.T).permute(2, 0, 1)
        smooth = functional.interpolate(coarse[None], self.grid_hw, mode="bilinear")[0]
        detail = (of_detail @ self.detail.flatten(1)).view(len(weights), *self.grid_hw)
        response: Tensor = smooth + detail + BIAS * of_bias[:, :, None]
        return response

    def vectors(self, cells: Tensor) -> Tensor:
        """Vectors (M, C) of the cells with these numbers (M,), counted row by row."""
        rows = torch.div(cells, self.grid_hw[1], rounding_mode="floor")
        corners, shares = self._around(rows, cells % self.grid_hw[1])
        coarse = functional.embedding_bag(
            corners, self.coarse.flatten(0, 1), mode="sum", per_sample_weights=shares
        )
        detail = self.detail.flatten(1).index_select(1, cells).T
        return torch.cat([coarse, detail, torch.full_like(coarse[:, :1], BIAS)], dim=1)

    def _around(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Between which four coarse cells each of M cells lies, and the share of each in it: (M, 4) both."""
        height, width = self.coarse.shape[:2]
        top, bottom, down = _between(rows, self.grid_hw[0], height)
        left, right, along = _between(columns, self.grid_hw[1], width)
        corners = [top * width + left, top * width + right, bottom * width + left, bottom * width + right]
        shares = [(1 - down) * (1 - along), (1 - down) * along, down * (1 - along), down * along]
        return torch.stack(corners, dim=1), torch.stack(shares, dim=1)


def _between(places: Tensor, count: int, coarse_count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The coarse places before and after fine ones, of `count`, and how far towards the latter they lie."""
    at = ((places + 0.5) * (coarse_count / count) - 0.5).clamp(0, coarse_count - 1)
    before = at.long()
    return before, (before + 1).clamp(max=coarse_count - 1), at - before


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The sums a ridge regression needs, class-balanced over one frame."""

    gram: Tensor  # (C, C)
    moment: Tensor  # (C,)

    def mix(self, other: Evidence, share: float) -> Evidence:
        """`share` of the other and the rest of this."""
        gram = torch.lerp(self.gram, other.gram, share)
        return Evidence(gram, torch.lerp(self.moment, other.moment, share))

    def solve(self, start: Tensor | None = None) -> Tensor:
        """The regression's weights (C,): exactly, or from a `start` (C,) near them, a fair way towards them.

        Some steps of conjugate gradients, preconditioned by the diagonal, come as near as tracking needs for
        less than half of the work, as in Danelljan et al., "ECO", CVPR 2017.
        """
        diagonal = self.gram.diagonal()
        ridge = RIDGE * diagonal.mean()
        if start is not None:
            return self._approach(start, ridge, 1 / (diagonal + ridge))
        gram = self.gram.clone()
        gram.diagonal().add_(ridge)
        return torch.cholesky_solve(self.moment[:, None], torch.linalg.cholesky(gram))[:, 0]

    def _approach(self, weights: Tensor, ridge: Tensor, scale: Tensor) -> Tensor:
        residual = self.moment - self.gram.mv(weights) - ridge * weights
        scaled = direction = scale * residual
        energy = torch.dot(residual, scaled)
        for _ in range(STEPS):
            image = self.gram.mv(direction) + ridge * direction
            length = energy / torch.dot(direction, image).clamp(min=TINY)
            weights = weights + length * direction
            residual = residual - length * image
            scaled = scale * residual
            before, energy = energy, torch.dot(residual, scaled)
            direction = scaled + energy / before.clamp(min=TINY) * direction
        return weights


def gather_evidence(
    grid: AppearanceGrid, soft: Tensor, trust: Tensor | None = None, most: int = MOST_CELLS
) -> Evidence:
    """Evidence from a frame whose object covers `soft` (gh, gw), 0..1, of each cell.

    Args:
        grid: the frame's vectors.
        soft: the object's share of each cell.
        trust: (gh, gw), how much each cell counts; None if all count the same.
        most: cells of the object, and of the rest, that teach.
    """
    share = soft.flatten().to(grid.device)
    on_object = share > OBJECT_SHARE
    order = shuffled_cells(len(share), grid.device)
    sides = [order[on_object[order]], order[~on_object[order]]]
    cells = torch.cat([side[:most] for side in sides])
    # A cell stands for those of its side that were left out.
    sure = torch.cat([share.new_full((min(len(side), most),), max(1.0, len(side) / most)) for side in sides])
    vectors, share = grid.vectors(cells), share[cells]
    if trust is not None:
        sure = sure * trust.flatten().to(share)[cells]
    weight = _half(sure * share) + _half(sure * (1 - share))
    weighted = (vectors * weight[:, None]).T  # (C, M)
    return Evidence(weighted @ vectors, weighted @ (2 * share - 1))


def _half(weight: Tensor) -> Tensor:
    return 0.5 * weight / weight.sum().clamp(min=1e-3)


@lru_cache(maxsize=8)
def shuffled_cells(cells: int, device: torch.device) -> Tensor:
    """Numbers of cells (N,) in a random order, the same for every frame, object and run."""
    return torch.randperm(cells, generator=torch.Generator().manual_seed(0)).to(device)


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """What the user showed of an object."""

    evidence: Evidence
    gain: Tensor  # (), by which responses are multiplied
    offset: Tensor  # (), which is then added to them

    @classmethod
    def of(cls, grid: AppearanceGrid, soft: Tensor, is_exact: bool) -> Anchor:
        """Of a frame whose object covers `soft` (gh, gw), 0..1, of each cell.

        Args:
            grid: the frame's vectors.
            soft: the object's share of each cell.
            is_exact: whether the user gave that mask, so that where it is hard to believe it is no error.
        """
        share = soft.to(grid.device)
        evidence = gather_evidence(grid, share, most=MOST_ANCHOR_CELLS)
        if is_exact:
            return cls._balanced(grid, share, evidence)
        return cls(evidence, gain=share.new_ones(()), offset=share.new_zeros(()))

    @classmethod
    def _balanced(cls, grid: AppearanceGrid, share: Tensor, first: Evidence) -> Anchor:
        """Learned anew: a cell counts for as much as a first regression missed its side.

        That is boosting's idea (Freund, Schapire, 1997). What results is brought towards balance, since a
        regression on few unlike cells leans to the side that is more of a kind.
        """
        response = grid.respond(first.solve()[None])[0]
        miss = (1 - (2 * share - 1).sign() * response).clamp(0, MOST_MISS)
        evidence = gather_evidence(grid, share, EASY + miss, MOST_ANCHOR_CELLS)
        response = grid.respond(evidence.solve()[None])[0]
        inside = _mean(response, share * (share > OBJECT_SHARE))
        outside = _mean(response, 1 - share)
        gain = 2 / (inside - outside).clamp(min=LEAST_CONTRAST)
        return cls(evidence, 1 + BALANCE * (gain - 1), -BALANCE * gain * (inside + outside) / 2)

    def mix(self, other: Anchor, share: float) -> Anchor:
        """`share` of the other and the rest of this."""
        return Anchor(
            self.evidence.mix(other.evidence, share),
            torch.lerp(self.gain, other.gain, share),
            torch.lerp(self.offset, other.offset, share),
        )


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-3)


class AppearanceMemory:
    """One object's looks: an anchor from the user and a running mean of what was seen since.

    Args:
        anchor: from the frame on which the user showed the object.
        anchor_weight: weight of the anchor against the running mean.
    """

    def __init__(self, anchor: Anchor, anchor_weight: float) -> None:
        self._anchor = anchor
        self._anchor_weights = anchor.evidence.solve()
        self._anchors = 1
        self._recent: Evidence | None = None
        self._weights = self._anchor_weights
        self._is_solved = True  # whether they are up to date: they are solved for when they are asked for
        self._anchor_weight = anchor_weight

    def add_anchor(self, anchor: Anchor) -> None:
        """Learn from a correction by the user; every anchor counts the same."""
        self._anchors += 1
        self._anchor = self._anchor.mix(anchor, 1 / self._anchors)
        self._anchor_weights = self._anchor.evidence.solve()
        self._weights, self._is_solved = self._known().solve(), True

    def learn(self, evidence: Evidence, rate: float) -> None:
        """Learn from the tracker's own output, which gets the share `rate` of the running mean."""
        if self._recent is None:
            self._recent = evidence
        else:
            self._recent = self._recent.mix(evidence, rate)
        self._is_solved = False

    def respond(self, grid: AppearanceGrid) -> tuple[Tensor, Tensor]:
        """How much each cell looks like the object, about +1 on it and -1 off it.

        Returns:
            By all that is known of it, and by what the user showed alone; (gh, gw) each.
        """
        if not self._is_solved:
            self._weights, self._is_solved = self._known().solve(start=self._weights), True
        responses = grid.respond(torch.stack([self._weights, self._anchor_weights]))
        now, as_shown = responses * self._anchor.gain + self._anchor.offset
        return now, as_shown

    def _known(self) -> Evidence:
        """All that is known of it."""
        anchor = self._anchor.evidence
        return (self._recent or anchor).mix(anchor, self._anchor_weight)
