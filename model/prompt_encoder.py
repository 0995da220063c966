"""Points, boxes and mask logits -> sparse and dense embeddings. Prompts of all kinds share one batch.

A box is two points with labels of their own, and padding is a label too, so a batch of mixed prompts is just
coordinates (P, N, 2) with labels (P, N).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from .channel_norm import ChannelNorm

PADDING = -2  # no token at all: masked out in attention
NOT_A_POINT = -1  # the one token that SAM adds to points which come without a box
BACKGROUND, FOREGROUND = 0, 1
BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = 2, 3


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

    def sparse(self, points_xy: Tensor, labels: Tensor, long_side_px: int) -> Tensor:
        """One token per point: points_xy (P, N, 2) px of the model input, labels (P, N) -> (P, N, dim)."""
        # SAM was trained on pixel centres, so points shift by half a pixel.
        positions = self.pe_layer((points_xy + 0.5) / long_side_px)
        positions = torch.where((labels >= 0)[..., None], positions, 0.0)
        return positions + self._label_table()[labels - PADDING]

    def _label_table(self) -> Tensor:
        """(6, dim): what each label adds to a position, from PADDING to BOX_BOTTOM_RIGHT."""
        not_a_point = self.not_a_point_embed.weight
        points = [cast(nn.Embedding, embedding).weight for embedding in self.point_embeddings]
        return torch.cat([torch.zeros_like(not_a_point), not_a_point, *points])

    def dense(self, mask_logits: Tensor | None, has_mask: Tensor | None = None) -> Tensor:
        """What is added to the image embedding: (P, dim, h, w), or (1, dim, 1, 1) where no prompt has a mask.

        Args:
            mask_logits: (P, 1, 4h, 4w) or None.
            has_mask: (P,) bool, False for prompts whose logits are to be ignored; None means all have one.
        """
        no_mask = self.no_mask_embed.weight[..., None, None]  # (1, dim, 1, 1)
        if mask_logits is None:
            return no_mask
        embedded: Tensor = self.mask_downscaling(mask_logits)
        return embedded if has_mask is None else torch.where(has_mask[:, None, None, None], embedded, no_mask)

    def grid_positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """Positional encoding (1, dim, h, w) of the image embedding's cells: a crop of the square layout."""
        height, width = grid_hw
        device = self.no_mask_embed.weight.device
        ys, xs = (torch.arange(n, device=device, dtype=torch.float32) + 0.5 for n in grid_hw)
        xy = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1) / max(height, width)  # (h, w, 2)
        positions: Tensor = self.pe_layer(xy)
        return positions.permute(2, 0, 1)[None]
