"""PyTorch on a GPU as fast as it goes: 16 bits, kernels fused by torch.compile, each network one CUDA graph.

The same code runs on a CPU, without graphs, so that its logic is tested where there is no GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from .cuda_replay import Replay
from .errors import EngineError
from .half_model import HalfModel
from .mask_decoder import SINGLE_MASK
from .mobile_sam import MobileSam
from .prompt_encoder import PADDING, PromptBatch
from .tiny_vit import EMBEDDING_DIM, PATCH_PX

Notify = Callable[[str], None]  # takes one plain sentence for the user
Pair = tuple[Tensor, Tensor]

# See `Engine.tolerance`. On frames of two clips, on a CPU: in float16 the image embedding is 0.003 off,
# detail 0.009, logits 0.002; in bfloat16 0.02, 0.07 and 0.012.
TOLERANCES = {torch.float32: 2e-3, torch.float16: 0.03, torch.bfloat16: 0.12}
_NAMES = {torch.float32: "cuda", torch.float16: "cuda-fp16", torch.bfloat16: "cuda-bf16"}
MOST_IMAGES = 8  # encoded together, or with prompts on them decoded together
PROMPTS = (1, 2, 4, 8, 12, 16, 24, 32, 40, 48)  # decoded together; others are filled up to the next of these
TOKENS = 2  # of a box or a point, which nearly all prompts are; others are filled up to a multiple of 4
_COMPILED_SHAPES = 64  # beyond the usual limit PyTorch would silently compile no more

log = logging.getLogger("maskstream")


class CudaEngine:
    """Runs MobileSAM by PyTorch; see `Engine`. Used by one thread at a time.

    Args:
        model: the networks in float32, on the device that is to be used.
        dtype: torch.float16, torch.bfloat16 or torch.float32.
        compiled: fuse the encoder's kernels, which takes some ten seconds at the first start.
        as_graphs: replay recordings; None: on CUDA.
        notify: takes sentences for the user; a warning in the log, if not given.
    """

    most_images = MOST_IMAGES
    prepares_aside = False  # it would wait for the GPU between the recording's steps

    def __init__(
        self,
        model: MobileSam,
        dtype: torch.dtype = torch.float16,
        *,
        compiled: bool = True,
        as_graphs: bool | None = None,
        notify: Notify | None = None,
    ) -> None:
        self.name, self.tolerance = _NAMES[dtype], TOLERANCES[dtype]
        self._device = model.device
        self._model = HalfModel(model, dtype)
        self._as_graphs = model.device.type == "cuda" if as_graphs is None else as_graphs
        self._pool = torch.cuda.graph_pool_handle() if self._as_graphs else None
        self._notify = notify or log.warning
        self._encode: Callable[[Tensor], Pair] = self._model.encode
        if compiled:
            self._encode = torch.compile(self._model.encode, dynamic=False)
        self._encoders: dict[tuple[int, int, int], Replay] = {}  # by images and input's size
        self._decoders: dict[tuple[int, ...], Replay] = {}  # by images, prompts, tokens and grid's size
        self._images: dict[tuple[int, ...], Tensor] = {}  # that they read, by images and grid's size

    def prepare(self, input_hw: tuple[int, int], images: int = 1) -> None:
        """See `Engine.prepare`: everything that frames of one size need is compiled and recorded."""
        try:
            self._prepare(input_hw, images)
        except Exception as error:  # PyTorch raises dozens of types where it cannot compile or record
            if self._encode == self._model.encode:
                raise EngineError(
                    f"engine {self.name} cannot run at {input_hw[1]}x{input_hw[0]} px here "
                    f"({_first_line(error)}); use --engine torch"
                ) from error
            self._notify(f"PyTorch cannot compile here ({_first_line(error)}); it runs uncompiled, slower")
            self._encode = self._model.encode
            self._encoders.clear()
            self.prepare(input_hw, images)

    @torch.inference_mode()
    def _prepare(self, input_hw: tuple[int, int], images: int) -> None:
        # timm's attention keeps its biases from the first run on, which must not be the one that is compiled.
        self._model.encode(torch.zeros(1, 3, 4 * PATCH_PX, 4 * PATCH_PX, device=self._device))
        together = 1
        while together <= min(images, MOST_IMAGES):
            self._encoder(together, input_hw)
            together *= 2
        grid_hw = (input_hw[0] // PATCH_PX, input_hw[1] // PATCH_PX)
        for together in (1, MOST_IMAGES) if images > 1 else (1,):
            for prompts in PROMPTS if self._as_graphs else PROMPTS[:1]:
                self._decoder(together, prompts, TOKENS, grid_hw)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Pair:
        """See `Engine.encode`. So many at a time as were prepared for."""
        input_hw = (pixels.shape[2], pixels.shape[3])
        self._encoder(1, input_hw)
        known = sorted((key[0] for key in self._encoders if key[1:] == input_hw), reverse=True)
        parts, done = [], 0
        while done < len(pixels):
            count = next(images for images in known if images <= len(pixels) - done)
            parts.append(self._encoder(count, input_hw)(pixels[done : done + count]))
            done += count
        return _joined(parts)

    @torch.inference_mode()
    def decode(self, features: Tensor, prompts: PromptBatch, outputs: slice = SINGLE_MASK) -> Pair:
        """See `Engine.decode`."""
        grid_hw = (features.shape[2], features.shape[3])
        points_xy, labels, *masks = prompts.with_masks(grid_hw)
        given = (*_filled_tokens(points_xy, labels), *masks)
        if len(features) == 1:
            parts = self._decode_all(features, given)
        elif prompts.image_index is not None and len(features) <= MOST_IMAGES:
            parts = self._decode_all(features, (*given, prompts.image_index))
        else:
            parts = self._decode_apart(prompts.pick_images(features), given)
        logits, iou = _joined(parts)
        return logits[:, outputs], iou[:, outputs]

    def _decode_apart(self, features: Tensor, given: Sequence[Tensor]) -> list[Pair]:
        """Each prompt on an image of its own, of any number."""
        parts, index = [], torch.arange(MOST_IMAGES, device=self._device)
        for some in _slices(len(features), MOST_IMAGES):
            own = features[some]
            parts += self._decode_all(own, (*_rows(given, some), index[: len(own)]))
        return parts

    def _decode_all(self, features: Tensor, given: Sequence[Tensor]) -> list[Pair]:
        return [self._decode_some(features, _rows(given, some)) for some in _slices(len(given[0]))]

    def _decode_some(self, features: Tensor, given: Sequence[Tensor]) -> Pair:
        """At most as many prompts as are decoded together: on one image, or with an index of each one's."""
        points_xy, labels, _, _, *image_index = given
        grid_hw, count = (features.shape[2], features.shape[3]), len(labels)
        filled_to = next(prompts for prompts in PROMPTS if prompts >= count)
        images = MOST_IMAGES if image_index else 1
        self._images_of(images, grid_hw)[: len(features)].copy_(features)
        decoder = self._decoder(images, filled_to, labels.shape[1], grid_hw)
        logits, iou = decoder(*(_filled_rows(tensor, filled_to) for tensor in given))
        return logits[:count], iou[:count]

    def _encoder(self, images: int, input_hw: tuple[int, int]) -> Replay:
        key = (images, *input_hw)
        if key not in self._encoders:
            example = torch.zeros(images, 3, *input_hw, device=self._device)
            with torch._dynamo.config.patch(recompile_limit=_COMPILED_SHAPES):
                self._encoders[key] = Replay(self._encode, (example,), self._as_graphs)
        return self._encoders[key]

    def _decoder(self, images: int, prompts: int, tokens: int, grid_hw: tuple[int, int]) -> Replay:
        """For prompts on one image; or, with an index of each prompt's, on any of so many."""
        key = (images, prompts, tokens, *grid_hw)
        if key not in self._decoders:
            work = partial(self._decode_static, self._images_of(images, grid_hw))
            example = self._example(images, prompts, tokens, grid_hw)
            self._decoders[key] = Replay(work, example, self._as_graphs, self._pool)
        return self._decoders[key]

    def _images_of(self, images: int, grid_hw: tuple[int, int]) -> Tensor:
        """Where image embeddings are put for decoders to read: one place for all numbers of prompts."""
        key = (images, *grid_hw)
        if key not in self._images:
            self._images[key] = torch.zeros(images, EMBEDDING_DIM, *grid_hw, device=self._device)
        return self._images[key]

    def _decode_static(self, features: Tensor, *given: Tensor) -> Pair:
        prompts = PromptBatch(*given)
        return self._model.decode(features, prompts, _token_mask(prompts.labels))

    def _example(
        self, images: int, prompts: int, tokens: int, grid_hw: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        height, width = grid_hw
        shapes = [
            ((prompts, tokens, 2), torch.float32),
            ((prompts, tokens), torch.int64),
            ((prompts, 1, 4 * height, 4 * width), torch.float32),
            ((prompts,), torch.bool),
        ]
        if images > 1:
            shapes.append(((prompts,), torch.int64))
        return tuple(torch.zeros(shape, dtype=dtype, device=self._device) for shape, dtype in shapes)


def _token_mask(labels: Tensor) -> Tensor | None:
    """Which tokens count, None for all. To ask the GPU whether there is padding would be to wait for it."""
    return None if labels.shape[1] == TOKENS else labels != PADDING


def _filled_tokens(points_xy: Tensor, labels: Tensor) -> Pair:
    """Filled up with padding to one of few lengths; no prompt has fewer than two tokens."""
    tokens = labels.shape[1]
    missing = 0 if tokens == TOKENS else -tokens % 4
    if not missing:
        return points_xy, labels
    return functional.pad(points_xy, (0, 0, 0, missing)), functional.pad(labels, (0, missing), value=PADDING)


def _filled_rows(tensor: Tensor, rows: int) -> Tensor:
    missing = rows - len(tensor)
    return tensor if not missing else torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])])


def _rows(tensors: Sequence[Tensor], rows: slice) -> tuple[Tensor, ...]:
    return tuple(tensor[rows] for tensor in tensors)


def _slices(count: int, most: int = PROMPTS[-1]) -> Iterator[slice]:
    for start in range(0, count, most):
        yield slice(start, min(count, start + most))


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> Pair:
    first, second = parts[0] if len(parts) == 1 else (torch.cat(some) for some in zip(*parts, strict=True))
    return first, second


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
