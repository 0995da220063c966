"""Points, boxes and mask logits -> sparse and dense embeddings. Prompts of all kinds share one batch.

A box is two points with labels of their own, and padding is a label too, so mixed prompts are just
coordinates (P, N, 2) with labels (P, N).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from .channel_norm import ChannelNorm

PADDING = -2  # no token at all: masked out in attention
NOT_A_POINT = -1  # the one token that SAM adds to points which come without a box
BACKGROUND, FOREGROUND = 0, 1
BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class PromptBatch:
    """P prompts in model input space, padded to the same number of tokens N."""

    points_xy: Tensor  # (P, N, 2) float32 px of the model input
    labels: Tensor  # (P, N) int64, see above
    mask_logits: Tensor | None = None  # (P, 1, 4h, 4w) float32; None where no prompt has a mask
    has_mask: Tensor | None = None  # (P,) bool; None where all of them have mask logits, or none has
    # (P,) int64, on which of several images each prompt is; None where all are on one, or each on its own.
    image_index: Tensor | None = None

    def pick_images(self, features: Tensor) -> Tensor:
        """Of image embeddings (I, 256, h, w) each prompt's own (P, 256, h, w); all, where none is told."""
        return features if self.image_index is None else features.index_select(0, self.image_index)

    def with_masks(self, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors, for networks that take mask logits with every prompt, be they blank.

        Args:
            grid_hw: the image embedding's (h, w).
        """
        prompts, device = len(self.labels), self.labels.device
        mask_logits, has_mask = self.mask_logits, self.has_mask
        if has_mask is None:
            has_mask = torch.full((prompts,), mask_logits is not None, device=device)
        if mask_logits is None:
            blank = torch.zeros(1, 1, 4 * grid_hw[0], 4 * grid_hw[1], device=device)
            mask_logits = blank.expand(prompts, -1, -1, -1)
        return self.points_xy, self.labels, mask_logits, has_mask


class FourierPositions(nn.Module):
    """Positions in the unit square as sines and cosines of fixed random frequencies."""

    positional_encoding_gaussian_matrix: Tensor  # (2, dim / 2)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) in 0..1 -> (..., dim)."""
        angles = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Where a prompt points, as the mask decoder reads it.

    Coordinates are px of the model input. They are divided by its long side, also when it is not square: the
    networks were trained on square inputs, of which a shorter one is the top (or left) part.
    """

    def __init__(self, dim: int = 256, mask_dim: int = 16) -> None:
        super().__init__()
        self.pe_layer = FourierPositions(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.no_mask_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_dim // 4, 2, stride=2),
            ChannelNorm(mask_dim // 4),
            nn.GELU(),
            nn.Conv2d(mask_dim // 4, mask_dim, 2, stride=2),
            ChannelNorm(mask_dim),
            nn.GELU(),
            nn.Conv2d(mask_dim, dim, 1),
        )

    def sparse(self, prompts: PromptBatch, long_side_px: int) -> Tensor:
        """One token per point or corner (P, N, dim), on a model input of this long side."""
        # SAM was trained on pixel centres, so points shift by half a pixel.
        positions = self.pe_layer((prompts.points_xy + 0.5) / long_side_px)
        positions = torch.where((prompts.labels >= 0)[..., None], positions, 0.0)
        return positions + self._label_table()[prompts.labels - PADDING]

    def _label_table(self) -> Tensor:
        """(6, dim): what each label adds to a position, from PADDING to BOX_BOTTOM_RIGHT."""
        not_a_point = self.not_a_point_embed.weight
        points = [cast(nn.Embedding, embedding).weight for embedding in self.point_embeddings]
        return torch.cat([torch.zeros_like(not_a_point), not_a_point, *points])

    def dense(self, prompts: PromptBatch) -> Tensor:
        """What is added to image embeddings: (P, dim, h, w); (1, dim, 1, 1) where no prompt has a mask."""
        no_mask = self.no_mask_embed.weight[..., None, None]  # (1, dim, 1, 1)
        if prompts.mask_logits is None:
            return no_mask
        embedded: Tensor = self.mask_downscaling(prompts.mask_logits)
        if prompts.has_mask is None:
            return embedded
        return torch.where(prompts.has_mask[:, None, None, None], embedded, no_mask)

    def grid_positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """Positional encoding (1, dim, h, w) of the image embedding's cells: a crop of the square layout."""
        height, width = grid_hw
        device = self.no_mask_embed.weight.device
        ys, xs = (torch.arange(n, device=device, dtype=torch.float32) + 0.5 for n in grid_hw)
        xy = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1) / max(height, width)  # (h, w, 2)
        positions: Tensor = self.pe_layer(xy)
        return positions.permute(2, 0, 1)[None]
