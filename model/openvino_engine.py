"""OpenVINO on a CPU: the networks compiled for the size of the input, several times as fast as PyTorch."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from . import (
    channel_norm,
    few_tokens,
    graphs,
    mask_decoder,
    mobile_sam,
    openvino_build,
    prompt_encoder,
    tiny_vit,
    transformer,
)
from .errors import EngineError
from .graph_store import GraphStore
from .graphs import Graph, graphs_of
from .mask_decoder import SINGLE_MASK
from .mobile_sam import MobileSam
from .openvino_build import build_openvino, import_openvino
from .prompt_encoder import PADDING
from .self_check import check_output
from .tiny_vit import PATCH_PX

Precision = Literal["f32", "bf16"]
Notify = Callable[[str], None]  # takes one plain sentence for the user

TOLERANCES: dict[str, float] = {"f32": 1e-4, "bf16": 0.05}  # see `Engine.tolerance`
MAX_NETWORKS = 8  # compiled ones in memory: an encoder and a decoder for each of four input sizes
# Beside the weights, what the networks are made from and by: a change in any of these makes other networks.
_CODE = (
    *(channel_norm, few_tokens, graphs, mask_decoder, mobile_sam),
    *(openvino_build, prompt_encoder, tiny_vit, transformer),
)
_MAKERS = ("openvino", "torch", "timm")
_MODEL = "network.xml"  # OpenVINO puts the weights beside it
_EXPECTED = "expected.npz"  # what torch gives for the graph's example
_SAMPLED = 7  # one in so many of an output's values is compared

log = logging.getLogger("maskstream")


class Network:
    """One compiled network. May be called from several threads: each call has its own request."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs for float or integer tensors on the CPU."""
        request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        try:
            results = request.infer([tensor.contiguous().numpy() for tensor in inputs], share_inputs=True)
        finally:
            self._idle.append(request)
        return tuple(torch.from_numpy(array) for array in results.values())


