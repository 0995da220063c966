"""The values that cross the model's border: what is asked, what is known of an image, what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import PromptError

if TYPE_CHECKING:  # the command line checks its input before it loads torch
    import torch

BoolMask = NDArray[np.bool_]
RgbImage = NDArray[np.uint8]


class TrackState(Enum):
    """How sure the tracker is that the mask is on the object."""

    TRACKED = "tracked"
    UNCERTAIN = "uncertain"
    OCCLUDED = "occluded"
    LOST = "lost"


class MaskOrigin(Enum):
    """How a mask came to be, from the strongest evidence to the weakest."""

    FRESH = "fresh"  # this frame was encoded
    REFINED = "refined"  # decoded on an older image embedding with updated prompts
    WARPED = "warped"  # the previous mask moved by optical flow
    HELD = "held"  # the previous mask as it was


def _no_points() -> NDArray[np.float32]:
    return np.zeros((0, 2), np.float32)


def _no_labels() -> NDArray[np.int32]:
    return np.zeros((0,), np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What points at one object, in pixels of the original image, x right, y down.

    At least one of points, box and mask is given. Lists are accepted and converted.

    Raises:
        PromptError: a field has the wrong shape, is not finite, or the prompt is empty.
    """

    object_id: int  # the caller's, stable for the whole stream; 1..65535
    points_xy: NDArray[np.float32] = field(default_factory=_no_points)  # (N, 2) px
    point_labels: NDArray[np.int32] = field(default_factory=_no_labels)  # (N,) 1 foreground, 0 background
    box_xyxy: NDArray[np.float32] | None = None  # (4,) px
    mask: BoolMask | None = None  # (H, W) bool, the object as the user drew it
    low_res_logits: NDArray[np.float32] | None = None  # (1, h, w), a previous decoder output

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "points_xy", np.asarray(self.points_xy, np.float32))
        set_(self, "point_labels", np.asarray(self.point_labels, np.int32))
        if self.box_xyxy is not None:
            set_(self, "box_xyxy", np.asarray(self.box_xyxy, np.float32))
        self._check_id()
        self._check_points()
        self._check_box()
        self._check_masks()
        if not self.points_xy.size and self.box_xyxy is None and self.mask is None:
            raise PromptError(f"prompt {self.object_id} is empty: give points, a box or a mask")

    def _check_id(self) -> None:
        if not 1 <= self.object_id <= 65535:
            raise PromptError(f"object_id must be in 1..65535, got {self.object_id}")

    def _check_points(self) -> None:
        name, points, labels = f"prompt {self.object_id}", self.points_xy, self.point_labels
        if points.ndim != 2 or points.shape[1] != 2:
            raise PromptError(f"{name}: points_xy must be (N, 2), got {points.shape}")
        if labels.shape != (len(points),):
            raise PromptError(f"{name}: {len(points)} points need {len(points)} labels, got {labels.shape}")
        if not np.isfinite(points).all():
            raise PromptError(f"{name}: points_xy must be finite, got {points.tolist()}")
        if not np.isin(labels, (0, 1)).all():
            raise PromptError(f"{name}: point_labels must be 0 or 1, got {labels.tolist()}")

    def _check_box(self) -> None:
        name, box = f"prompt {self.object_id}", self.box_xyxy
        if box is None:
            return
        if box.shape != (4,) or not np.isfinite(box).all():
            raise PromptError(f"{name}: box must be 4 finite numbers x0,y0,x1,y1, got {box.tolist()}")
        if box[0] >= box[2] or box[1] >= box[3]:
            raise PromptError(f"{name}: box must have x0 < x1 and y0 < y1, got {box.tolist()}")

    def _check_masks(self) -> None:
        name = f"prompt {self.object_id}"
        if self.mask is not None:
            if self.mask.ndim != 2 or self.mask.dtype != np.bool_:
                got = f"{self.mask.shape} {self.mask.dtype}"
                raise PromptError(f"{name}: mask must be (H, W) bool, got {got}")
            if not self.mask.any():
                raise PromptError(f"{name}: mask is empty, it marks no pixel")
        logits = self.low_res_logits
        if logits is not None and (logits.ndim != 3 or logits.shape[0] != 1):
            raise PromptError(f"{name}: low_res_logits must be (1, h, w), got {logits.shape}")

    def check_inside(self, original_hw: tuple[int, int]) -> None:
        """Refuse a prompt that points beside the picture.

        Raises:
            PromptError: a point, the box or the mask does not fit an image of `original_hw`; names the prompt
                and the picture's size.
        """
        height, width = original_hw
        name, size = f"prompt {self.object_id}", f"the picture is {width}x{height} px"
        xy = self.points_xy
        if xy.size and ((xy < 0).any() or (xy[:, 0] >= width).any() or (xy[:, 1] >= height).any()):
            raise PromptError(f"{name}: point {_shown(xy)} is off the picture; {size}")
        box = self.box_xyxy
        if box is not None and (box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height):
            raise PromptError(f"{name}: box {_shown(box)} reaches outside the picture; {size}")
        if self.mask is not None and self.mask.shape != (height, width):
            raise PromptError(f"{name}: mask is {self.mask.shape[1]}x{self.mask.shape[0]} px but {size}")


