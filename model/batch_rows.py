"""What is known of many objects, a row each, and of the frames that they are followed on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .appearance import Anchor
from .batch_looks import Looks
from .motion import SoftMask
from .outlook import background_of
from .soft_masks import LOW_RES_PX, share_of
from .tiny_vit import PATCH_PX
from .types import ImageEmbedding


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What frames must have in common to be worked on in the same tensors: sizes (h, w) px."""

    original_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    input_hw: tuple[int, int]
    grid_hw: tuple[int, int]  # of detail
    channels: tuple[int, int]  # of the image embedding and of detail

    @classmethod
    def of(cls, embedding: ImageEmbedding) -> FrameShape:
        """That of an encoded frame, made for tracking."""
        assert embedding.detail is not None
        _, detail_channels, grid_h, grid_w = embedding.detail.shape
        sizes = (embedding.original_hw, embedding.resized_hw, embedding.input_hw)
        return cls(*sizes, (grid_h, grid_w), (embedding.features.shape[1], detail_channels))

    @property
    def coarse_hw(self) -> tuple[int, int]:
        """Size (h, w) of the image embedding."""
        return self.input_hw[0] // PATCH_PX, self.input_hw[1] // PATCH_PX

    @property
    def low_res_hw(self) -> tuple[int, int]:
        """Size (4h, 4w) of soft masks."""
        return self.input_hw[0] // LOW_RES_PX, self.input_hw[1] // LOW_RES_PX


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Up to N objects in tensors that stay where they are, so that recorded work finds them."""

    looks: Looks
    soft: Tensor  # (N, 4h, 4w) on the decoder's low-res grid
    background: Tensor  # (N, 4h, 4w), 1 where the picture is known to be something else
    object_id: Tensor  # (N,) int64
    frames_seen: Tensor  # (N,) int64
    learned_at: Tensor  # (N,) int64, the number of frames seen when it learned last
    frames_unseen: Tensor  # (N,) int64, since it was seen
    predicted_iou: Tensor  # (N,), by the decoder, when it was last asked
    agreement: Tensor  # (N,), of decoder and map, likewise
    usual_share: Tensor  # (N,), of the picture that it covers as a rule

    @classmethod
    def blank(cls, rows: int, shape: FrameShape, device: torch.device) -> Rows:
        """Of no objects."""
        soft, background = (torch.zeros(rows, *shape.low_res_hw, device=device) for _ in range(2))
        object_id, seen, learned, unseen = (
            torch.zeros(rows, dtype=torch.int64, device=device) for _ in range(4)
        )
        predicted_iou, agreement, usual = (torch.zeros(rows, device=device) for _ in range(3))
        looks = Looks.blank(rows, sum(shape.channels) + 1, device)  # and a constant
        return cls(looks, soft, background, object_id, seen, learned, unseen, predicted_iou, agreement, usual)

    def show(
        self, row: int, object_id: int, soft: SoftMask, anchor: Anchor, anchors: int, anchor_weight: float
    ) -> None:
        """The user shows an object, with this so many times: its life begins, anew if it is known."""
        self.looks.show(row, anchor, anchors, anchor_weight)
        self.soft[row] = torch.from_numpy(soft).to(self.soft.device)
        self.background[row] = torch.from_numpy(background_of(soft)).to(self.soft.device)
        self.object_id[row] = object_id
        for frames in (self.frames_seen, self.learned_at, self.frames_unseen):
            frames[row] = 0
        self.predicted_iou[row] = self.agreement[row] = 0
        self.usual_share[row] = share_of(soft)

    def move(self, row: int, to: int) -> None:
        """A row's object to another row."""
        for tensor in self._tensors():
            tensor[to] = tensor[row]

    def take_over(self, other: Rows) -> None:
        """The objects of other rows, as far as there is room; in frames of another shape not their places."""
        count = min(len(self.soft), len(other.soft))
        for own, theirs in zip(self._tensors(), other._tensors(), strict=True):
            if own.shape[1:] == theirs.shape[1:]:
                own[:count] = theirs[:count]
            else:
                own[:count] = 0

    def _tensors(self) -> Iterator[Tensor]:
        for part in (self.looks, self):
            values = (getattr(part, field.name) for field in fields(part))
            yield from (value for value in values if isinstance(value, Tensor))
