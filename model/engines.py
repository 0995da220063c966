"""Ways to run the two networks: they differ in speed, not in what they compute. PyTorch is the truth."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .device_time import Moment
from .mask_decoder import SINGLE_MASK
from .mobile_sam import MobileSam
from .prompt_encoder import FOREGROUND, PADDING, PromptBatch


class Engine(Protocol):
    """Runs the image encoder and the mask decoder. Tensors in and out live on the model's device."""

    @property
    def name(self) -> str:
        """What `doctor` and benchmarks call it."""

    @property
    def tolerance(self) -> float:
        """How far its results may be from torch float32: the norm of the difference by that of the result."""

    @property
    def most_images(self) -> int:
        """How many images it gains by having together, be it to encode them or to decode prompts on them.

        1 where each is as quick alone.
        """

    @property
    def prepares_aside(self) -> bool:
        """Whether `prepare` may be called in one thread while another one uses the engine."""

    def prepare(self, input_hw: tuple[int, int], images: int = 1) -> None:
        """Do now what the first image of this size (h, w) px would wait for, or so many together.

        What several images need is prepared where `images` is more than one.

        Raises:
            EngineError: the engine cannot run the networks at this size, or computes wrongly.
        """

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Preprocessed pixels (B, 3, H, W) -> image embedding (B, 256, h, w) and detail (B, 192, gh, gw)."""

    def decode(
        self, features: Tensor, prompts: PromptBatch, outputs: slice = SINGLE_MASK
    ) -> tuple[Tensor, Tensor]:
        """Low-res logits (P, C, 4h, 4w) and predicted IoU (P, C) of P prompts.

        Args:
            features: image embedding (1, 256, h, w) shared by all prompts, or (P, 256, h, w), one each, or
                (I, 256, h, w), where the prompts say which of them they are on.
            prompts: of any kinds.
            outputs: the C of the four mask tokens to decode: SINGLE_MASK, MULTIMASK or ALL_MASKS.
        """


class TorchEngine:
    """The networks as they are written, run by PyTorch on the device they are on."""

    name = "torch"
    tolerance = 0.0
    prepares_aside = True

    def __init__(self, model: MobileSam) -> None:
        self._model = model

    @property
    def most_images(self) -> int:
        """See `Engine`: a GPU is not busy with one image."""
        return 1 if self._model.device.type == "cpu" else 8

    def prepare(self, input_hw: tuple[int, int], images: int = 1) -> None:
        """Run both networks once: the first run picks kernels and takes memory."""
        device, middle = self._model.device, [input_hw[1] / 2, input_hw[0] / 2]
        features, _ = self.encode(torch.zeros(1, 3, *input_hw, device=device))
        point = torch.tensor([[middle]], device=device)
        self.decode(features, PromptBatch(point, torch.tensor([[FOREGROUND]], device=device)))

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Engine.encode`."""
        return self._model.encode_for_tracking(pixels)

    @torch.inference_mode()
    def decode(
        self, features: Tensor, prompts: PromptBatch, outputs: slice = SINGLE_MASK
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.decode`."""
        is_token = prompts.labels != PADDING
        # Only the CPU is asked whether there is padding: of a GPU that would be to wait for all it has to do.
        is_plain = is_token.device.type == "cpu" and bool(is_token.all())
        return self._model.decode(features, prompts, None if is_plain else is_token, outputs)


class WatchedEngine:
    """Another engine, with a note of how long it decoded; see `Engine`.

    Args:
        engine: does the work.
        device: where it does it.
    """

    def __init__(self, engine: Engine, device: torch.device) -> None:
        self._engine, self._device = engine, device
        self.name, self.tolerance = engine.name, engine.tolerance
        self.most_images, self.prepares_aside = engine.most_images, engine.prepares_aside
        self._spans: list[tuple[Moment, Moment]] = []

    def prepare(self, input_hw: tuple[int, int], images: int = 1) -> None:
        """See `Engine.prepare`."""
        self._engine.prepare(input_hw, images)

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Engine.encode`."""
        return self._engine.encode(pixels)

    def decode(
        self, features: Tensor, prompts: PromptBatch, outputs: slice = SINGLE_MASK
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.decode`."""
        begun = Moment(self._device)
        decoded = self._engine.decode(features, prompts, outputs)
        self._spans.append((begun, Moment(self._device)))
        return decoded

    def decoded_ms(self) -> float:
        """How long it has decoded since this was asked last."""
        spans, self._spans = self._spans, []
        return sum(end.ms_since(begun) for begun, end in spans)
