"""SAM("mobile_sam.pt").predict("image.jpg", points=[900, 370], labels=[1]): masks in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .errors import PromptError, SinkError, SourceError
from .predictor import Predictor, load_predictor, upsample_logits
from .types import BoolMask, ImageEmbedding, MaskPrediction, Prompt, RgbImage, box_of_mask

PROMPTS_PER_CALL = 32  # the mask decoder takes some 25 MB for each prompt

ImageSource = str | Path | NDArray[np.uint8] | Image.Image

# Told apart by most eyes, also on a printout; repeats after eight objects (Okabe and Ito's palette).
COLOURS = np.array(
    [(0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0)]
    + [(204, 121, 167), (86, 180, 233), (240, 228, 66), (120, 120, 120)],
    np.uint8,
)


@dataclass(frozen=True, slots=True, eq=False)
class SamResult:
    """What was found on one image: N objects in the order of the prompts."""

    orig_img: RgbImage  # (H, W, 3) uint8 RGB
    masks: BoolMask  # (N, H, W) bool
    boxes: NDArray[np.int32]  # (N, 4) tight half-open x0, y0, x1, y1 px; zeros for an empty mask
    scores: NDArray[np.float32]  # (N,) predicted IoU
    path: Path | None = None  # where the image came from

    def __len__(self) -> int:
        return len(self.masks)

    def plot(self, opacity: float = 0.5) -> RgbImage:
        """The image (H, W, 3) with masks, boxes and scores drawn on it."""
        image = self.orig_img.astype(np.float32)
        for mask, colour in zip(self.masks, self._colours(), strict=True):
            image[mask] = (1 - opacity) * image[mask] + opacity * colour
        canvas = Image.fromarray(image.round().astype(np.uint8))
        draw = ImageDraw.Draw(canvas)
        long_side = max(canvas.size)
        line_px, font = max(1, long_side // 400), ImageFont.load_default(max(10, long_side // 60))
        for box, score, colour in zip(self.boxes, self.scores, self._colours(), strict=True):
            if box.any():
                x0, y0, x1, y1 = (int(side) for side in box)
                draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=tuple(colour.tolist()), width=line_px)
                place, text = (x0 + 2 * line_px, y0 + line_px), f"{score:.2f}"
                draw.text(place, text, "white", font, stroke_width=line_px, stroke_fill="black")
        return np.asarray(canvas)

    def save(self, path: str | Path) -> Path:
        """Write `plot()` to a file; the suffix chooses the format.

        Raises:
            SinkError: the file cannot be written, or its suffix names no image format.
        """
        try:
            Image.fromarray(self.plot()).save(path)
        except (OSError, ValueError) as error:
            raise SinkError(
                f"{path}: cannot write the picture ({error}); try a .png in a folder you own"
            ) from error
        return Path(path)

    def _colours(self) -> NDArray[np.uint8]:
        return COLOURS[np.arange(len(self)) % len(COLOURS)]


class SAM:
    """Prompted segmentation of single images in one call.

    Args:
        weights: a name that `maskstream weights list` shows, a checkpoint file, or None for the default.
        device: "auto", "cpu", "cuda", ...
        size: long side of the model input in px, a multiple of 16.

    Raises:
        WeightsError: the weights cannot be found, fetched, verified or fitted.
        ConfigError: the device is not on this machine, or the size is no multiple of 16.
    """

    def __init__(self, weights: str | Path | None = None, device: str = "auto", size: int = 1024) -> None:
        self.predictor = load_predictor(weights, device, size)

    def predict(
        self,
        source: ImageSource | Sequence[ImageSource],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        bboxes: ArrayLike | None = None,
        masks: ArrayLike | None = None,
        multimask_output: bool = False,
    ) -> list[SamResult]:
        """Masks of the prompted objects, one result per image.

        Args:
            source: a file, an RGB array (H, W, 3) uint8, a Pillow image, or a list of these.
            points: px of the image. [x, y] is one object; [[x, y], ...] is one object per point;
                [[[x, y], ...], ...] is several points per object.
            labels: of the points, 1 foreground, 0 background; foreground where left out.
            bboxes: [x0, y0, x1, y1] or a list of these, px of the image.
            masks: (H, W) or (N, H, W), rough masks of the objects.
            multimask_output: let the model make three masks per object and take the one it trusts most;
                helps where a point could mean a thing or its part.

        Raises:
            PromptError: no prompt, prompts that do not go together, or one beside the picture.
            SourceError: the image cannot be read.
        """
        prompts = _prompts(points, labels, bboxes, masks)
        if isinstance(source, str | Path | np.ndarray | Image.Image):
            return [self._predict_one(source, prompts, multimask_output)]
        return [self._predict_one(one, prompts, multimask_output) for one in source]

    __call__ = predict

    def _predict_one(self, source: ImageSource, prompts: Sequence[Prompt], multimask: bool) -> SamResult:
        image = _read_image(source)
        for prompt in prompts:
            prompt.check_inside((image.shape[0], image.shape[1]))
        masks, scores = best_masks(self.predictor, self.predictor.encode(image), prompts, multimask)
        boxes = np.stack([box_of_mask(mask) for mask in masks])
        path = Path(source) if isinstance(source, str | Path) else None
        return SamResult(image, masks, boxes, scores, path)


def best_masks(
    predictor: Predictor, embedding: ImageEmbedding, prompts: Sequence[Prompt], multimask: bool
) -> tuple[BoolMask, NDArray[np.float32]]:
    """Of each prompt's candidates the one with the highest predicted IoU: masks (P, H, W), scores (P,)."""
    parts = [prompts[i : i + PROMPTS_PER_CALL] for i in range(0, len(prompts), PROMPTS_PER_CALL)]
    found = [_best_of(predictor.decode(embedding, part, multimask), embedding) for part in parts]
    masks, scores = zip(*found, strict=True)
    return np.concatenate(masks), np.concatenate(scores)


