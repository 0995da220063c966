"""The networks once more in 16 bits: half the memory traffic, and the matrix units of GPUs.

What 16 bits would spoil stays in float32: where prompts point, and the sums behind each norm. BatchNorm is
folded into the convolution before it, so that it costs nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from timm.models.tiny_vit import ConvNorm
from torch import Tensor, nn
from torch.nn import functional

from .channel_norm import ChannelNorm
from .mask_decoder import ALL_MASKS
from .mobile_sam import MobileSam
from .prompt_encoder import PromptBatch
from .tiny_vit import PATCH_PX


class FusedChannelNorm(nn.Module):
    """A `ChannelNorm` in one kernel, which sums in float32 whatever the tensors are."""

    def __init__(self, plain: ChannelNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = plain.weight, plain.bias, plain.eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        channels_last = x.permute(0, 2, 3, 1)
        normal = functional.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps)
        return normal.permute(0, 3, 1, 2)


class HalfModel(nn.Module):
    """A copy of a model that computes in `dtype`; float32 goes in and comes out.

    Args:
        model: the networks in float32, which stay as they are.
        dtype: torch.float16, torch.bfloat16, or torch.float32 for the same without a loss.
    """

    def __init__(self, model: MobileSam, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        twin = copy.deepcopy(model)
        _replace(twin, ConvNorm, _folded)
        if dtype is not torch.float32:
            _replace(twin, ChannelNorm, _fused)
        twin.to(device=model.device, dtype=dtype)  # folding leaves tensors on the CPU
        twin.image_encoder.to(memory_format=torch.channels_last)
        twin.prompt_encoder = copy.deepcopy(model.prompt_encoder)
        if dtype is not torch.float32:
            _replace(twin.prompt_encoder, ChannelNorm, _fused)
        self.twin = twin.eval().requires_grad_(False)
        self._positions: dict[tuple[int, int], Tensor] = {}  # of image cells, by the grid's size

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As `MobileSam.encode_for_tracking`."""
        in_dtype = pixels.to(self.dtype, memory_format=torch.channels_last)
        features, detail = self.twin.encode_for_tracking(in_dtype)
        return features.float(), detail.float()

    def decode(
        self, features: Tensor, prompts: PromptBatch, token_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `MobileSam.decode` with ALL_MASKS."""
        encoder, grid_hw = self.twin.prompt_encoder, (features.shape[2], features.shape[3])
        sparse = encoder.sparse(prompts, PATCH_PX * max(grid_hw)).to(self.dtype)
        image = (prompts.pick_images(features) + encoder.dense(prompts)).to(self.dtype)
        image_pe = self._grid_positions(grid_hw)
        logits, predicted_iou = self.twin.mask_decoder(image, image_pe, sparse, token_mask, ALL_MASKS)
        return logits.float(), predicted_iou.float()

    def _grid_positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """Made once, for a GPU takes longer to begin each of its small steps than to do it."""
        if grid_hw not in self._positions:
            self._positions[grid_hw] = self.twin.prompt_encoder.grid_positions(grid_hw).to(self.dtype)
        return self._positions[grid_hw]


def _folded(norm: nn.Module) -> nn.Module:
    assert isinstance(norm, ConvNorm)
    convolution: nn.Module = norm.fuse()
    return convolution


def _fused(norm: nn.Module) -> nn.Module:
    assert isinstance(norm, ChannelNorm)
    return FusedChannelNorm(norm)


def _replace(module: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> None:
    """Put another module in the place of each of one kind."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            module.add_module(name, make(child))
        else:
            _replace(child, kind, make)
