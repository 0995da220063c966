"""SamPredictor: the door that users of segment-anything know, with its arguments, shapes and values."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .errors import PromptError
from .geometry import resize_image, resized_hw_for, scale_box, scale_points
from .mask_decoder import MULTIMASK, SINGLE_MASK
from .mobile_sam import MobileSam
from .predictor import Predictor, upsample_logits
from .prompt_encoder import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NOT_A_POINT, PromptBatch
from .types import ImageEmbedding, RgbImage


class ResizeLongestSide:
    """SAM's transforms into the model input, as `predictor.transform` offers them for `predict_torch`."""

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: RgbImage) -> RgbImage:
        """Resize (H, W, 3) uint8 so that the long side is `target_length`."""
        return resize_image(image, self._resized_hw(image.shape[:2]))

    def apply_coords(self, coords: ArrayLike, original_size: tuple[int, ...]) -> NDArray[np.float32]:
        """Points (..., 2) px of the original image (h, w) in the model input."""
        return scale_points(coords, _hw(original_size), self._resized_hw(original_size))

    def apply_boxes(self, boxes: ArrayLike, original_size: tuple[int, ...]) -> NDArray[np.float32]:
        """Boxes (B, 4) px of the original image (h, w) in the model input."""
        return scale_box(boxes, _hw(original_size), self._resized_hw(original_size)).reshape(-1, 4)

    def apply_coords_torch(self, coords: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """As `apply_coords`, for a tensor."""
        return torch.from_numpy(self.apply_coords(coords.cpu().numpy(), original_size)).to(coords.device)

    def apply_boxes_torch(self, boxes: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """As `apply_boxes`, for a tensor."""
        return torch.from_numpy(self.apply_boxes(boxes.cpu().numpy(), original_size)).to(boxes.device)

    def _resized_hw(self, original_size: tuple[int, ...]) -> tuple[int, int]:
        return resized_hw_for(_hw(original_size), self.target_length)


class SamPredictor:
    """Set an image, then ask for masks as often as you like.

    It holds one image at a time and pads it to a square, as SAM does. `Predictor` does neither.
    """

    def __init__(self, model: MobileSam | Predictor) -> None:
        if isinstance(model, Predictor):
            self._predictor = Predictor(model.model, model.size, pad_to_square=True, engine=model.engine)
        else:
            self._predictor = Predictor(model, pad_to_square=True)
        self.model = self._predictor.model
        self.transform = ResizeLongestSide(self._predictor.size)
        self._embedding: ImageEmbedding | None = None

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self._predictor.device

    @property
    def is_image_set(self) -> bool:
        """Whether `predict` has an image to work on."""
        return self._embedding is not None

    def set_image(self, image: RgbImage, image_format: str = "RGB") -> None:
        """Encode an image (H, W, 3) uint8, RGB or BGR, for the calls of `predict` that follow."""
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format must be 'RGB' or 'BGR', got {image_format!r}")
        self.reset_image()
        rgb = image if image_format == "RGB" else np.ascontiguousarray(image[..., ::-1])
        self._embedding = self._predictor.encode(rgb)

    @torch.inference_mode()
    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """As `set_image`, for RGB (1, 3, h, w) in 0..255 whose long side `transform` has already resized."""
        resized_hw, size = _hw(transformed_image.shape[-2:]), self._predictor.size
        if transformed_image.shape[:-2] != (1, 3) or max(resized_hw) != size:
            got = tuple(transformed_image.shape)
            raise ValueError(f"transformed_image must be (1, 3, h, w) with long side {size} px, got {got}")
        self.reset_image()
        pixels = self.model.preprocess(transformed_image.to(self.device), (size, size))
        features, _ = self._predictor.engine.encode(pixels)
        self._embedding = ImageEmbedding(features, _hw(original_image_size), resized_hw, (size, size))

    def reset_image(self) -> None:
        """Forget the image."""
        self._embedding = None

    def get_image_embedding(self) -> Tensor:
        """Image embedding (1, 256, 64, 64) of the image that is set."""
        return self._image().features

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[np.bool_] | NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Masks of one object on the image that is set.

        Args:
            point_coords: (N, 2) px of the original image.
            point_labels: (N,) 1 foreground, 0 background, -1 no point.
            box: (4,) x0, y0, x1, y1 px of the original image.
            mask_input: (1, 256, 256), low-res logits of an earlier prediction.
            multimask_output: three masks, from which the predicted IoU helps to choose, instead of one.
            return_logits: masks before the threshold, float.

        Returns:
            masks (C, H, W) bool, predicted IoU (C,) and low-res logits (C, 256, 256); C = 3 or 1.

        Raises:
            RuntimeError: no image is set.
            PromptError: an argument has the wrong shape.
        """
        original_hw = self._image().original_hw
        points = (
            None if point_coords is None else self.transform.apply_coords(point_coords, original_hw)[None]
        )
        boxes = None if box is None else self.transform.apply_boxes(box, original_hw)
        if boxes is not None and len(boxes) != 1:
            raise PromptError(f"predict takes one box, got {len(boxes)}; predict_torch takes many")
        masks, predicted_iou, low_res_logits = self.predict_torch(
            _tensor(points),
            None if point_labels is None else _tensor(np.asarray(point_labels)[None]),
            _tensor(boxes),
            None if mask_input is None else _tensor(np.asarray(mask_input)[None]),
            multimask_output,
            return_logits,
        )
        return masks[0].cpu().numpy(), predicted_iou[0].cpu().numpy(), low_res_logits[0].cpu().numpy()

    @torch.inference_mode()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of P objects at once; coordinates are px of the model input, as `transform` makes them.

        Args:
            point_coords: (P, N, 2).
            point_labels: (P, N) 1 foreground, 0 background, -1 no point.
            boxes: (P, 4).
            mask_input: (P, 1, 256, 256).
            multimask_output: three masks per object instead of one.
            return_logits: masks before the threshold, float.

        Returns:
            masks (P, C, H, W) bool, predicted IoU (P, C) and low-res logits (P, C, 256, 256).

        Raises:
            RuntimeError: no image is set.
            PromptError: an argument has the wrong shape.
        """
        embedding = self._image()
        points_xy, labels = _tokens(
            point_coords, point_labels, boxes, _count(point_coords, boxes, mask_input)
        )
        low_res_hw = (embedding.input_hw[0] // 4, embedding.input_hw[1] // 4)
        if mask_input is not None and mask_input.shape != (len(labels), 1, *low_res_hw):
            wanted, got = (len(labels), 1, *low_res_hw), tuple(mask_input.shape)
            raise PromptError(
                f"mask_input must be {wanted}, low-res logits of an earlier prediction, got {got}"
            )
        prompts = PromptBatch(
            points_xy.to(self.device),
            labels.to(self.device),
            None if mask_input is None else mask_input.to(self.device, torch.float32),
        )
        low_res_logits, predicted_iou = self._predictor.engine.decode(
            embedding.features, prompts, MULTIMASK if multimask_output else SINGLE_MASK
        )
        logits = upsample_logits(low_res_logits, embedding)
        return logits if return_logits else logits > 0, predicted_iou, low_res_logits

    def _image(self) -> ImageEmbedding:
        if self._embedding is None:
            raise RuntimeError("no image is set: call set_image(image) first")
        return self._embedding


def _hw(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = size
    return int(height), int(width)


def _tensor(array: ArrayLike | None) -> Tensor | None:
    return None if array is None else torch.as_tensor(array)


def _count(*given: Tensor | None) -> int:
    """P, the number of prompts; 1 where nothing is given, which SAM answers too."""
    return next((len(tensor) for tensor in given if tensor is not None), 1)


def _tokens(
    point_coords: Tensor | None, point_labels: Tensor | None, boxes: Tensor | None, count: int
) -> tuple[Tensor, Tensor]:
    """Points (P, N, 2) px of the model input and labels (P, N), in SAM's order: points, then the box."""
    points, labels = torch.zeros(count, 0, 2), torch.zeros(count, 0, dtype=torch.int64)
    if point_coords is not None or point_labels is not None:
        points, labels = _checked_points(point_coords, point_labels)
        if boxes is None:
            points = torch.cat([points, points.new_zeros(count, 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((count, 1), NOT_A_POINT)], dim=1)
    if boxes is not None:
        if boxes.shape != (count, 4):
            raise PromptError(f"boxes must be ({count}, 4), got {tuple(boxes.shape)}")
        corners = torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], device=labels.device).expand(count, 2)
        points = torch.cat([points, boxes.to(points).reshape(count, 2, 2)], dim=1)
        labels = torch.cat([labels, corners], dim=1)
    return points, labels


def _checked_points(point_coords: Tensor | None, point_labels: Tensor | None) -> tuple[Tensor, Tensor]:
    if point_coords is None or point_labels is None:
        raise PromptError("point_coords and point_labels go together: give both or neither")
    if point_coords.ndim != 3 or point_coords.shape[2] != 2 or point_labels.shape != point_coords.shape[:2]:
        got = f"{tuple(point_coords.shape)} and {tuple(point_labels.shape)}"
        raise PromptError(f"point_coords and point_labels must be (P, N, 2) and (P, N), got {got}")
    if not torch.isin(point_labels, torch.tensor([-1, 0, 1], device=point_labels.device)).all():
        raise PromptError(f"point_labels must be 1, 0 or -1, got {point_labels.tolist()}")
    return point_coords.float(), point_labels.long()
