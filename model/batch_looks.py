"""What many objects look like, a row each: appearance.py's regressions as batches of matrices.

Letters in comments: N rows, C components of a cell's vector, L cells, M of them that teach.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .appearance import (
    MOST_CELLS,
    OBJECT_SHARE,
    RIDGE,
    STEPS,
    TINY,
    Anchor,
    AppearanceGrid,
    Evidence,
    shuffled_cells,
)


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Of each row what `AppearanceMemory` keeps, in tensors that stay where they are."""

    anchor_gram: Tensor  # (N, C, C)
    anchor_moment: Tensor  # (N, C)
    anchor_weights: Tensor  # (N, C), by what the user showed alone
    gain: Tensor  # (N,), see `Anchor`
    offset: Tensor  # (N,), likewise
    recent_gram: Tensor  # (N, C, C), a running mean
    recent_moment: Tensor  # (N, C)
    has_recent: Tensor  # (N,) bool
    weights: Tensor  # (N, C), by all that is known

    @classmethod
    def blank(cls, rows: int, channels: int, device: torch.device) -> Looks:
        """Of no objects."""

        def zeros(*size: int) -> Tensor:
            return torch.zeros(rows, *size, device=device)

        return cls(
            anchor_gram=zeros(channels, channels),
            anchor_moment=zeros(channels),
            anchor_weights=zeros(channels),
            gain=zeros(),
            offset=zeros(),
            recent_gram=zeros(channels, channels),
            recent_moment=zeros(channels),
            has_recent=torch.zeros(rows, dtype=torch.bool, device=device),
            weights=zeros(channels),
        )

    def show(self, row: int, anchor: Anchor, anchors: int, anchor_weight: float) -> None:
        """What the user shows of the row's object; with this it was shown so many times.

        See `AppearanceMemory`, and its `add_anchor`.
        """
        if anchors > 1:
            evidence = Evidence(self.anchor_gram[row], self.anchor_moment[row])
            anchor = Anchor(evidence, self.gain[row], self.offset[row]).mix(anchor, 1 / anchors)
        else:
            self.has_recent[row] = False
        self.anchor_gram[row], self.anchor_moment[row] = anchor.evidence.gram, anchor.evidence.moment
        self.anchor_weights[row] = anchor.evidence.solve()
        self.gain[row], self.offset[row] = anchor.gain, anchor.offset
        gram, moment = (one[row] for one in self._known(anchor_weight))
        self.weights[row] = Evidence(gram, moment).solve()

    def respond(self, grid: AppearanceGrid) -> tuple[Tensor, Tensor]:
        """See `AppearanceMemory.respond`; (N, gh, gw) each."""
        responses = grid.respond(torch.cat([self.weights, self.anchor_weights]))
        gain, offset = (one.repeat(2)[:, None, None] for one in (self.gain, self.offset))
        now, as_shown = (gain * responses + offset).chunk(2)
        return now, as_shown

    def learn(self, gram: Tensor, moment: Tensor, rate: Tensor, learns: Tensor, anchor_weight: float) -> None:
        """Evidence of the rows that learn (N,) gets the share `rate` (N,) of their running mean.

        Args:
            gram: (N, C, C).
            moment: (N, C).
            rate: (N,), 0..1.
            learns: (N,) bool; the other rows stay as they are.
            anchor_weight: of what the user showed against the running mean.
        """
        share = torch.where(self.has_recent, rate, 1.0) * learns
        self.recent_gram.lerp_(gram, share[:, None, None])
        self.recent_moment.lerp_(moment, share[:, None])
        self.has_recent.logical_or_(learns)
        solved = _approached(*self._known(anchor_weight), self.weights)
        self.weights.copy_(torch.where(learns[:, None], solved, self.weights))

    def _known(self, anchor_weight: float) -> tuple[Tensor, Tensor]:
        """All that is known of each: (N, C, C), (N, C)."""
        share = torch.where(self.has_recent, anchor_weight, 1.0)
        gram = torch.lerp(self.recent_gram, self.anchor_gram, share[:, None, None])
        return gram, torch.lerp(self.recent_moment, self.anchor_moment, share[:, None])


def _approached(gram: Tensor, moment: Tensor, weights: Tensor) -> Tensor:
    """Steps of conjugate gradients from weights (N, C), as `Evidence.solve` takes for one object."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal.add_(RIDGE * diagonal.mean(dim=1, keepdim=True))
    scale = 1 / diagonal.clamp(min=TINY)
    residual = moment - _times(gram, weights)
    direction = scale * residual
    energy = _dot(residual, direction)
    for _ in range(STEPS):
        image = _times(gram, direction)
        length = energy / _dot(direction, image).clamp(min=TINY)
        weights = torch.addcmul(weights, length, direction)
        residual = torch.addcmul(residual, length, image, value=-1)
        scaled = scale * residual
        before, energy = energy, _dot(residual, scaled)
        direction = torch.addcmul(scaled, energy / before.clamp(min=TINY), direction)
    return weights


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return torch.bmm(matrices, vectors[:, :, None])[:, :, 0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(N, 1) of (N, C) both."""
    return torch.bmm(a[:, None], b[:, :, None])[:, :, 0]


def gather_evidence(
    grid: AppearanceGrid, order_of: Tensor, soft: Tensor, trust: Tensor
) -> tuple[Tensor, Tensor]:
    """See `appearance.gather_evidence`: (N, C, C) and (N, C) from one frame, for all rows.

    Args:
        grid: the frame's vectors.
        order_of: (L,) float32, see `places_in_order`.
        soft: (N, gh, gw), 0..1, each row's share of each cell.
        trust: (N, gh, gw), 0..1, how sure that share is.
    """
    share = soft.flatten(1)
    cells, sure = _teachers(share > OBJECT_SHARE, order_of)
    vectors = grid.vectors(cells.flatten()).view(*cells.shape, -1)  # (N, M, C)
    share, sure = share.gather(1, cells), sure * trust.flatten(1).gather(1, cells)
    weight = _half(sure * share) + _half(sure * (1 - share))
    weighted = vectors * weight.sqrt()[:, :, None]
    moment = torch.bmm((weight * (2 * share - 1))[:, None], vectors)[:, 0]
    return torch.bmm(weighted.transpose(1, 2), weighted), moment


def places_in_order(cells: int, device: torch.device) -> Tensor:
    """(L,) float32, for each cell how far back it stands in the shuffled order."""
    return shuffled_cells(cells, device).argsort().float()


def _teachers(on_object: Tensor, order_of: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the cells (N, M) that teach, first those on the object (N, L), and for how many each stands.

    Where a side has fewer cells than teach, others fill its places and stand for none.
    """
    count = on_object.shape[1]
    most = min(MOST_CELLS, count)
    cells, sure = [], []
    for side in (on_object, ~on_object):
        behind = torch.where(side, order_of, order_of + count)
        chosen = behind.topk(most, largest=False, sorted=False).indices
        stands_for = (side.sum(dim=1, keepdim=True) / MOST_CELLS).clamp(min=1)
        cells.append(chosen)
        sure.append(side.gather(1, chosen) * stands_for)
    return torch.cat(cells, dim=1), torch.cat(sure, dim=1)


def _half(weight: Tensor) -> Tensor:
    return 0.5 * weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-3)
