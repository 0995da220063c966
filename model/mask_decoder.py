"""Image embedding + prompt embeddings -> low-res logits and predicted IoU, many prompts in one batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .channel_norm import ChannelNorm
from .transformer import TwoWayTransformer, flatten_grid, unflatten_grid

NUM_MASK_TOKENS = 4  # 0: the single mask; 1..3: the three candidates of multimask output
SINGLE_MASK, MULTIMASK, ALL_MASKS = slice(0, 1), slice(1, 4), slice(0, 4)


class Head(nn.Module):
    """Three linear layers with ReLUs between."""

    def __init__(self, dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        widths = [(dim, hidden_dim), (hidden_dim, hidden_dim), (hidden_dim, out_dim)]
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in widths)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., out_dim)."""
        first, second, last = self.layers
        out: Tensor = last(functional.relu(second(functional.relu(first(x)))))
        return out


class MaskDecoder(nn.Module):
    """SAM's mask decoder."""

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASK_TOKENS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            ChannelNorm(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        heads = (Head(dim, dim, dim // 8) for _ in range(NUM_MASK_TOKENS))
        self.output_hypernetworks_mlps = nn.ModuleList(heads)
        self.iou_prediction_head = Head(dim, dim, NUM_MASK_TOKENS)

    def forward(
        self,
        image: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        sparse_mask: Tensor | None,
        outputs: slice = SINGLE_MASK,
    ) -> tuple[Tensor, Tensor]:
        """Low-res logits (P, C, 4h, 4w) and predicted IoU (P, C) of the C mask tokens asked for.

        Args:
            image: (I, 256, h, w) image embedding plus dense embedding; I = 1 if all prompts share it, else P.
            image_pe: (1, 256, h, w).
            sparse: (P, N, 256).
            sparse_mask: (P, N) bool, False for padding; None when nothing is padded.
            outputs: which of the four mask tokens to decode: SINGLE_MASK, MULTIMASK or ALL_MASKS.
        """
        tokens, token_mask = self._with_output_tokens(sparse, sparse_mask)  # (P, 1 + 4 + N, 256)
        tokens, cells = self.transformer(flatten_grid(image), flatten_grid(image_pe), tokens, token_mask)
        wanted = range(NUM_MASK_TOKENS)[outputs]
        upscaled = self.output_upscaling(unflatten_grid(cells, (image.shape[2], image.shape[3])))
        heads = self.output_hypernetworks_mlps
        kernels = torch.stack([heads[i](tokens[:, 1 + i]) for i in wanted], dim=1)  # (P, C, 32)
        # Pixels by channels, as OpenVINO keeps them: turning C masks costs less than turning 32 channels.
        pixels = upscaled.permute(0, 2, 3, 1).flatten(1, 2)  # (P, 16hw, 32)
        flat_logits = (pixels @ kernels.transpose(1, 2)).transpose(1, 2)  # (P, C, 16hw)
        low_res_logits = flat_logits.reshape(*flat_logits.shape[:2], *upscaled.shape[2:])
        predicted_iou = self.iou_prediction_head(tokens[:, 0])[:, wanted.start : wanted.stop]
        return low_res_logits, predicted_iou

    def _with_output_tokens(self, sparse: Tensor, sparse_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([outputs.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        if sparse_mask is None:
            return tokens, None
        return tokens, functional.pad(sparse_mask, (len(outputs), 0), value=True)
