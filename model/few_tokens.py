"""Cross attention between few tokens and many image cells, folded so that no cell is projected.

Attention projects both sides to inner vectors. Where one side has a handful of tokens, it is cheaper to bring
the projection of the other side's many cells over to the tokens: q . (W_k x) = (W_k^T q) . x. The result is
the same but for rounding. On a CPU this takes a third off the mask decoder's time.

Letters in comments: P prompts, T tokens, S image cells, h heads, d inner width of a head, D = 256.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from .mobile_sam import MobileSam
from .transformer import Attention, TwoWayBlock


class FoldedAttention(nn.Module):
    """An `Attention` with its own weights, computed another way."""

    def __init__(self, plain: Attention) -> None:
        super().__init__()
        self.plain = plain
        self.heads = plain.num_heads

    def _project(self, linear: nn.Linear, tokens: Tensor) -> Tensor:
        """Tokens (P, T, D) in each head: (P, h, T, d)."""
        projected: Tensor = linear(tokens)
        return torch.unflatten(projected, 2, (self.heads, -1)).transpose(1, 2)

    def _by_head(self, into_heads: Tensor) -> Tensor:
        """A projection's weight (h * d, D) or bias (h * d, 1) as (h, d, ...)."""
        return torch.unflatten(into_heads, 0, (self.heads, -1))


class TokensReadImage(FoldedAttention):
    """Few queries, many keys."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_mask: None = None) -> Tensor:
        """Tokens (P, T, D) attend to image cells (P, S, D) -> (P, T, D)."""
        plain = self.plain
        q = self._project(plain.q_proj, query) / math.sqrt(plain.q_proj.out_features / self.heads)
        # The keys' bias adds the same to all of a query's scores, so softmax does not see it.
        folded = (q @ self._by_head(plain.k_proj.weight)).flatten(1, 2)  # (P, h * T, D)
        shares = (folded @ key.transpose(1, 2)).softmax(dim=2)  # (P, h * T, S)
        read = torch.unflatten(shares @ value, 1, (self.heads, -1))  # (P, h, T, D)
        v = read @ self._by_head(plain.v_proj.weight).transpose(1, 2)  # (P, h, T, d)
        projected: Tensor = plain.out_proj(v.transpose(1, 2).flatten(2) + plain.v_proj.bias)
        return projected


class ImageReadsTokens(FoldedAttention):
    """Many queries, few keys."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_mask: None = None) -> Tensor:
        """Image cells (P, S, D) attend to tokens (P, T, D) -> (P, S, D)."""
        plain = self.plain
        k = self._project(plain.k_proj, key) / math.sqrt(plain.k_proj.out_features / self.heads)
        folded = (k @ self._by_head(plain.q_proj.weight)).flatten(1, 2)  # (P, h * T, D)
        bias = (k @ self._by_head(plain.q_proj.bias[:, None])).flatten(1)  # (P, h * T)
        scores = query @ folded.transpose(1, 2) + bias[:, None]  # (P, S, h * T)
        shares = torch.unflatten(scores, 2, (self.heads, -1)).softmax(dim=3).flatten(2)
        v = self._project(plain.v_proj, value)  # (P, h, T, d)
        out = (v @ self._by_head(plain.out_proj.weight.T)).flatten(1, 2)  # (P, h * T, D)
        return shares @ out + plain.out_proj.bias


def with_folded_attention(model: MobileSam) -> MobileSam:
    """A model on the same weights whose mask decoder folds its cross attention; it takes no padded tokens."""
    tensors: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, tensors)
    transformer = twin.mask_decoder.transformer
    for block in transformer.layers:
        assert isinstance(block, TwoWayBlock)
        block.add_module("cross_attn_token_to_image", TokensReadImage(block.cross_attn_token_to_image))
        block.add_module("cross_attn_image_to_token", ImageReadsTokens(block.cross_attn_image_to_token))
    last = TokensReadImage(transformer.final_attn_token_to_image)
    transformer.add_module("final_attn_token_to_image", last)
    return twin
