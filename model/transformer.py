"""Two-way attention: prompt tokens read the image, the image reads the tokens, twice.

Letters in comments: P prompts, I images (1 shared by all prompts, or P), T tokens, S = h * w image cells.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its input."""

    def __init__(self, dim: int, inner_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(dim, inner_dim)
        self.v_proj = nn.Linear(dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Attend from query (P or 1, L, dim) to key and value (P or 1, M, dim) -> (P, L, dim).

        A batch of 1 is projected once and shared. `key_mask` (P, 1, 1, M) is True where a key takes part.
        """
        q = self._split_heads(self.q_proj(query))
        k = self._split_heads(self.k_proj(key))
        v = self._split_heads(self.v_proj(value))
        batch = q.shape[0] if k.shape[0] == 1 else k.shape[0]
        q, k, v = (x.expand(batch, -1, -1, -1) for x in (q, k, v))
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=key_mask)
        projected: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return projected

    def _split_heads(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        heads = x.reshape(batch, length, self.num_heads, dim // self.num_heads)
        return heads.transpose(1, 2)  # (P, heads, L, dim / heads)


class Mlp(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.lin2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        out: Tensor = self.lin2(functional.relu(self.lin1(x)))
        return out


class TwoWayBlock(nn.Module):
    """Tokens attend to each other, then to the image, think, and the image attends back to them."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(dim, dim, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, dim // 2, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, dim // 2, num_heads)
        self.norm4 = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor, token_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One round: tokens (P, T, dim), image (I, S, dim) -> tokens (P, T, dim), image (P, S, dim)."""
        tokens = self.norm1(self._attend_to_each_other(tokens, token_pe, token_mask))
        image_keys = image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, image_keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        read_back = self.cross_attn_image_to_token(image_keys, tokens + token_pe, tokens, token_mask)
        return tokens, self.norm4(image + read_back)

    def _attend_to_each_other(self, tokens: Tensor, token_pe: Tensor, token_mask: Tensor | None) -> Tensor:
        # The first block's tokens still are their own positional encoding: SAM adds no other, no residual.
        placed = tokens if self.is_first else tokens + token_pe
        attended: Tensor = self.self_attn(placed, placed, tokens, token_mask)
        return attended if self.is_first else tokens + attended


class TwoWayTransformer(nn.Module):
    """SAM's mask decoder transformer."""

    def __init__(self, dim: int = 256, depth: int = 2, num_heads: int = 8, mlp_dim: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, num_heads, mlp_dim, i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(dim, dim // 2, num_heads)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, token_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the tokens know of the image, and the image of the tokens.

        Args:
            image: (I, S, dim), I = 1 where all prompts share one image and one dense prompt, else P.
            image_pe: (1, S, dim).
            tokens: (P, T, dim).
            token_mask: (P, T) bool, True for real tokens, False for padding; None when nothing is padded.

        Returns:
            tokens (P, T, dim) and image (P, S, dim).
        """
        token_pe = tokens
        key_mask = None if token_mask is None else token_mask[:, None, None, :]  # (P, 1, 1, T)
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe, key_mask)
        read = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        read_tokens: Tensor = self.norm_final_attn(tokens + read)
        return read_tokens, image


def flatten_grid(grid: Tensor) -> Tensor:
    """(I, dim, h, w) -> (I, h * w, dim)."""
    return grid.flatten(2).transpose(1, 2)


def unflatten_grid(cells: Tensor, hw: tuple[int, int]) -> Tensor:
    """(P, h * w, dim) -> (P, dim, h, w)."""
    batch, _, dim = cells.shape
    return cells.transpose(1, 2).reshape(batch, dim, *hw)
