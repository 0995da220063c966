"""Where many objects should be on a new frame, and what the mask decoder is asked: outlook.py at once.

There is no branch on data in it, so that it can be recorded as a CUDA graph: near where it was and over the
whole picture, each object is looked for both ways, and what is found near it decides which one counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .appearance import AppearanceGrid
from .batch_fate import BatchFate
from .batch_masks import area_of, dilate, gaussian_blur, resize, sample
from .batch_parts import box_around, parts_of, sums_of
from .batch_rows import FrameShape, Rows
from .lifecycle import is_search_turn
from .outlook import edge_px
from .prompt_encoder import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, PromptBatch
from .soft_masks import LESSER_PART, LOW_RES_PX, PROMPTED_LOGIT
from .tracker_settings import TrackerSettings

LIKENESS_STEPS = 2**16  # in which what a pixel counts for in a search is measured, as a whole number


class Ahead(NamedTuple):
    """What appearance and motion say of each of N rows, as `Outlook`; and its box."""

    soft_map: Tensor  # (N, 4h, 4w), where the object should be
    warped: Tensor  # (N, 4h, 4w), the previous mask moved by optical flow; for a search see `Outlook`
    background: Tensor  # (N, 4h, 4w), what of this frame is known to be something else
    as_shown: Tensor  # (N, gh, gw), response of each cell by what the user showed alone
    is_search: Tensor  # (N,) bool, where motion had no say
    box_xyxy: Tensor  # (N, 4) float32 px of the model input, around the map's largest parts
    has_box: Tensor  # (N,) bool, whether there are any


class BatchOutlook:
    """Looks ahead for all rows.

    Args:
        rows: what is known of the objects.
        shape: of the frames.
        settings: the constants.
    """

    def __init__(self, rows: Rows, shape: FrameShape, settings: TrackerSettings) -> None:
        self._rows, self._shape, self._settings = rows, shape, settings
        device = rows.soft.device
        half_hw = (shape.low_res_hw[0] // 2, shape.low_res_hw[1] // 2)
        self._reach_px = max(1, round(settings.outlook.reach * max(half_hw)))
        self._edge_px = edge_px(shape.low_res_hw)
        self._fate = BatchFate(shape.low_res_hw, device)
        self._blur = gaussian_blur(self._reach_px / 2, half_hw, device)
        original, resized = (
            torch.tensor(hw[::-1]).double().repeat(2) for hw in (shape.original_hw, shape.resized_hw)
        )
        self._to_original, self._to_input = (original / resized).to(device), (resized / original).to(device)
        count = len(rows.soft)
        self._labels = torch.tensor([[BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]]).repeat(2 * count, 1).to(device)
        self._has_mask = (torch.arange(2 * count) < count).to(device)

    def look_ahead(
        self, coarse: Tensor, detail: Tensor, came_from: Tensor, agreement: Tensor, has_motion: Tensor
    ) -> Ahead:
        """Near where each object was; over the whole picture if that is unknown or holds nothing.

        Args:
            coarse: (h, w, 256), see `AppearanceGrid`.
            detail: (192, gh, gw), likewise.
            came_from: (4h, 4w, 2) px, where each pixel was on the frame before; anything without motion.
            agreement: (4h, 4w), how much that place looks like this one; likewise.
            has_motion: (1,) bool, whether the two frames show one scene.
        """
        rows, settings = self._rows, self._settings.outlook
        response, as_shown = rows.looks.respond(AppearanceGrid(coarse, detail))
        moved = sample(torch.stack([rows.soft, rows.background], dim=1), came_from)
        warped, background = moved[:, 0], moved[:, 1] * agreement
        near, background = self._without_strangers(
            self._near_map(response, warped, background), background, came_from
        )
        anywhere = self._probability(response - settings.search_margin)
        is_there = has_motion & _holds_any(rows.soft) & _holds_any(near)
        is_near = is_there & ~is_search_turn(rows.frames_unseen)
        soft_map, is_part = _parts_that_count(near, anywhere, is_near)
        box_xyxy = self._by_way_of_the_original(LOW_RES_PX * box_around(is_part).float())
        warped, background = (
            _where(is_near, warped, _where(is_there, near, 0.0)),
            _where(is_there, background, 0.0),
        )
        return Ahead(soft_map, warped, background, as_shown, ~is_near, box_xyxy, area_of(is_part) > 0)

    def prompts(self, ahead: Ahead) -> PromptBatch:
        """Of each row the box with the map as mask logits (N), then the box alone (N)."""
        corners = ahead.box_xyxy.view(-1, 2, 2).repeat(2, 1, 1)
        logits = ((2 * ahead.soft_map - 1) * PROMPTED_LOGIT)[:, None].repeat(2, 1, 1, 1)
        return PromptBatch(corners, self._labels, logits, self._has_mask)

    def _near_map(self, response: Tensor, warped: Tensor, background: Tensor) -> Tensor:
        """See `outlook.look_ahead`."""
        settings = self._settings.outlook
        looks = self._probability(response) * (1 - settings.background_weight * background)
        return (1 - settings.warped_share) * looks * self._near(warped) + settings.warped_share * warped

    def _without_strangers(
        self, near: Tensor, background: Tensor, came_from: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The map, and what is known background then; see `outlook.look_ahead`."""
        likeness = self._settings.outlook.common_fate
        strangers = self._fate.strangers_in(near, background, came_from, likeness)
        return near * ~strangers, torch.maximum(background, dilate(strangers.float(), self._edge_px))

    def _probability(self, response: Tensor) -> Tensor:
        return resize(torch.sigmoid(self._settings.outlook.response_gain * response), self._shape.low_res_hw)

    def _near(self, warped: Tensor) -> Tensor:
        """1 within reach of warped masks, falling off smoothly to 0; at half the size in between."""
        small = (functional.max_pool2d(warped, 2) > 0.3).float()
        return resize(self._blur(dilate(small, self._reach_px)), self._shape.low_res_hw)

    def _by_way_of_the_original(self, box_xyxy: Tensor) -> Tensor:
        """Rounded as boxes are that were prompts in px of the original image."""
        return ((box_xyxy.double() * self._to_original).float().double() * self._to_input).float()


def _parts_that_count(near: Tensor, anywhere: Tensor, is_near: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the map that holds, and the parts of it that its box is around: (N, 4h, 4w) both.

    Near where it was those that are not much smaller than the largest. Of the whole picture the one that
    looks most like the object; the map then holds nothing else.
    """
    either = _where(is_near, near, anywhere)
    is_inside = either > 0.5
    parts = parts_of(is_inside)
    area = sums_of(is_inside.flatten(1).long(), parts)
    likeness = sums_of((either.flatten(1) * LIKENESS_STEPS).long(), parts)
    is_large = area >= LESSER_PART * area.amax(dim=1, keepdim=True)
    is_best = likeness == likeness.amax(dim=1, keepdim=True)
    counts = (torch.where(is_near[:, None], is_large, is_best) & (parts > 0)).view_as(is_inside)
    return _where(is_near, near, anywhere * counts), counts


def _holds_any(soft: Tensor) -> Tensor:
    return area_of(soft > 0.5) > 0


def _where(is_so: Tensor, a: Tensor, b: Tensor | float) -> Tensor:
    """For each row one of two pictures (N, h, w)."""
    return torch.where(is_so[:, None, None], a, b)
