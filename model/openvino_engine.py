"""OpenVINO on a CPU: the networks compiled for the size of the input, several times as fast as PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from . import openvino_build
from .errors import EngineError
from .graph_engine import GraphEngine, Notify
from .graphs import Graph
from .mobile_sam import MobileSam
from .openvino_build import build_openvino, import_openvino

Precision = Literal["f32", "bf16"]

TOLERANCES: dict[str, float] = {"f32": 1e-4, "bf16": 0.05}  # see `Engine.tolerance`
_MODEL = "network.xml"  # OpenVINO puts the weights beside it


class Network:
    """One compiled network. May be called from several threads: each call has its own request."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs for float or integer tensors on the CPU."""
        try:
            request = self._idle.pop()
        except IndexError:  # asked for beforehand, it could be gone by now
            request = self._compiled.create_infer_request()
        try:
            results = request.infer([tensor.contiguous().numpy() for tensor in inputs], share_inputs=True)
        finally:
            self._idle.append(request)
        return tuple(torch.from_numpy(array) for array in results.values())


class OpenVINOEngine(GraphEngine):
    """Runs MobileSAM by OpenVINO on the CPU; see `Engine` and `GraphEngine`.

    Args:
        model: the networks, on the CPU.
        folder: where built networks are kept; None keeps them in memory only.
        threads: CPU threads; None: one for each core.
        precision: "bf16" is quicker, on CPUs that compute in it; masks then differ by some pixels.
        notify: takes sentences for the user; the log, if not given.

    Raises:
        EngineError: OpenVINO cannot be used here.
    """

    runtime = "OpenVINO"
    code = (openvino_build,)
    makers = ("openvino", "torch", "timm")

    def __init__(
        self,
        model: MobileSam,
        folder: Path | None = None,
        threads: int | None = None,
        precision: Precision = "f32",
        notify: Notify | None = None,
    ) -> None:
        self._core = _core(precision)  # first: where it is not installed, the rest would not know its version
        super().__init__(model, folder, notify)
        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self.tolerance = TOLERANCES[precision]
        self._settings: dict[str, str | int | bool] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,  # the cores are shared with decoding, drawing and other programs
        }
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads

    def _write(self, graph: Graph, input_hw: tuple[int, int], folder: Path) -> None:
        model = build_openvino(graph, input_hw)
        import_openvino().save_model(model, folder / _MODEL, compress_to_fp16=False)

    def _read(self, folder: Path) -> Network:
        return Network(self._core.compile_model(folder / _MODEL, "CPU", self._settings))


@cache
def _kept(make_core: Callable[[], Any]) -> Any:
    """One for the process, which is never let go of.

    The thread that makes a Core gets a stack for signal handlers from it. Were it let go of in another, that
    stack would be gone, and the next signal, such as Ctrl-C, would end the process by a segmentation fault.
    """
    return make_core()


def _core(precision: Precision) -> Any:
    try:
        core = _kept(import_openvino().Core)
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError) as error:
        raise EngineError(
            f"engine openvino cannot start ({error}); pip install openvino, or use --engine torch"
        ) from error
    if precision == "bf16" and "BF16" not in capabilities:
        raise EngineError(
            "this CPU does not compute in bf16, so it would gain nothing; use --engine openvino"
        )
    return core
