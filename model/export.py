"""The networks as files that run without PyTorch, compared with PyTorch before they are handed over."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import prompt_encoder
from .errors import EngineError
from .graphs import Graph, graphs_of
from .mobile_sam import MobileSam
from .onnx_build import import_onnxruntime, write_onnx
from .openvino_build import build_openvino, import_openvino

TOLERANCE = 1e-3  # max abs, of every output
OPEN_SIZE = "tokens"  # stands for the one size that is left open

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A way to write a graph, and to run what was written."""

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[Graph, tuple[int, int], Path], None]
    run: Callable[[Path, dict[str, Array]], Sequence[Array]]


@dataclass(frozen=True, slots=True)
class Exported:
    """A network that was written."""

    path: Path
    gaps: dict[str, float]  # max abs difference from PyTorch, by output


def export_networks(
    model: MobileSam, folder: Path, file_format: str, input_hw: tuple[int, int]
) -> list[Exported]:
    """Write encoder, decoder and their description into a folder, all or nothing.

    Args:
        model: the networks, on the CPU.
        folder: exists; files of the same names are replaced.
        file_format: one of FORMATS.
        input_hw: the model input's (h, w) px, multiples of 16: the files take no other size.

    Raises:
        EngineError: a package is missing, or what was written computes something else.
        OSError: the folder takes no files.
    """
    chosen = FORMATS[file_format]
    for package in chosen.packages:
        if importlib.util.find_spec(package) is None:
            raise EngineError(f"export to {file_format} needs {package}: pip install 'maskstream[export]'")
    size = f"{input_hw[1]}x{input_hw[0]}"
    with tempfile.TemporaryDirectory(dir=folder) as staging:
        done = []
        for graph in graphs_of(model):
            path = Path(staging) / f"{graph.name}-{size}{chosen.suffix}"
            chosen.write(graph, input_hw, path)
            done.append(Exported(folder / path.name, _gaps(chosen, graph, input_hw, path)))
        description = json.dumps(_description(model, input_hw, chosen.suffix), indent=1) + "\n"
        (Path(staging) / f"networks-{size}{chosen.suffix}.json").write_text(description)
        for path in Path(staging).iterdir():
            path.replace(folder / path.name)
    return done


def _gaps(chosen: FileFormat, graph: Graph, input_hw: tuple[int, int], path: Path) -> dict[str, float]:
    example = graph.example(input_hw)
    inputs = {name: tensor.numpy() for name, tensor in zip(graph.inputs, example, strict=True)}
    with torch.inference_mode():
        expected = graph.expected(*example)
    pairs = zip(graph.outputs, chosen.run(path, inputs), expected, strict=True)
    gaps = {name: float(np.abs(found - right.numpy()).max()) for name, found, right in pairs}
    for name, gap in gaps.items():
        if not gap <= TOLERANCE:  # so that NaN is one too
            raise EngineError(
                f"the exported {graph.name} computes wrongly: its {name} is off by {gap:.2g}, "
                f"where {TOLERANCE} is allowed; nothing was written; try the other format"
            )
    return gaps


def _description(model: MobileSam, input_hw: tuple[int, int], suffix: str) -> dict[str, object]:
    """What a program needs to know to use the files, as JSON."""
    networks = {}
    for graph in graphs_of(model):
        example = graph.example(input_hw)
        open_sizes = graph.dynamic_shapes or [{}] * len(example)
        networks[graph.name] = {
            "file": f"{graph.name}-{input_hw[1]}x{input_hw[0]}{suffix}",
            "inputs": {
                name: {"dtype": str(tensor.numpy().dtype), "shape": _shape(tensor.shape, sizes)}
                for name, tensor, sizes in zip(graph.inputs, example, open_sizes, strict=True)
            },
            "outputs": list(graph.outputs),
        }
    labels = ("BACKGROUND", "FOREGROUND", "BOX_TOP_LEFT", "BOX_BOTTOM_RIGHT", "NOT_A_POINT")
    mean, std = (
        [round(x, 3) for x in part.flatten().tolist()] for part in (model.pixel_mean, model.pixel_std)
    )
    return {
        "input_hw": list(input_hw),
        "pixel_mean": mean,
        "pixel_std": std,
        "labels": {name.lower(): getattr(prompt_encoder, name) for name in labels},
        "networks": networks,
    }


def _shape(sizes: Sequence[int], open_sizes: dict[int, object]) -> list[int | str]:
    return [OPEN_SIZE if which in open_sizes else size for which, size in enumerate(sizes)]


def _run_onnx(path: Path, inputs: dict[str, Array]) -> Sequence[Array]:
    session = import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: Sequence[Array] = session.run(None, inputs)
    return outputs


def _write_openvino(graph: Graph, input_hw: tuple[int, int], path: Path) -> None:
    import_openvino().save_model(build_openvino(graph, input_hw), path, compress_to_fp16=False)


def _run_openvino(path: Path, inputs: dict[str, Array]) -> Sequence[Array]:
    compiled = import_openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled(inputs).values())


FORMATS = {
    "onnx": FileFormat(".onnx", ("onnxscript", "onnxruntime"), write_onnx, _run_onnx),
    "openvino": FileFormat(".xml", ("openvino",), _write_openvino, _run_openvino),
}
