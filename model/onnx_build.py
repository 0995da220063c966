"""Our networks as ONNX files: traced by torch, translated by onnxscript."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .graphs import Graph, traced


def import_onnxruntime() -> Any:
    """The onnxruntime module, told not to report to its maker, which it does on Windows."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def write_onnx(graph: Graph, input_hw: tuple[int, int], path: Path) -> None:
    """The graph as an ONNX file for inputs (h, w) px of this one size."""
    program = torch.onnx.export(
        traced(graph, input_hw), dynamo=True, verbose=False, output_names=list(graph.outputs)
    )
    assert program is not None  # it is, without a file name
    program.save(path)
