"""Engines that run the networks as graphs, built for each size of input and kept on disk."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from . import (
    channel_norm,
    few_tokens,
    graphs,
    mask_decoder,
    mobile_sam,
    prompt_encoder,
    tiny_vit,
    transformer,
)
from .errors import EngineError
from .graph_store import GraphStore
from .graphs import Graph, graphs_of
from .mask_decoder import SINGLE_MASK
from .mobile_sam import MobileSam
from .prompt_encoder import PADDING, PromptBatch
from .self_check import check_output
from .tiny_vit import PATCH_PX

Notify = Callable[[str], None]  # takes one plain sentence for the user
Network = Callable[..., tuple[Tensor, ...]]
"""One network, ready to run: tensors on the CPU in, tensors out. May be called from several threads."""

MAX_NETWORKS = 8  # compiled ones in memory: an encoder and a decoder for each of four input sizes
# Beside the weights, what the networks are made from: a change in any of these makes other networks.
_CODE = (
    *(channel_norm, few_tokens, graphs, mask_decoder, mobile_sam, prompt_encoder, tiny_vit, transformer),
)
_EXPECTED = "expected.npz"  # what torch gives for the graph's example
_SAMPLED = 7  # one in so many of an output's values is compared

log = logging.getLogger("maskstream")


class GraphEngine(ABC):
    """An `Engine` on the CPU, but for the runtime, which a subclass adds.

    The first image of a size waits some seconds for the networks to be built; they are kept on disk, so that
    later runs wait less than one. Images and prompts of a batch are computed one after the other: on a CPU
    that is quickest, for their tensors stay in the cache.

    Args:
        model: the networks, on the CPU.
        folder: where built networks are kept; None keeps them in memory only.
        notify: takes sentences for the user; the log, if not given.
    """

    name: str
    tolerance: float
    most_images = 1
    prepares_aside = True
    runtime: str  # its name for people
    code: tuple[ModuleType, ...] = ()  # of ours, that networks are made by
    makers: tuple[str, ...] = ("torch", "timm")  # packages that networks are made by

    def __init__(self, model: MobileSam, folder: Path | None = None, notify: Notify | None = None) -> None:
        self._graphs = {graph.name: graph for graph in graphs_of(model)}
        self._store = None if folder is None else GraphStore(folder)
        self._notify = notify or log.info
        self._networks: OrderedDict[tuple[str, tuple[int, int]], Network] = OrderedDict()
        self._origin = _origin_of(model, (*_CODE, *self.code), self.makers)

    @abstractmethod
    def _write(self, graph: Graph, input_hw: tuple[int, int], folder: Path) -> None:
        """Build a graph's network for inputs (h, w) px of one size, as files in an empty folder."""

    @abstractmethod
    def _read(self, folder: Path) -> Network:
        """The network that `_write` left in a folder."""

    def prepare(self, input_hw: tuple[int, int], images: int = 1) -> None:
        """See `Engine.prepare`: both networks are built or read, run once and compared with torch."""
        self._network("encoder", input_hw)
        self._network("decoder", input_hw)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Engine.encode`."""
        network = self._network("encoder", (pixels.shape[2], pixels.shape[3]))
        features, detail = zip(*(network(image[None]) for image in pixels), strict=True)
        return _joined(features), _joined(detail)

    @torch.inference_mode()
    def decode(
        self, features: Tensor, prompts: PromptBatch, outputs: slice = SINGLE_MASK
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.decode`."""
        grid_h, grid_w = features.shape[2], features.shape[3]
        network = self._network("decoder", (PATCH_PX * grid_h, PATCH_PX * grid_w))
        points_xy, labels, mask_logits, has_mask = prompts.with_masks((grid_h, grid_w))
        features = prompts.pick_images(features).expand(len(labels), -1, -1, -1)
        decoded = []
        for row in range(len(labels)):
            one, is_token = slice(row, row + 1), labels[row] != PADDING
            tokens = points_xy[one, is_token], labels[one, is_token]
            both = network(features[one], *tokens, mask_logits[one], has_mask[one])
            decoded.append([output[:, outputs] for output in both])
        logits, predicted_iou = zip(*decoded, strict=True)
        return _joined(logits), _joined(predicted_iou)

    def _network(self, part: str, input_hw: tuple[int, int]) -> Network:
        """The network for an input size; the one that was used longest ago makes room for it."""
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
        except Exception as error:  # torch and runtimes raise dozens of types where they cannot translate
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EngineError(
                f"{self.runtime} cannot run the {part} at {size} px here ({reason[:200]}); use --engine torch"
            ) from error
        for outputs in zip(graph.outputs, found, expected, strict=True):
            check_output(self, *outputs)
        return network

    def _kept(self, key: str) -> tuple[Network, list[Tensor]] | None:
        folder = self._store.find(key) if self._store else None
        return None if folder is None else self._opened(folder)

    def _build(
        self, key: str, graph: Graph, input_hw: tuple[int, int], size: str
    ) -> tuple[Network, list[Tensor]]:
        self._notify(
            f"preparing the {graph.name} for {size} px with {self.runtime}, once for this size: some seconds"
        )
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
            self._write(graph, input_hw, Path(made))
            expected = _sampled(graph.expected(*graph.example(input_hw)))
            np.savez(Path(made) / _EXPECTED, *(output.numpy() for output in expected))
            if self._store:
                self._store.keep(key, lambda folder: _copy(Path(made), folder))
            # From where it is kept, if it is: from elsewhere it might round otherwise than in later runs.
            return self._kept(key) or self._opened(Path(made))

    def _opened(self, folder: Path) -> tuple[Network, list[Tensor]]:
        with np.load(folder / _EXPECTED) as arrays:
            expected = [torch.from_numpy(array) for array in arrays.values()]
        return self._read(folder), expected


def _copy(made: Path, folder: Path) -> None:
    shutil.copytree(made, folder, dirs_exist_ok=True)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))  # cat copies even what is alone


def _sampled(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Enough of each output to tell whether it is right."""
    return [output.flatten()[::_SAMPLED] for output in outputs]


def _origin_of(model: MobileSam, code: Sequence[ModuleType], makers: Sequence[str]) -> str:
    """Digest of all that a network is made from: weights, our code, and the libraries that translate it."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    for module in code:
        digest.update(Path(str(module.__file__)).read_bytes())
    for package in makers:
        digest.update(f"{package} {metadata.version(package)}".encode())
    return digest.hexdigest()[:16]
