"""MobileSAM: image encoder, prompt encoder and mask decoder joined, tensors in and out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .mask_decoder import MaskDecoder
from .prompt_encoder import PromptBatch, PromptEncoder
from .tiny_vit import PATCH_PX, TinyVitEncoder

EDGE_WEIGHT = 0.5  # of the first stage beside the second in the detail features
SMALL_INPUT_PX = 640  # long side up to which detail is as fine as the first stage


class MobileSam(nn.Module):
    """The networks without any state of their own: the same input gives the same output, in any order."""

    pixel_mean: Tensor  # (3, 1, 1)
    pixel_std: Tensor  # (3, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = TinyVitEncoder()
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()
        mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
        self.register_buffer("pixel_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pixel_mean.device

    def preprocess(self, rgb: Tensor, input_hw: tuple[int, int]) -> Tensor:
        """Normalise RGB (B, 3, h, w) in 0..255, then pad right and bottom with zeros -> (B, 3, *input_hw)."""
        pixels = (rgb - self.pixel_mean) / self.pixel_std
        height, width = input_hw
        return functional.pad(pixels, (0, width - rgb.shape[3], 0, height - rgb.shape[2]))

    def encode(self, pixels: Tensor) -> Tensor:
        """Image embedding (B, 256, H/16, W/16) of preprocessed pixels (B, 3, H, W)."""
        embedding: Tensor = self.image_encoder(pixels)
        return embedding

    def encode_for_tracking(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The image embedding, and detail (B, 192, gh, gw): what its first two stages saw, at unit length.

        The second stage tells parts apart that the image embedding blurs; the first adds edges and colour.
        Detail has the second stage's stride of 8; for a small input the first's of 4, so that what is told
        apart in the picture does not depend on the input's size.
        """
        embedding, stages = self.encode_stages(pixels)
        edges, parts = stages[0], functional.normalize(stages[1])
        if max(pixels.shape[2:]) > SMALL_INPUT_PX:
            edges = functional.avg_pool2d(edges, 2)
        else:
            height, width = edges.shape[2:]
            parts = functional.interpolate(parts, (height, width), mode="bilinear")
        edges = functional.normalize(edges)
        return embedding, functional.normalize(torch.cat([parts, EDGE_WEIGHT * edges], dim=1))

    def encode_stages(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The image embedding and the encoder's stages: strides 4, 8, 16, 16; channels 64, 128, 160, 320."""
        return self.image_encoder.forward_stages(pixels)

    def decode(
        self, features: Tensor, prompts: PromptBatch, token_mask: Tensor | None, outputs: slice
    ) -> tuple[Tensor, Tensor]:
        """Low-res logits (P, C, 4h, 4w) and predicted IoU (P, C) of P prompts, C mask tokens each.

        There is no branch on data in it, so that it can be exported.

        Args:
            features: image embedding (1, 256, h, w) shared by all prompts, or (P, 256, h, w), one each, or
                (I, 256, h, w), where the prompts say which of them they are on.
            prompts: P prompts of N tokens.
            token_mask: (P, N) bool, False for padding; None when nothing is padded.
            outputs: which mask tokens to decode: SINGLE_MASK, MULTIMASK or ALL_MASKS.
        """
        grid_hw = (features.shape[2], features.shape[3])
        sparse = self.prompt_encoder.sparse(prompts, PATCH_PX * max(grid_hw))
        image = prompts.pick_images(features) + self.prompt_encoder.dense(prompts)
        image_pe = self.prompt_encoder.grid_positions(grid_hw)
        decoded: tuple[Tensor, Tensor] = self.mask_decoder(image, image_pe, sparse, token_mask, outputs)
        return decoded
