"""Our networks as OpenVINO models: exported by torch for one input size, read by OpenVINO's frontend."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .few_tokens import with_folded_attention
from .mask_decoder import ALL_MASKS
from .mobile_sam import MobileSam
from .prompt_encoder import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND
from .tiny_vit import EMBEDDING_DIM, PATCH_PX

OpenVINOModel = Any  # openvino has no types that a checker could follow

_SMALL_HW = (64, 64)


class EncoderGraph(nn.Module):
    """The image encoder for one image. Every size is fixed: OpenVINO plans memory and kernels once."""

    name = "encoder"
    outputs = ("image embedding", "detail")
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
    outputs = ("low-res logits", "predicted IoU")

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
        return self.model.decode_tokens(features, points_xy, labels, None, mask_logits, has_mask, ALL_MASKS)

    def expected(
        self, features: Tensor, points_xy: Tensor, labels: Tensor, mask_logits: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What it has to compute: `MobileSam.decode` itself."""
        return self.plain[0].decode(features, points_xy, labels, mask_logits, has_mask, ALL_MASKS)

    def example(self, input_hw: tuple[int, int]) -> tuple[Tensor, ...]:
        """Inputs for one prompt on an image of `input_hw`: four points and mask logits."""
        height, width = input_hw
        features = _noise(1, EMBEDDING_DIM, height // PATCH_PX, width // PATCH_PX) / 4
        points_xy = torch.tensor([[[0.2, 0.3], [0.7, 0.8], [0.4, 0.5], [0.9, 0.1]]])
        points_xy *= torch.tensor([width, height])
        labels = torch.tensor([[BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, FOREGROUND, BACKGROUND]])
        return features, points_xy, labels, 4 * _noise(1, 1, height // 4, width // 4), torch.tensor([True])


Graph = EncoderGraph | DecoderGraph


def import_openvino() -> Any:
    """The openvino module, imported without a word to anybody.

    By itself the import reports to its maker through Google Analytics, unless openvino_telemetry is missing:
    then a stub takes its place. Our users were not asked, so it is missing while we import.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules["openvino_telemetry"]
    return importlib.import_module("openvino")


def build_openvino(graph: Graph, input_hw: tuple[int, int]) -> OpenVINOModel:
    """The graph as an OpenVINO model for inputs (h, w) px of this one size."""
    # Not openvino.convert_model: it converts by the deprecated torch.jit.trace, or logs tracebacks.
    frontend = import_openvino().frontend.FrontEndManager().load_by_framework("pytorch")
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with torch.inference_mode(False), torch.no_grad():
        # timm's attention keeps its biases from the first run on, which must not be the export's.
        graph(*graph.example(_SMALL_HW))
        program = torch.export.export(graph, graph.example(input_hw), dynamic_shapes=graph.dynamic_shapes)
        module = program.run_decompositions(_decompositions()).module()
    decoder = TorchFXPythonDecoder(module, dynamic_shapes=False)  # has to live until convert() is done
    return frontend.convert(frontend.load(decoder))


def _noise(*shape: int) -> Tensor:
    """The same in every run on every machine; noise leaves no part of a network idle."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, np.float32))


def _decompositions() -> Any:
    """What torch takes apart before OpenVINO reads it: all that OpenVINO does not know as a whole."""
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
    from torch.export.decomp_utils import CustomDecompTable

    table: Any = CustomDecompTable()  # type: ignore[no-untyped-call]
    for operator in ops_to_not_decompose():
        if operator in table:
            table.pop(operator)
    return table
