"""What became of many objects on a frame, once the mask decoder has answered: finder.py for all at once.

There is no branch on data in it, so that it can be recorded as a CUDA graph.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .batch_masks import (
    area_of,
    certainty_of,
    close,
    dilate,
    fineness_of,
    resize,
    share_of,
    soft_iou,
    stability_of,
)
from .batch_outline import BatchOutliner
from .batch_outlook import Ahead
from .batch_parts import box_around
from .batch_rows import FrameShape, Rows
from .finder import BORDER_PX, NO_REST, SURE_REST
from .lifecycle import is_turn
from .outlook import edge_px
from .soft_masks import LOW_RES_PX
from .tracker_settings import TrackerSettings

BOX_ALONE = 4  # the candidate of `finder.CANDIDATES` that comes from the second prompt


class BatchFound(NamedTuple):
    """What is found of each of N rows."""

    masks: Tensor  # (N, H, W) bool
    figures: Tensor  # (N, 8) float32: those of `Figures`
    learns: Tensor  # (N,) bool, whether the object's looks are learned from this frame


class Figures(NamedTuple):
    """What the host hears of one object beside its mask."""

    is_seen: float  # 1 or 0
    predicted_iou: float
    raw_quality: float  # before the table
    stability: float
    left: float  # the mask's box, half-open, px
    top: float
    right: float
    bottom: float


class _Some(NamedTuple):
    """As `Found`, of each row."""

    soft: Tensor  # (N, 4h, 4w)
    predicted_iou: Tensor  # (N,)
    agreement: Tensor  # (N,), 0 where it is not the object

    @property
    def is_seen(self) -> Tensor:
        """(N,) bool, see `Found`."""
        return (self.agreement > 0) & (area_of(self.soft > 0.5) > 0)


class BatchFinder:
    """Finds all rows' objects and keeps what is learned of them.

    Args:
        rows: what is known of the objects.
        shape: of the frames.
        settings: the constants.
    """

    def __init__(self, rows: Rows, shape: FrameShape, settings: TrackerSettings) -> None:
        self._rows, self._shape, self._settings = rows, shape, settings
        device = rows.soft.device
        self._edge_px = edge_px(shape.low_res_hw)
        self._outliner = BatchOutliner(shape, device)

    def find(
        self, image: Tensor, logits: Tensor, predicted_iou: Tensor, is_followed: Tensor, *ahead: Tensor
    ) -> BatchFound:
        """The objects' masks; where they are is kept.

        Args:
            image: (1, 3, H, W) uint8 RGB, the frame.
            logits: (2N, 4, 4h, 4w), the decoder's answers to `BatchOutlook.prompts`.
            predicted_iou: (2N, 4), what it thinks of them.
            is_followed: (N,) bool, rows that are looked for on this frame; the others stay as they are.
            ahead: see `Ahead`.
        """
        outlook = Ahead(*ahead)
        found = self._asked_or_moved(self._choose(logits, predicted_iou, outlook), outlook)
        background = outlook.background
        if self._settings.interaction == "exclusive":
            found, background = _kept_apart(found, background, is_followed)
        self._keep(found, outlook._replace(background=background), is_followed)
        is_seen = found.is_seen
        seen = found._replace(soft=found.soft * is_seen[:, None, None])
        masks = self._outliner.to_original(image, seen.soft)
        return BatchFound(masks, _figures(seen, is_seen, masks), self._count(is_seen & is_followed))

    def _choose(self, logits: Tensor, predicted_iou: Tensor, ahead: Ahead) -> _Some:
        """Of each row the candidate that agrees best with the map, mixed with it; see `finder.find_all`."""
        settings, is_doubtful = self._settings.finder, self._is_doubtful(ahead)
        candidates, guesses = _candidates(torch.sigmoid(logits)), _candidates(predicted_iou)
        agreements = soft_iou(candidates, ahead.soft_map[:, None])  # (N, 5)
        totals = agreements + settings.predicted_iou_share * guesses
        is_opinion = torch.arange(totals.shape[1], device=totals.device) < BOX_ALONE
        totals = torch.where(is_opinion | is_doubtful[:, None], totals, -torch.inf)
        best = totals.argmax(dim=1, keepdim=True)
        guess, agreement = guesses.gather(1, best)[:, 0], agreements.gather(1, best)[:, 0]
        drawn = candidates.take_along_dim(best[:, :, None, None], dim=1)[:, 0]
        believed = settings.decoder_share * (agreement >= settings.least_agreement)
        box_xyxy = (ahead.box_xyxy / LOW_RES_PX).long()
        share = believed[:, None, None] * self._inside(box_xyxy, settings.box_margin_px)
        soft = share * drawn + (1 - share) * ahead.soft_map
        more = settings.rest_likeness - settings.least_likeness
        near = settings.least_likeness + more * self._rest_of(soft)
        least = torch.where(ahead.is_search, settings.found_likeness, near)
        is_it = ahead.has_box & (certainty_of(soft) * agreement >= least)
        unseen = torch.where(ahead.is_search[:, None, None], ahead.warped, soft)
        soft = torch.where(is_it[:, None, None], soft, unseen)
        return _Some(soft, guess * is_it, agreement * is_it)

    def _rest_of(self, soft: Tensor) -> Tensor:
        """See `finder.rest_of`: (N,) of masks (N, 4h, 4w)."""
        inside = soft > 0.5
        bottom, right = (side // LOW_RES_PX - BORDER_PX for side in self._shape.resized_hw)
        is_at_border = area_of(inside) > area_of(inside[:, BORDER_PX:bottom, BORDER_PX:right])
        left = share_of(soft) / self._rows.usual_share.clamp(min=1e-9)
        return ((NO_REST - left) / (NO_REST - SURE_REST)).clamp(0, 1) * ~is_at_border

    def _is_doubtful(self, ahead: Ahead) -> Tensor:
        return ahead.is_search | (self._rows.agreement < self._settings.sure_agreement)

    def _inside(self, box_xyxy: Tensor, margin_px: int) -> Tensor:
        """See `soft_masks.inside_box`: (N, 4h, 4w) bool of boxes (N, 4) int64 px."""
        left, top, right, bottom = box_xyxy[:, :, None].unbind(dim=1)
        ys, xs = (torch.arange(n, device=box_xyxy.device) for n in self._shape.low_res_hw)
        rows = (ys >= top - margin_px) & (ys <= bottom + margin_px)
        columns = (xs >= left - margin_px) & (xs <= right + margin_px)
        return rows[:, :, None] & columns[:, None, :]

    def _asked_or_moved(self, asked: _Some, ahead: Ahead) -> _Some:
        """Objects that it was sure of are taken from the decoder in turns; see `Tracker._is_asked_for`."""
        rows, settings = self._rows, self._settings
        is_asked = self._is_doubtful(ahead) | is_turn(rows.frames_seen, rows.object_id, settings.ask_every)
        moved = (1 - settings.moved_share) * ahead.soft_map + settings.moved_share * ahead.warped
        return _Some(
            torch.where(is_asked[:, None, None], asked.soft, moved),
            torch.where(is_asked, asked.predicted_iou, rows.predicted_iou),
            torch.where(is_asked, asked.agreement, rows.agreement),
        )

    def _keep(self, found: _Some, ahead: Ahead, is_followed: Tensor) -> None:
        """Remember where the objects were, and what is not them; see `Tracker._update`."""
        rows, follows = self._rows, is_followed[:, None, None]
        rows.background.copy_(torch.where(follows, self._background_after(found, ahead), rows.background))
        rows.soft.copy_(torch.where(follows, found.soft, rows.soft))
        rows.predicted_iou.copy_(torch.where(is_followed, found.predicted_iou, rows.predicted_iou))
        rows.agreement.copy_(torch.where(is_followed, found.agreement, rows.agreement))
        unseen = torch.where(found.is_seen, 0, rows.frames_unseen + 1)
        rows.frames_unseen.copy_(torch.where(is_followed, unseen, rows.frames_unseen))

    def _background_after(self, found: _Some, ahead: Ahead) -> Tensor:
        """See `outlook.background_after`: (N, 4h, 4w)."""
        known = close(ahead.background, self._edge_px)
        other = resize(ahead.as_shown, self._shape.low_res_hw) < 0
        other |= self._far_from(found.soft) & ~ahead.is_search[:, None, None]
        beyond = dilate(found.soft, self._edge_px) < 0.5
        return torch.maximum(known, other.float()) * beyond

    def _far_from(self, soft: Tensor) -> Tensor:
        """Whether a pixel is beyond reach of the box around a mask: (N, 4h, 4w) bool, nowhere without one."""
        inside = soft > 0.5
        reach_px = round(self._settings.outlook.far * max(self._shape.low_res_hw))
        return ~self._inside(box_around(inside), reach_px) & (area_of(inside) > 0)[:, None, None]

    def _count(self, is_seen: Tensor) -> Tensor:
        """Count the frames on which rows were seen, and say which learn from this one."""
        rows, settings = self._rows, self._settings
        rows.frames_seen.add_(is_seen)
        usual = torch.lerp(rows.usual_share, share_of(rows.soft), settings.learning_rate)
        rows.usual_share.copy_(torch.where(is_seen, usual, rows.usual_share))
        is_unsure = rows.agreement < settings.sure_agreement
        return is_seen & (is_unsure | is_turn(rows.frames_seen, rows.object_id, settings.learn_every))


def _candidates(answers: Tensor) -> Tensor:
    """Of answers (2N, 4, ...) to both prompts of N rows `finder.CANDIDATES` (N, 5, ...)."""
    with_map, box_alone = answers.chunk(2)
    return torch.cat([with_map, box_alone[:, :1]], dim=1)


def _kept_apart(found: _Some, background: Tensor, is_followed: Tensor) -> tuple[_Some, Tensor]:
    """Each object less what others have a better claim to, which are known background to it.

    See the tracker's own.
    """
    all_soft = found.soft * (is_followed & found.is_seen)[:, None, None]
    areas = area_of(all_soft > 0.5)
    soft, kept_background = [], []
    for row, own in enumerate(found.soft):
        is_other = torch.arange(len(all_soft), device=own.device) != row
        others = all_soft * is_other[:, None, None]  # (N, 4h, 4w)
        both = (others > 0.5) & (own > 0.5)
        claims = torch.where(both, (areas < areas[row])[:, None, None], others > own)
        left = torch.where(claims, 1 - others, 1.0).amin(dim=0)
        soft.append(torch.minimum(own, left))
        kept_background.append(torch.maximum(background[row], others.amax(dim=0)))
    return found._replace(soft=torch.stack(soft)), torch.stack(kept_background)


def _figures(found: _Some, is_seen: Tensor, masks: Tensor) -> Tensor:
    """(N, 8), in the order of `Figures`."""
    soft = found.soft
    raw_quality = certainty_of(soft) * found.agreement * fineness_of(soft)
    figures = (
        is_seen,
        found.predicted_iou,
        raw_quality,
        stability_of(soft),
        *box_around(masks).unbind(dim=1),
    )
    return torch.stack([figure.float() for figure in figures], dim=1)
