"""One image in, masks out, no hidden state: encode an image once, decode any prompts on it at any time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .checkpoint import load_model
from .device_image import resize, upload
from .engine_choice import Notify, choose_engine, make_engine
from .engines import Engine, TorchEngine
from .errors import ConfigError, PromptError
from .geometry import padded_hw_for, resize_image, resized_hw_for
from .mask_decoder import ALL_MASKS, MULTIMASK, NUM_MASK_TOKENS, SINGLE_MASK
from .mobile_sam import MobileSam
from .prompt_batch import batch_prompts
from .self_check import CHECK_HW
from .tiny_vit import PATCH_PX
from .types import ImageEmbedding, MaskPrediction, Prompt, RgbImage
from .weights import resolve


class Predictor:
    """MobileSAM on whole images.

    Args:
        model: the networks, on the device that is to be used.
        size: long side of the model input in px, a multiple of 16. 1024 is what SAM was trained with.
        pad_to_square: pad the model input to size x size as SAM does, instead of only to multiples of 16.
        engine: what runs the networks; plain PyTorch, if not given.
    """

    def __init__(
        self, model: MobileSam, size: int = 1024, pad_to_square: bool = False, engine: Engine | None = None
    ) -> None:
        _check_size(size)
        self.model = model
        self.engine = engine or TorchEngine(model)
        self.size = size
        self.pad_to_square = pad_to_square

    @property
    def device(self) -> torch.device:
        """Where the networks run and embeddings live."""
        return self.model.device

    def input_hw_for(self, original_hw: tuple[int, int]) -> tuple[int, int]:
        """The model input's (h, w) px for an image of `original_hw`."""
        return padded_hw_for(resized_hw_for(original_hw, self.size), self.pad_to_square)

    @torch.inference_mode()
    def preprocess(self, image: RgbImage) -> Tensor:
        """The model input (1, 3, *input_hw) of an image (H, W, 3) uint8 RGB."""
        return self._preprocess(image, self._sent(image))

    def _sent(self, image: RgbImage) -> Tensor | None:
        """The image (1, 3, H, W) on a GPU; None on a CPU."""
        return upload(image, self.device) if self.device.type == "cuda" else None

    def _preprocess(self, image: RgbImage, sent: Tensor | None) -> Tensor:
        original_hw = _checked_hw(image)
        resized_hw = resized_hw_for(original_hw, self.size)
        if sent is None:
            rgb = upload(resize_image(image, resized_hw), self.device)
        else:
            rgb = resize(sent, resized_hw)
        return self.model.preprocess(rgb, self.input_hw_for(original_hw))

    @torch.inference_mode()
    def encode(self, image: RgbImage) -> ImageEmbedding:
        """Everything the mask decoder needs of an image (H, W, 3) uint8 RGB. This is the costly half.

        Raises:
            ValueError: the image has another shape or dtype.
        """
        original_hw = _checked_hw(image)
        sent = self._sent(image)
        features, detail = self.engine.encode(self._preprocess(image, sent))
        resized_hw = resized_hw_for(original_hw, self.size)
        input_hw = self.input_hw_for(original_hw)
        return ImageEmbedding(features, original_hw, resized_hw, input_hw, detail, sent)

    def decode(
        self,
        embedding: ImageEmbedding | Sequence[ImageEmbedding],
        prompts: Sequence[Prompt],
        multimask_output: bool = False,
    ) -> MaskPrediction:
        """Masks for P prompts of any kinds, in one batch.

        Args:
            embedding: one image for all prompts, or one per prompt (all with the same grid).
            prompts: in pixels of the original image. A prompt with `low_res_logits` uses them as mask prompt;
                one with `mask` uses that, and its box where no box is given.
            multimask_output: three candidates per prompt instead of one mask.

        Raises:
            PromptError: a mask or its logits do not fit the image, or the embeddings do not fit the prompts.
        """
        return self._decode(embedding, prompts, MULTIMASK if multimask_output else SINGLE_MASK)

    def decode_all(
        self, embedding: ImageEmbedding | Sequence[ImageEmbedding], prompts: Sequence[Prompt]
    ) -> MaskPrediction:
        """As `decode`, with all C = 4 masks of each prompt: the single mask, then the three candidates."""
        return self._decode(embedding, prompts, ALL_MASKS)

    @torch.inference_mode()
    def _decode(
        self, embedding: ImageEmbedding | Sequence[ImageEmbedding], prompts: Sequence[Prompt], outputs: slice
    ) -> MaskPrediction:
        if isinstance(embedding, ImageEmbedding) and not prompts:
            return _no_masks(embedding, outputs)
        embeddings = _one_per_prompt(embedding, prompts)
        batch = batch_prompts(prompts, embeddings, self.device)
        shared = all(e is embeddings[0] for e in embeddings)
        features = embeddings[0].features if shared else torch.cat([e.features for e in embeddings])
        low_res_logits, predicted_iou = self.engine.decode(features, batch, outputs)
        return MaskPrediction(low_res_logits, predicted_iou)


