"""Previous masks become the next prompts: objects followed from frame to frame without a video model.

Per frame and object: an appearance map (ridge regression on the encoder's features) and the previous mask
moved by optical flow say together where the object is; the mask decoder, prompted with that as box and mask logits,
draws it; the best of its candidates is mixed with the map; the result teaches the appearance memory.
docs/propagation.md tells what each part is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from .appearance import AppearanceGrid, AppearanceMemory, gather_evidence
from .errors import PromptError
from .motion import Motion, MotionEstimator, SoftMask
from .predictor import Predictor
from .soft_masks import box_of_soft, cell_means, low_res_of, resize_soft, soft_iou, stability_of, to_original
from .types import BoolMask, ImageEmbedding, ObjectMask, Prompt, RgbImage, TrackState, box_of_mask


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """The tracker's constants; docs/propagation.md has a measured row for each that matters."""

    response_gain: float = 6.0  # appearance response to probability: sigmoid(gain * response)
    warped_share: float = 0.3  # of the flow-warped previous mask in the map
    decoder_share: float = 0.6  # of the mask decoder in the final mask, the rest is the map
    reach_cells: int = 4  # how far from the warped mask the object may be, in 16 px cells
    predicted_iou_share: float = 0.1  # of the decoder's own guess in choosing a candidate
    least_agreement: float = 0.25  # soft IoU of candidate and map below which the map alone is the mask
    learning_rate: float = 0.1
    anchor_weight: float = 0.5


# The single mask and the three candidates from box + mask logits, and the single mask from the box alone,
# which the logits' own errors cannot sway.
CANDIDATES = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0))
PROMPTED_LOGIT = 6.0  # a sure map as mask logits


@dataclass(slots=True, eq=False)
class _Track:
    """One object's life: its looks and where it was."""

    object_id: int
    memory: AppearanceMemory
    soft: SoftMask  # (4h, 4w) on the decoder's low-res grid


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """One object on one frame, before it is made a full-size mask."""

    soft: SoftMask  # (4h, 4w)
    predicted_iou: float
    agreement: float  # soft IoU of the decoder's mask and the map


