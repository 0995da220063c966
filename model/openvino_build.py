"""Our networks as OpenVINO models: traced by torch, read by OpenVINO's frontend for PyTorch."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

from .graphs import Graph, traced

OpenVINOModel = Any  # openvino has no types that a checker could follow


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

    program = traced(graph, input_hw)
    with torch.inference_mode(False), torch.no_grad():
        module = program.run_decompositions(_decompositions()).module()
    decoder = TorchFXPythonDecoder(module, dynamic_shapes=False)  # has to live until convert() is done
    model = frontend.convert(frontend.load(decoder))
    for port, name in zip(model.outputs, graph.outputs, strict=True):
        port.get_tensor().set_names({name})
    return model


def _decompositions() -> Any:
    """What torch takes apart before OpenVINO reads it: all that OpenVINO does not know as a whole."""
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
    from torch.export.decomp_utils import CustomDecompTable

    table: Any = CustomDecompTable()  # type: ignore[no-untyped-call]
    for operator in ops_to_not_decompose():
        if operator in table:
            table.pop(operator)
    return table
