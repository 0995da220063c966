"""The tracker of a GPU: all objects at once, and nothing leaves the device but masks and a few figures.

The method is that of tracker.py. What is known of the objects lies on the device, a row each. A frame is
three pieces of work on all rows, without a branch on data, recorded as CUDA graphs: what the mask decoder is
to be asked, what becomes of its answers, and what is learned from that. The host works out the optical flow
while the device encodes, and keeps states. On a CPU the same code runs without recordings; there tracker.py
is faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .appearance import Anchor, AppearanceGrid
from .batch_finder import Figures
from .batch_outlook import Ahead
from .batch_rows import FrameShape
from .batch_work import BatchWork, FrameTensors
from .cuda_engine import PROMPTS
from .device_copies import Fetched, send
from .device_image import upload
from .finder import Found
from .first_mask import first_mask
from .lifecycle import Life, ObjectTracker
from .mask_decoder import ALL_MASKS
from .motion import Motion, MotionEstimator
from .outline import Outliner
from .predictor import Predictor
from .quality import SHIPPED, apply_table
from .soft_masks import cell_means
from .tracker import object_mask
from .tracker_settings import TrackerSettings
from .types import BoolMask, ImageEmbedding, ObjectMask, Prompt, RgbImage, TrackState
from .view import View

# Numbers of rows: an object is two prompts, and so many prompts a GPU's engine decodes together.
CAPACITIES = tuple(prompts // 2 for prompts in PROMPTS if prompts % 2 == 0)


@dataclass(slots=True, eq=False)
class _Track(Life):
    """What the host knows of one object."""

    row: int
    anchors: int = 0  # how often the user showed it


class BatchTracker(ObjectTracker[_Track]):
    """Follows objects all at once; see `ObjectTracker`."""

    def __init__(
        self,
        predictor: Predictor,
        settings: TrackerSettings = TrackerSettings(),  # noqa: B008
        motion: MotionEstimator | None = None,
    ) -> None:
        super().__init__(predictor, settings, motion)
        self._works: dict[int, BatchWork] = {}  # by number of rows
        self._work: BatchWork | None = None  # the one in use: its rows are what is known

    @torch.inference_mode()
    def prepare(self, original_hw: tuple[int, int], objects: int = 1) -> None:
        """See `ObjectTracker`: the work is recorded, which takes the time of many frames."""
        embedding = self._predictor.encode(np.zeros((*original_hw, 3), np.uint8))
        self._work_for(objects, FrameShape.of(embedding))

    @torch.inference_mode()
    def remove(self, object_id: int) -> None:
        """See `ObjectTracker`. The last row's object takes the row that is left."""
        self._check_tracked(object_id)
        row, last = self._tracks[object_id].row, len(self._tracks) - 1
        super().remove(object_id)
        for track in self._tracks.values():
            if track.row == last and self._work is not None:
                self._work.rows.move(last, row)
                track.row = row

    @torch.inference_mode()
    def rename(self, object_id: int, new_id: int) -> None:
        """See `ObjectTracker`."""
        super().rename(object_id, new_id)
        if self._work is not None:
            self._work.rows.object_id[self._tracks[new_id].row] = new_id

    def _find(
        self,
        image: RgbImage,
        embedding: ImageEmbedding,
        motion: Motion | None,
        shown: Mapping[int, Prompt],
        time_s: float,
    ) -> list[ObjectMask]:
        objects = self._tracks.keys() | shown.keys()
        if not objects:
            return []
        grid, shape = AppearanceGrid.of(embedding), FrameShape.of(embedding)
        work = self._work_for(len(objects), shape)
        frame = FrameTensors(grid.coarse, grid.detail, *self._moves(motion, shape))
        ahead, prompts = work.look_ahead(frame)
        answers = self._predictor.engine.decode(embedding.features, prompts, ALL_MASKS)
        followed = [track for track in self._tracks.values() if track.object_id not in shown]
        sent = embedding.image if embedding.image is not None else upload(image, grid.device)
        found = work.find(sent, answers, self._chosen(followed, work), ahead)
        fetched = Fetched(found.masks[: len(self._tracks)], found.figures)
        work.learn(frame, ahead, found)  # while the masks are fetched
        all_masks, figures = fetched.wait()
        masks = [self._followed(one, all_masks[one.row], figures[one.row], time_s) for one in followed]
        if shown:
            view = View(embedding, grid, Outliner(image, embedding), time_s)
            masks += [self._show(prompt, ahead, view, work) for prompt in shown.values()]
        return masks

    def _work_for(self, count: int, shape: FrameShape) -> BatchWork:
        """The work on so many objects in such frames, or on more if there is that; what is known moves to it.

        To record it takes the time of many frames: where objects are removed nothing is recorded.
        """
        if self._work is not None and self._work.shape != shape:
            self._works.clear()
        rows = min((rows for rows in self._works if rows >= count), default=_rows_for(count))
        if rows not in self._works:
            self._works[rows] = BatchWork(rows, shape, self._settings, self._predictor.device)
        before, self._work = self._work, self._works[rows]
        if before is not None and before is not self._work:
            self._work.rows.take_over(before.rows)
        return self._work

    def _moves(self, motion: Motion | None, shape: FrameShape) -> tuple[Tensor, Tensor, Tensor]:
        """Where low-res pixels were, how sure that is, and whether to rely on it, on the device."""
        hw, device = shape.low_res_hw, self._predictor.device
        if motion is None:
            came_from, agreement = np.zeros((*hw, 2), np.float32), np.zeros(hw, np.float32)
        else:
            came_from, agreement = motion.came_from(*hw), motion.agreement_at(hw)
        has_motion = np.array([motion is not None and not motion.is_cut])
        return send(came_from, device), send(agreement, device), send(has_motion, device)

    def _chosen(self, tracks: Sequence[_Track], work: BatchWork) -> Tensor:
        """Which rows are theirs (N,) bool."""
        chosen = np.zeros(len(work.rows.soft), np.bool_)
        chosen[[track.row for track in tracks]] = True
        return send(chosen, self._predictor.device)

    def _followed(
        self, track: _Track, mask: BoolMask, numbers: NDArray[np.float32], time_s: float
    ) -> ObjectMask:
        """An object that was looked for on this frame."""
        figures = Figures(*numbers.tolist())
        is_seen = figures.is_seen > 0
        quality = apply_table(figures.raw_quality, SHIPPED) if is_seen else 0.0
        self._live_on(track, is_seen, quality, time_s)
        return ObjectMask(
            object_id=track.object_id,
            mask=mask,
            box_xyxy=numbers[-4:].astype(np.int32),
            predicted_iou=figures.predicted_iou,
            stability_score=figures.stability,
            state=track.state,
            quality=quality,
        )

    def _show(self, prompt: Prompt, ahead: Ahead, view: View, work: BatchWork) -> ObjectMask:
        """Begin or correct a track where the user points; rare, and so done as in `Tracker`."""
        track = self._tracks.get(prompt.object_id)
        expected = None if track is None else ahead.soft_map[track.row].cpu().numpy()
        first = first_mask(prompt, expected, view, self._predictor)
        if track is None:
            track = _Track(prompt.object_id, TrackState.TRACKED, view.time_s, row=len(self._tracks))
            self._tracks[prompt.object_id] = track
        track.anchors += 1
        track.state, track.seen_s = TrackState.TRACKED, view.time_s
        share = cell_means(first.soft, view.grid.grid_hw)
        anchor = Anchor.of(view.grid, share, is_exact=prompt.mask is not None)
        weight = self._settings.anchor_weight
        work.rows.show(track.row, track.object_id, first.soft, anchor, track.anchors, weight)
        return object_mask(track, Found(first.soft, first.predicted_iou, agreement=1.0), view, prompt.mask)


def _rows_for(count: int) -> int:
    """The least number of rows that is prepared for, for so many objects."""
    most = CAPACITIES[-1]
    return next((rows for rows in CAPACITIES if rows >= count), -(-count // most) * most)