def _best_of(prediction: MaskPrediction, embedding: ImageEmbedding) -> tuple[BoolMask, NDArray[np.float32]]:
    scores, best = prediction.predicted_iou.max(dim=1)
    chosen = prediction.low_res_logits[torch.arange(len(best)), best]  # (P, 4h, 4w)
    # One at a time: full-size logits of many objects would fill the memory.
    masks = [upsample_logits(logits[None, None], embedding)[0, 0] > 0 for logits in chosen]
    return torch.stack(masks).cpu().numpy(), scores.cpu().numpy()


def _read_image(source: ImageSource) -> RgbImage:
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8:
            got = f"{source.shape} {source.dtype}"
            raise SourceError(f"a picture given as array must be (H, W, 3) uint8 RGB, got {got}")
        return source
    if isinstance(source, Image.Image):
        return np.asarray(source.convert("RGB"))
    if not Path(source).is_file():
        raise SourceError(f"{source}: no such file; give the path of a picture")
    try:
        with Image.open(source) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except OSError as error:
        raise SourceError(f"{source}: cannot be read as a picture ({error}); is it a JPEG or PNG?") from error


def _prompts(
    points: ArrayLike | None, labels: ArrayLike | None, bboxes: ArrayLike | None, masks: ArrayLike | None
) -> list[Prompt]:
    """One prompt per object; points, boxes and masks of the same object meet by their order."""
    point_sets, label_sets = _points_by_object(points, labels)
    boxes = None if bboxes is None else np.atleast_2d(np.asarray(bboxes, np.float32))
    drawn = None if masks is None else np.asarray(masks, bool)
    drawn = drawn[None] if drawn is not None and drawn.ndim == 2 else drawn
    counts = {
        name: len(given)
        for name, given in (("points", point_sets), ("bboxes", boxes), ("masks", drawn))
        if given is not None
    }
    if not counts:
        raise PromptError("say what to segment: give points, bboxes or masks")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise PromptError(f"each object takes one entry of every kind that is given, got {told}")
    return [
        Prompt(
            object_id=i + 1,
            points_xy=np.zeros((0, 2), np.float32) if point_sets is None else point_sets[i],
            point_labels=np.zeros(0, np.int32) if label_sets is None else label_sets[i],
            box_xyxy=None if boxes is None else boxes[i],
            mask=None if drawn is None else drawn[i],
        )
        for i in range(next(iter(counts.values())))
    ]


def _points_by_object(
    points: ArrayLike | None, labels: ArrayLike | None
) -> tuple[NDArray[np.float32] | None, NDArray[np.int32] | None]:
    """Points (P, N, 2) and labels (P, N)."""
    if points is None:
        if labels is not None:
            raise PromptError("labels belong to points: give points too")
        return None, None
    xy = np.asarray(points, np.float32)
    if xy.ndim not in (1, 2, 3) or xy.shape[-1] != 2:
        raise PromptError(
            f"points must be [x, y], [[x, y], ...] or [[[x, y], ...], ...], got shape {xy.shape}"
        )
    xy = xy.reshape(-1, 1, 2) if xy.ndim < 3 else xy
    if labels is None:
        return xy, np.ones(xy.shape[:2], np.int32)
    numbers = np.asarray(labels, np.int32)
    if numbers.size != xy.shape[0] * xy.shape[1]:
        raise PromptError(f"{xy.shape[0] * xy.shape[1]} points need as many labels, got {numbers.size}")
    return xy, numbers.reshape(xy.shape[:2])