class Tracker:
    """Follows objects from their prompts; pure computation, one call per frame in order of time.

    Args:
        predictor: encodes the frames and decodes the prompts.
        settings: the constants of the method.
    """

    def __init__(self, predictor: Predictor, settings: TrackerSettings = TrackerSettings()) -> None:  # noqa: B008
        self._predictor = predictor
        self._settings = settings
        self._motion = MotionEstimator()
        self._tracks: dict[int, _Track] = {}

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects being followed, in ascending order."""
        return tuple(sorted(self._tracks))

    def remove(self, object_id: int) -> None:
        """Stop following an object.

        Raises:
            PromptError: there is no such object.
        """
        if object_id not in self._tracks:
            tracked = ", ".join(map(str, self.object_ids)) or "none"
            raise PromptError(f"object {object_id} is not tracked; tracked are: {tracked}")
        del self._tracks[object_id]

    @torch.inference_mode()
    def step(
        self,
        image: RgbImage,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt] = (),
    ) -> tuple[ObjectMask, ...]:
        """Masks of all objects on the next frame, in order of object_id.

        Args:
            image: (H, W, 3) uint8 RGB, the frame itself, for optical flow.
            embedding: the same frame encoded.
            prompts: objects that the user shows on this frame; a known id is corrected, a new one begins.

        Raises:
            PromptError: a prompt lies beside the picture, or two prompts name one object.
        """
        _check_prompts(prompts, embedding.original_hw)
        motion = self._motion.step(image)
        shown = {prompt.object_id: prompt for prompt in prompts}
        grid = AppearanceGrid.of(embedding)
        followed = [track for object_id, track in sorted(self._tracks.items()) if object_id not in shown]
        masks = self._follow(followed, grid, motion, embedding)
        masks += [self._show(prompt, grid, embedding) for prompt in shown.values()]
        return tuple(sorted(masks, key=lambda mask: mask.object_id))

    def _show(self, prompt: Prompt, grid: AppearanceGrid, embedding: ImageEmbedding) -> ObjectMask:
        """Begin or correct a track where the user points."""
        if prompt.mask is not None:
            found = _Found(low_res_of(prompt.mask, embedding), predicted_iou=1.0, agreement=1.0)
        else:
            found = self._decode_shown(prompt, embedding)
        evidence = gather_evidence(grid, cell_means(found.soft, grid.grid_hw))
        track = self._tracks.get(prompt.object_id)
        if track is None:
            memory = AppearanceMemory(evidence, self._settings.learning_rate, self._settings.anchor_weight)
            self._tracks[prompt.object_id] = _Track(prompt.object_id, memory, found.soft)
        else:
            track.memory.add_anchor(evidence)
            track.soft = found.soft
        return _object_mask(prompt.object_id, found, embedding, prompt.mask)

    def _decode_shown(self, prompt: Prompt, embedding: ImageEmbedding) -> _Found:
        """The mask of what the user points at: a lone point is ambiguous, so the best of three is taken."""
        ambiguous = prompt.box_xyxy is None and len(prompt.points_xy) == 1
        prediction = self._predictor.decode(embedding, [prompt], multimask_output=ambiguous)
        best = int(prediction.predicted_iou[0].argmax())
        soft = torch.sigmoid(prediction.low_res_logits[0, best]).cpu().numpy()
        return _Found(soft, float(prediction.predicted_iou[0, best]), agreement=1.0)

    def _follow(
        self, tracks: Sequence[_Track], grid: AppearanceGrid, motion: Motion | None, embedding: ImageEmbedding
    ) -> list[ObjectMask]:
        """Find known objects on a new frame; one decoder call for all of them."""
        maps = [self._map(track, grid, motion) for track in tracks]
        found = self._decode_maps(maps, embedding)
        for track, one in zip(tracks, found, strict=True):
            track.soft = one.soft
            if (one.soft > 0.5).any():
                track.memory.learn(gather_evidence(grid, cell_means(one.soft, grid.grid_hw)))
        return [_object_mask(t.object_id, one, embedding) for t, one in zip(tracks, found, strict=True)]

    def _map(self, track: _Track, grid: AppearanceGrid, motion: Motion | None) -> SoftMask:
        """Where the object should be: its looks near its warped previous mask, mixed with that mask."""
        settings = self._settings
        height, width = track.soft.shape
        looks = torch.sigmoid(settings.response_gain * track.memory.respond(grid)).cpu().numpy()
        looks = resize_soft(looks, (height, width))
        if motion is None:
            return looks
        warped = motion.warp(track.soft)
        near = _nearby(warped, 4 * settings.reach_cells)
        blended: SoftMask = (1 - settings.warped_share) * looks * near + settings.warped_share * warped
        return blended

    def _decode_maps(self, maps: Sequence[SoftMask], embedding: ImageEmbedding) -> list[_Found]:
        boxes = [box_of_soft(soft, embedding) for soft in maps]
        seen = [i for i, box in enumerate(boxes) if box is not None]
        found = [_Found(soft * 0, predicted_iou=0.0, agreement=0.0) for soft in maps]
        if not seen:
            return found
        prompts = [_prompt_pair(box, maps[i]) for i in seen if (box := boxes[i]) is not None]
        prediction = self._predictor.decode_all(embedding, [prompt for pair in prompts for prompt in pair])
        softs = torch.sigmoid(prediction.low_res_logits).cpu().numpy()
        softs = softs.reshape(len(seen), 2, *softs.shape[1:])
        ious = prediction.predicted_iou.cpu().numpy().reshape(len(seen), 2, -1)
        for i, candidates, predicted_iou in zip(seen, softs, ious, strict=True):
            found[i] = self._choose(maps[i], candidates, predicted_iou)
        return found

    def _choose(
        self, soft_map: SoftMask, candidates: NDArray[np.float32], predicted_iou: NDArray[np.float32]
    ) -> _Found:
        """The candidate of (2, 4, 4h, 4w) that agrees best with the map, mixed with the map."""
        settings = self._settings
        agreements = [soft_iou(candidates[which], soft_map) for which in CANDIDATES]
        totals = [
            agreement + settings.predicted_iou_share * float(predicted_iou[which])
            for agreement, which in zip(agreements, CANDIDATES, strict=True)
        ]
        best = int(np.argmax(totals))
        guess, agreement = float(predicted_iou[CANDIDATES[best]]), agreements[best]
        if agreement < settings.least_agreement:
            return _Found(soft_map, guess, agreement)
        share = settings.decoder_share
        return _Found(share * candidates[CANDIDATES[best]] + (1 - share) * soft_map, guess, agreement)


def _check_prompts(prompts: Sequence[Prompt], original_hw: tuple[int, int]) -> None:
    ids = [prompt.object_id for prompt in prompts]
    if len(set(ids)) < len(ids):
        raise PromptError(
            f"two prompts for one object on one frame: object ids {ids}; merge them into one prompt"
        )
    for prompt in prompts:
        prompt.check_inside(original_hw)


def _nearby(soft: SoftMask, reach_px: int) -> SoftMask:
    """1 within `reach_px` of the mask, falling off smoothly to 0."""
    kernel = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    grown = cv2.dilate((soft > 0.3).astype(np.float32), kernel)
    near: SoftMask = cv2.GaussianBlur(grown, (0, 0), reach_px / 2)
    return near


def _prompt_pair(box_xyxy: NDArray[np.float32], soft_map: SoftMask) -> tuple[Prompt, Prompt]:
    logits = ((2 * soft_map - 1) * PROMPTED_LOGIT)[None]
    return Prompt(1, box_xyxy=box_xyxy, low_res_logits=logits), Prompt(1, box_xyxy=box_xyxy)


def _object_mask(
    object_id: int, found: _Found, embedding: ImageEmbedding, exact: BoolMask | None = None
) -> ObjectMask:
    mask = to_original(found.soft, embedding) if exact is None else exact
    seen = bool(mask.any())
    quality = min(1.0, max(0.0, found.predicted_iou * found.agreement)) if seen else 0.0
    return ObjectMask(
        object_id=object_id,
        mask=mask,
        box_xyxy=box_of_mask(mask),
        predicted_iou=found.predicted_iou,
        stability_score=stability_of(found.soft),
        state=TrackState.LOST if not seen else TrackState.TRACKED if quality >= 0.5 else TrackState.UNCERTAIN,
        quality=quality,
    )