def _shown(xy: NDArray[np.float32]) -> list[float]:
    """Coordinates as a person would write them: 211.2 and not 211.1999969482422."""
    rounded: list[float] = np.round(xy.astype(np.float64), 2).tolist()
    return rounded


@dataclass(frozen=True, slots=True, eq=False)
class ImageEmbedding:
    """Everything the mask decoder and the tracker need of one image, computed once."""

    features: torch.Tensor  # (1, 256, h, w) float on the device, for the mask decoder
    original_hw: tuple[int, int]  # the image as given, px
    resized_hw: tuple[int, int]  # the image inside the model input, before padding, px
    input_hw: tuple[int, int]  # the model input: 16h x 16w px
    detail: torch.Tensor | None = None  # (1, 192, gh, gw) float: finer features, for the tracker
    image: torch.Tensor | None = None  # (1, 3, H, W) uint8 RGB, the image itself, where it was sent to a GPU

    def __post_init__(self) -> None:
        grid = (self.input_hw[0] // 16, self.input_hw[1] // 16)
        if self.features.ndim != 4 or tuple(self.features.shape[2:]) != grid:
            got = tuple(self.features.shape)
            raise ValueError(f"features must be (1, 256, *{grid}) for {self.input_hw}, got {got}")


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrediction:
    """The decoder's answer to P prompts: C = 1 candidate each, or 3 with multimask output, or all 4."""

    low_res_logits: torch.Tensor  # (P, C, 4h, 4w) float, mask where > 0, in model input space
    predicted_iou: torch.Tensor  # (P, C) float

    def __post_init__(self) -> None:
        if self.low_res_logits.ndim != 4 or self.low_res_logits.shape[:2] != self.predicted_iou.shape:
            raise ValueError(
                f"low_res_logits (P, C, 4h, 4w) and predicted_iou (P, C) disagree: "
                f"{tuple(self.low_res_logits.shape)} and {tuple(self.predicted_iou.shape)}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """One object on one frame, in pixels of the original image."""

    object_id: int
    mask: BoolMask  # (H, W) bool; all False while the object is not seen
    box_xyxy: NDArray[np.int32]  # (4,) half-open, zeros for an empty mask
    predicted_iou: float  # the model's own guess
    stability_score: float  # IoU of the mask under a threshold shift
    state: TrackState
    quality: float  # 0..1, how much to trust this mask
    how: MaskOrigin = MaskOrigin.FRESH
    age_ms: float = 0.0  # age of the evidence behind the mask

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != np.bool_:
            raise ValueError(f"mask must be (H, W) bool, got {self.mask.shape} {self.mask.dtype}")

    @property
    def area_px(self) -> int:
        """Number of mask pixels."""
        return int(np.count_nonzero(self.mask))


def box_of_mask(mask: BoolMask) -> NDArray[np.int32]:
    """Tight half-open box (4,) int32 x0,y0,x1,y1 of a mask (H, W); zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return np.zeros(4, np.int32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.int32)
