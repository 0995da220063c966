"""ONNX Runtime on a CPU: for machines that OpenVINO has no wheel for, or that have it anyway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import onnx_build
from .errors import EngineError
from .graph_engine import GraphEngine, Notify
from .graphs import Graph
from .mobile_sam import MobileSam
from .onnx_build import import_onnxruntime, write_onnx

TOLERANCE = 1e-4  # see `Engine.tolerance`
PACKAGES = ("onnxruntime", "onnxscript")  # the second one translates the networks
_MODEL = "network.onnx"
_NO_CHATTER = 3  # severity from which on the runtime logs: errors


class Network:
    """One session. May be called from several threads."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = [port.name for port in session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs for float or integer tensors on the CPU."""
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        outputs = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        return tuple(torch.from_numpy(array) for array in outputs)


class OnnxRuntimeEngine(GraphEngine):
    """Runs MobileSAM by ONNX Runtime on the CPU; see `Engine` and `GraphEngine`.

    Args:
        model: the networks, on the CPU.
        folder: where built networks are kept; None keeps them in memory only.
        threads: CPU threads; None: one for each core.
        notify: takes sentences for the user; the log, if not given.

    Raises:
        EngineError: ONNX Runtime cannot be used here.
    """

    name = "onnxruntime"
    runtime = "ONNX Runtime"
    tolerance = TOLERANCE
    code = (onnx_build,)
    makers = (*PACKAGES, "onnx", "torch", "timm")

    def __init__(
        self,
        model: MobileSam,
        folder: Path | None = None,
        threads: int | None = None,
        notify: Notify | None = None,
    ) -> None:
        try:
            self._runtime = import_onnxruntime()
        except ImportError as error:
            raise EngineError(
                f"engine onnxruntime cannot start ({error}); pip install 'maskstream[onnxruntime]', "
                "or use --engine torch"
            ) from error
        super().__init__(model, folder, notify)
        self._options = self._runtime.SessionOptions()
        self._options.intra_op_num_threads = threads or 0  # 0: one for each core
        self._options.log_severity_level = _NO_CHATTER
        # Threads that wait for work would spin, and take the cores from decoding, drawing and other programs.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    def _write(self, graph: Graph, input_hw: tuple[int, int], folder: Path) -> None:
        write_onnx(graph, input_hw, folder / _MODEL)

    def _read(self, folder: Path) -> Network:
        return Network(
            self._runtime.InferenceSession(folder / _MODEL, self._options, providers=["CPUExecutionProvider"])
        )