def _checked_hw(image: RgbImage) -> tuple[int, int]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return image.shape[0], image.shape[1]


def _one_per_prompt(
    embedding: ImageEmbedding | Sequence[ImageEmbedding], prompts: Sequence[Prompt]
) -> Sequence[ImageEmbedding]:
    if isinstance(embedding, ImageEmbedding):
        return [embedding] * len(prompts)
    if len(embedding) != len(prompts) or not prompts:
        raise PromptError(f"give one embedding per prompt: got {len(embedding)} for {len(prompts)} prompts")
    sizes = sorted({e.input_hw for e in embedding})
    if len(sizes) > 1:
        raise PromptError(f"embeddings of one batch need one input size, got (h, w) {sizes}")
    return embedding


def _no_masks(embedding: ImageEmbedding, outputs: slice) -> MaskPrediction:
    """Those of no prompts: not every engine takes an empty batch."""
    height, width = embedding.features.shape[2:]
    candidates = len(range(NUM_MASK_TOKENS)[outputs])
    blank = embedding.features.new_zeros
    return MaskPrediction(blank(0, candidates, 4 * height, 4 * width), blank(0, candidates))


@torch.inference_mode()
def upsample_logits(low_res_logits: Tensor, embedding: ImageEmbedding) -> Tensor:
    """Low-res logits (P, C, 4h, 4w) as logits (P, C, H, W) of the original image, in SAM's two steps."""
    full = functional.interpolate(low_res_logits, embedding.input_hw, mode="bilinear", align_corners=False)
    height, width = embedding.resized_hw
    unpadded = full[..., :height, :width]
    return functional.interpolate(unpadded, embedding.original_hw, mode="bilinear", align_corners=False)


def stability_score(logits: Tensor, threshold: float = 0.0, offset: float = 1.0) -> Tensor:
    """How little masks change when the threshold shifts by `offset` either way: (..., H, W) -> (...) in 0..1.

    It is the IoU of the strict and the lenient mask; 0 where even the lenient one is empty.
    """
    strict = (logits > threshold + offset).sum(dim=(-2, -1))
    lenient = (logits > threshold - offset).sum(dim=(-2, -1))
    return strict / lenient.clamp(min=1)


def load_predictor(
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    size: int = 1024,
    *,
    engine: str = "torch",
    threads: int | None = None,
    original_hw: tuple[int, int] | None = None,
    notify: Notify | None = None,
) -> Predictor:
    """A predictor from the name of known weights or a checkpoint file.

    Args:
        weights: a name that `maskstream weights list` shows, a local file, or None for the default.
        device: "auto" takes CUDA where there is one, else the CPU.
        size: long side of the model input in px, a multiple of 16.
        engine: "torch"; "openvino", several times as fast on a CPU, but slow to start with each new size of
            image; "openvino-bf16", faster still and less exact; "onnxruntime"; "auto", the fastest exact one.
        threads: CPU threads for the networks; None: one for each core.
        original_hw: the images' (h, w) px, where known: the engine then is ready before the first of them.
        notify: takes sentences for the user; a warning in the log, if not given.

    Raises:
        WeightsError: the weights cannot be found, fetched, verified or fitted.
        ConfigError: the device is not on this machine, the engine does not run on it, or the size is no
            multiple of 16.
        EngineError: the engine is not installed, cannot run here, or computes wrongly.
    """
    _check_size(size)
    on_device = resolve_device(device)  # before a download, so that a typing error costs nothing
    choose_engine(engine, on_device)
    model = load_model(resolve(weights), on_device)
    input_hw = CHECK_HW if original_hw is None else padded_hw_for(resized_hw_for(original_hw, size), False)
    return Predictor(model, size, engine=make_engine(model, engine, input_hw, threads, notify))


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The torch device of a name; "auto" takes CUDA where there is one, else the CPU.

    Raises:
        ConfigError: this machine has no such device.
    """
    here = _devices_here()
    if device == "auto":
        return torch.device("cuda" if "cuda:0" in here else "cpu")
    known = [*here, *(name.split(":")[0] for name in here)]  # "cuda" is as good as "cuda:0"
    if str(device) not in known:
        raise ConfigError(
            f"device {str(device)!r} is not on this machine; it has: {', '.join(here)}; try auto"
        )
    return torch.device(device)


def _devices_here() -> list[str]:
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def _check_size(size: int) -> None:
    if size <= 0 or size % PATCH_PX:
        raise ConfigError(
            f"size must be a positive multiple of {PATCH_PX} px, got {size}; try 1024, 768 or 512"
        )