class OpenVINOEngine:
    """Runs MobileSAM by OpenVINO on the CPU; see `Engine`.

    The first image of a size waits some seconds for the networks to be built; they are kept on disk, so that
    later runs wait less than one.

    Args:
        model: the networks, on the CPU.
        folder: where built networks are kept; None keeps them in memory only.
        threads: CPU threads; None: one for each core.
        precision: "bf16" is quicker, on CPUs that compute in it; masks then differ by some pixels.
        notify: takes sentences for the user; the log, if not given.

    Raises:
        EngineError: OpenVINO cannot be used here.
    """

    def __init__(
        self,
        model: MobileSam,
        folder: Path | None = None,
        threads: int | None = None,
        precision: Precision = "f32",
        notify: Notify | None = None,
    ) -> None:
        self.name = "openvino" if precision == "f32" else f"openvino-{precision}"
        self.tolerance = TOLERANCES[precision]
        self._graphs = {graph.name: graph for graph in graphs_of(model)}
        self._store = None if folder is None else GraphStore(folder)
        self._notify = notify or log.info
        self._networks: OrderedDict[tuple[str, tuple[int, int]], Network] = OrderedDict()
        self._core = _core(precision)
        self._settings: dict[str, str | int | bool] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,  # the cores are shared with decoding, drawing and other programs
        }
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._origin = _origin_of(model)

    def prepare(self, input_hw: tuple[int, int]) -> None:
        """See `Engine.prepare`: both networks are built or read, run once and compared with torch."""
        self._network("encoder", input_hw)
        self._network("decoder", input_hw)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Engine.encode`; the images of a batch are computed one after the other."""
        network = self._network("encoder", (pixels.shape[2], pixels.shape[3]))
        features, detail = zip(*(network(image[None]) for image in pixels), strict=True)
        return _joined(features), _joined(detail)

    @torch.inference_mode()
    def decode(
        self,
        features: Tensor,
        points_xy: Tensor,
        labels: Tensor,
        mask_logits: Tensor | None = None,
        has_mask: Tensor | None = None,
        outputs: slice = SINGLE_MASK,
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.decode`; the prompts are computed one after the other."""
        grid_h, grid_w = features.shape[2], features.shape[3]
        network = self._network("decoder", (PATCH_PX * grid_h, PATCH_PX * grid_w))
        prompts = len(labels)
        if has_mask is None:
            has_mask = torch.full((prompts,), mask_logits is not None)
        if mask_logits is None:
            mask_logits = torch.zeros(1, 1, 4 * grid_h, 4 * grid_w)
        features, mask_logits = (x.expand(prompts, -1, -1, -1) for x in (features, mask_logits))
        decoded = []
        for row in range(prompts):
            one, is_token = slice(row, row + 1), labels[row] != PADDING
            tokens = points_xy[one, is_token], labels[one, is_token]
            both = network(features[one], *tokens, mask_logits[one], has_mask[one])
            decoded.append([output[:, outputs] for output in both])
        logits, predicted_iou = zip(*decoded, strict=True)
        return _joined(logits), _joined(predicted_iou)

    def _network(self, part: str, input_hw: tuple[int, int]) -> Network:
        """The compiled network for an input size; the one that was used longest ago makes room for it."""
        key = part, input_hw
        if key not in self._networks:
            self._networks[key] = self._load(part, input_hw)
            if len(self._networks) > MAX_NETWORKS:
                self._networks.popitem(last=False)
        self._networks.move_to_end(key)
        return self._networks[key]

    def _load(self, part: str, input_hw: tuple[int, int]) -> Network:
        """A network that is kept on disk or built now, and computes what torch does at this very size."""
        graph, size = self._graphs[part], f"{input_hw[1]}x{input_hw[0]}"
        key = f"{part}-{size}-{self._origin}"
        try:
            network, expected = self._kept(key) or self._build(key, graph, input_hw, size)
            found = _sampled(network(*graph.example(input_hw)))
        except Exception as error:  # torch and OpenVINO raise dozens of types where they cannot translate
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EngineError(
                f"OpenVINO cannot run the {part} at {size} px here ({reason[:200]}); use --engine torch"
            ) from error
        for outputs in zip(graph.outputs, found, expected, strict=True):
            check_output(self, *outputs)
        return network

    def _kept(self, key: str) -> tuple[Network, list[Tensor]] | None:
        folder = self._store.find(key) if self._store else None
        if folder is None:
            return None
        with np.load(folder / _EXPECTED) as arrays:
            expected = [torch.from_numpy(array) for array in arrays.values()]
        return self._compile(folder / _MODEL), expected

    def _build(
        self, key: str, graph: Graph, input_hw: tuple[int, int], size: str
    ) -> tuple[Network, list[Tensor]]:
        self._notify(
            f"preparing the {graph.name} for {size} px with OpenVINO, once for this size: some seconds"
        )
        model = build_openvino(graph, input_hw)
        expected = _sampled(graph.expected(*graph.example(input_hw)))
        if self._store:
            self._store.keep(key, lambda folder: _save(folder, model, expected))
        # From the disk where it was kept: compiled from memory it would round otherwise than in later runs.
        return self._kept(key) or (self._compile(model), expected)

    def _compile(self, model: Any) -> Network:
        return Network(self._core.compile_model(model, "CPU", self._settings))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))  # cat copies even what is alone


def _sampled(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Enough of each output to tell whether it is right."""
    return [output.flatten()[::_SAMPLED] for output in outputs]


def _core(precision: Precision) -> Any:
    try:
        core = import_openvino().Core()
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


def _save(folder: Path, model: Any, expected: Sequence[Tensor]) -> None:
    import_openvino().save_model(model, folder / _MODEL, compress_to_fp16=False)
    np.savez(folder / _EXPECTED, *(output.numpy() for output in expected))


def _origin_of(model: MobileSam) -> str:
    """Digest of all that a network is made from: weights, our code, and the libraries that translate it."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    for module in _CODE:
        digest.update(Path(str(module.__file__)).read_bytes())
    for package in _MAKERS:
        digest.update(f"{package} {metadata.version(package)}".encode())
    return digest.hexdigest()[:16]
