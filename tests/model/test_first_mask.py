"""What a box means, with a decoder whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from maskstream.model.appearance import AppearanceGrid
from maskstream.model.first_mask import first_mask
from maskstream.model.outline import Outliner
from maskstream.model.types import ImageEmbedding, MaskPrediction, Prompt
from maskstream.model.view import View
from numpy.typing import NDArray

HW = (128, 192)
LOW_RES_HW = (32, 48)
BOX = np.array([40, 20, 120, 100], np.float32)
FILLS = (slice(5, 25), slice(10, 30))  # BOX in low-res px
POST = (slice(5, 25), slice(18, 21))  # a post in the middle of it


class _Decoder:
    """Gives the same four candidates to every prompt and keeps what it was asked."""

    def __init__(self, candidates: Sequence[tuple[slice, slice]], predicted_iou: Sequence[float]) -> None:
        self.asked: list[Prompt] = []
        self._logits = torch.full((4, *LOW_RES_HW), -8.0)
        for logits, part in zip(self._logits, candidates, strict=True):
            logits[part] = 8.0
        self._predicted_iou = torch.tensor(predicted_iou)

    def decode_all(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> MaskPrediction:
        self.asked += prompts
        count = len(prompts)
        return MaskPrediction(
            low_res_logits=self._logits.expand(count, -1, -1, -1),
            predicted_iou=self._predicted_iou.expand(count, -1),
        )


@pytest.fixture
def view() -> View:
    """A frame whose box holds something bright in its left half; all else looks alike."""
    detail = torch.zeros(4, 16, 24)
    detail[0] = 1
    detail[:2, 3:12, 5:9] = torch.tensor([0.0, 1.0])[:, None, None]
    features = torch.ones(1, 8, 8, 12)
    embedding = ImageEmbedding(features, HW, HW, HW, detail[None])
    image = np.full((*HW, 3), 90, np.uint8)
    return View(embedding, AppearanceGrid.of(embedding), Outliner(image, embedding), time_s=0.0)


def _asked(view: View, decoder: _Decoder) -> NDArray[np.bool_]:
    soft = first_mask(Prompt(1, box_xyxy=BOX), None, view, decoder).soft  # type: ignore[arg-type]
    return soft > 0.5


def test_the_decoder_is_told_what_in_the_box_is_unlike_what_is_around_it(view: View) -> None:
    decoder = _Decoder([FILLS] * 4, [0.9] * 4)
    assert _asked(view, decoder)[FILLS].all()
    alone, told = decoder.asked
    assert alone.low_res_logits is None
    assert told.low_res_logits is not None
    logits = told.low_res_logits[0]
    assert logits[10:20, 12:16].min() > 0  # bright, in the box
    assert logits[10:20, 22:28].max() < 0  # in the box, but as around it
    assert logits[:, 32:].max() < 0  # beside the box


def test_a_box_means_the_single_mask_where_that_fills_it(view: View) -> None:
    part = (slice(5, 25), slice(10, 26))
    decoder = _Decoder([part, FILLS, POST, POST], [0.6, 0.99, 0.99, 0.99])
    mask = _asked(view, decoder)
    assert mask[part].all()
    assert mask.sum() == 20 * 16


def test_a_box_does_not_mean_a_post_in_it(view: View) -> None:
    decoder = _Decoder([POST, POST, POST, FILLS], [0.95, 0.9, 0.9, 0.8])
    assert _asked(view, decoder)[FILLS].all()


def test_a_box_of_the_whole_picture_is_answered(view: View) -> None:
    decoder = _Decoder([FILLS] * 4, [0.9] * 4)
    whole = np.array([0, 0, HW[1], HW[0]], np.float32)
    found = first_mask(Prompt(1, box_xyxy=whole), None, view, decoder)  # type: ignore[arg-type]
    assert np.isfinite(found.soft).all()
    assert found.soft.max() > 0.5
