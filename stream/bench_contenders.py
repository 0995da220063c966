"""Those who run against each other: maskstream at some setting, and other programs that do the same work."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from maskstream.model.checkpoint import read_state_dict
from maskstream.model.engines import Engine
from maskstream.model.mask_decoder import ALL_MASKS
from maskstream.model.predictor import Predictor, load_predictor, resolve_device
from maskstream.model.prompt_encoder import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, PromptBatch
from maskstream.model.tracker_choice import make_tracker
from maskstream.model.weights import resolve

from .agenda import Agenda
from .bench_scene import BenchScene
from .bench_tasks import PEERS, Task
from .commands import Show
from .segmenter import Segmenter


class Contender(Protocol):
    """One process's work; what it does in turn with others."""

    name: str

    def run(self, work: str, index: int) -> None:
        """Do it once: `frame`, or of maskstream also `encode` and `decode N`, on frame `index`."""


def installed_peers() -> list[str]:
    """Those that are here."""
    return [name for name, module in PEERS.items() if importlib.util.find_spec(module) is not None]


def make_contender(task: Task) -> Contender:
    """Load what a task needs and make it ready."""
    make: dict[str, Callable[[Task], Contender]] = {"reference": Reference, "ultralytics": Ultralytics}
    return make.get(task.who, Maskstream)(task)


class Maskstream:
    """The segmenter as a run has it, and its engine alone."""

    def __init__(self, task: Task) -> None:
        self._scene = BenchScene(task.width, task.height, task.objects)
        original_hw = (task.height, task.width)
        self._predictor: Predictor = load_predictor(
            resolve(task.weights),
            "auto",
            task.size,
            engine=task.engine,
            threads=task.threads,
            original_hw=original_hw,
        )
        agenda = Agenda([Show(prompt) for prompt in self._scene.masks])
        self._segment = Segmenter(self._predictor, make_tracker(self._predictor), agenda)
        self._input_hw = self._predictor.input_hw_for(original_hw)
        self._pixels = self._predictor.preprocess(self._scene.image(0))
        self._features, _ = self._engine.encode(self._pixels)
        self._prompts: dict[int, PromptBatch] = {}  # by number of objects; making them is no part of the work
        self.name = self._engine.name

    @property
    def _engine(self) -> Engine:
        return self._predictor.engine

    def run(self, work: str, index: int) -> None:
        """See `Contender`."""
        if work == "frame":
            self._segment(self._scene.frame(index))
        elif work == "encode":
            self._engine.encode(self._pixels)
        else:
            objects = int(work.removeprefix("decode "))
            if objects not in self._prompts:  # in the warm-up
                self._prompts[objects] = _prompts(self._input_hw, objects, self._features.device)
            self._engine.decode(self._features, self._prompts[objects], ALL_MASKS)
        _finish(self._predictor.device)


class Reference:
    """MobileSAM's own code, as its README uses it: set_image(), then predict() for each object's box."""

    def __init__(self, task: Task) -> None:
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        self._scene = BenchScene(task.width, task.height, task.objects)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses names that timm has changed
            module: Any = importlib.import_module(PEERS["reference"])
            sam = module.sam_model_registry["vit_t"]()
        sam.load_state_dict(read_state_dict(resolve(task.weights)))
        self._predictor = module.SamPredictor(sam.eval().to(resolve_device("auto")))
        self.name = "reference"

    def run(self, work: str, index: int) -> None:
        """See `Contender`."""
        self._predictor.set_image(self._scene.image(index))
        for prompt in self._scene.boxes:
            # It gives its masks as arrays, so that a GPU has done all that was asked of it.
            self._predictor.predict(box=np.asarray(prompt.box_xyxy), multimask_output=False)


class Ultralytics:
    """Ultralytics' MobileSAM, with the same weights."""

    def __init__(self, task: Task) -> None:
        self._scene = BenchScene(task.width, task.height, task.objects)
        self._device = resolve_device("auto")
        module: Any = importlib.import_module(PEERS["ultralytics"])
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mobile_sam.pt"  # it tells the network by the file's name
            torch.save(read_state_dict(resolve(task.weights)), path)
            self._model = module.SAM(str(path))
            self._predict(0)
        self.name = f"ultralytics {module.__version__}"

    def run(self, work: str, index: int) -> None:
        """See `Contender`."""
        self._predict(index)

    def _predict(self, index: int) -> None:
        boxes = [np.asarray(prompt.box_xyxy).tolist() for prompt in self._scene.boxes]
        bgr = np.ascontiguousarray(self._scene.image(index)[..., ::-1])
        self._model.predict(bgr, bboxes=boxes, device=str(self._device), verbose=False)
        _finish(self._device)


def _finish(device: torch.device) -> None:
    """Until a GPU has done all. It looks all the time: to be woken up takes part of what is measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _prompts(input_hw: tuple[int, int], objects: int, device: torch.device) -> PromptBatch:
    """What the tracker asks the decoder for so many objects: a box each, with mask logits and without."""
    prompts, (height, width) = 2 * objects, input_hw
    box = torch.tensor([[0.2 * width, 0.2 * height], [0.7 * width, 0.8 * height]])
    noise = torch.randn(prompts, 1, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
    with_mask = torch.arange(prompts) % 2 == 0
    labels = torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]).expand(prompts, -1)
    tensors = (box.expand(prompts, -1, -1), labels, 4 * noise, with_mask)
    return PromptBatch(*(tensor.to(device) for tensor in tensors))
