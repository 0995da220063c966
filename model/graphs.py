"""The two networks as graphs that leave PyTorch: what goes in and out, by name, for one size of input."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .few_tokens import with_folded_attention
from .mask_decoder import ALL_MASKS
from .mobile_sam import MobileSam
from .prompt_encoder import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PromptBatch
from .tiny_vit import EMBEDDING_DIM, PATCH_PX

_SMALL_HW = (64, 64)


class EncoderGraph(nn.Module):
    """The image encoder for one image. Every size is fixed: runtimes then plan memory and kernels once."""

    name = "encoder"
    inputs = ("pixels",)
    outputs = ("features", "detail")
    dynamic_shapes: Any = None

    def __init__(self, model: MobileSam) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As `MobileSam.encode_for_tracking`."""
        return self.model.encode_for_tracking(pixels)

    def expected(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What it has to compute."""
        return self.model.encode_for_tracking(pixels)

    def example(self, input_hw: tuple[int, int]) -> tuple[Tensor, ...]:
        """Inputs for one image of `input_hw`."""
        return (_noise(1, 3, *input_hw),)


class DecoderGraph(nn.Module):
    """The mask decoder for one prompt of any number of tokens.

    One prompt at a time is quickest on a CPU: its tensors stay in the cache and their sizes are known. Only
    the number of tokens is left open, which costs nothing.
    """

    name = "decoder"
    inputs = ("features", "points_xy", "labels", "mask_logits", "has_mask")
    outputs = ("low_res_logits", "predicted_iou")

    def __init__(self, model: MobileSam) -> None:
        super().__init__()
        self.model = with_folded_attention(model)
        self.plain = (model,)  # in a tuple, or it would be a part of the graph
        tokens = torch.export.Dim("tokens", min=1, max=4096)
        self.dynamic_shapes: Any = ({}, {1: tokens}, {1: tokens}, {}, {})

    def forward(
        self, features: Tensor, points_xy: Tensor, labels: Tensor, mask_logits: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `MobileSam.decode` with ALL_MASKS, for P = 1 and no padding among the tokens."""
        prompt = PromptBatch(points_xy, labels, mask_logits, has_mask)
        return self.model.decode(features, prompt, None, ALL_MASKS)

    def expected(self, features: Tensor, *prompt: Tensor) -> tuple[Tensor, Tensor]:
        """What it has to compute: the same by the model as it is written."""
        return self.plain[0].decode(features, PromptBatch(*prompt), None, ALL_MASKS)

    def example(self, input_hw: tuple[int, int]) -> tuple[Tensor, ...]:
        """Inputs for one prompt on an image of `input_hw`: four points and mask logits."""
        height, width = input_hw
        features = _noise(1, EMBEDDING_DIM, height // PATCH_PX, width // PATCH_PX) / 4
        points_xy = torch.tensor([[[0.2, 0.3], [0.7, 0.8], [0.4, 0.5], [0.9, 0.1]]])
        points_xy *= torch.tensor([width, height])
        labels = torch.tensor([[BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, FOREGROUND, BACKGROUND]])
        return features, points_xy, labels, 4 * _noise(1, 1, height // 4, width // 4), torch.tensor([True])


Graph = EncoderGraph | DecoderGraph


def graphs_of(model: MobileSam) -> tuple[Graph, Graph]:
    """The encoder and the decoder of a model."""
    encoder, decoder = EncoderGraph(model), DecoderGraph(model)
    encoder.eval()
    decoder.eval()
    return encoder, decoder


def traced(graph: Graph, input_hw: tuple[int, int]) -> torch.export.ExportedProgram:
    """The graph as torch sees it, for inputs (h, w) px of this one size."""
    # Of a copy, on the same weights: while torch traces a module, other threads would find no tensors in it.
    tensors: dict[int, object] = {id(tensor): tensor for tensor in (*graph.parameters(), *graph.buffers())}
    graph = copy.deepcopy(graph, tensors)
    with torch.inference_mode(False), torch.no_grad():
        # timm's attention keeps its biases from the first run on, which must not be the one that is traced.
        graph(*graph.example(_SMALL_HW))
        return torch.export.export(graph, graph.example(input_hw), dynamic_shapes=graph.dynamic_shapes)


def _noise(*shape: int) -> Tensor:
    """The same in every run on every machine; noise leaves no part of a network idle."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, np.float32))
