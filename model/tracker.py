"""Previous masks become the next prompts: objects followed from frame to frame without a video model.

Per frame and object: an appearance map (ridge regression on the encoder's features) and the previous mask
moved by optical flow say together where the object is; the mask decoder, prompted with that as box and mask
logits, draws it; the best of its candidates is mixed with the map; the result teaches the appearance memory.
An object that is not seen is searched for by its looks over the whole picture. docs/propagation.md tells what
each part is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import torch

from .appearance import Anchor, AppearanceGrid, AppearanceMemory, gather_evidence
from .finder import Found, find_all
from .first_mask import first_mask
from .lifecycle import Life, ObjectTracker, is_search_turn, is_turn
from .motion import Motion, SoftMask
from .outline import Outliner
from .outlook import Outlook, background_after, background_of, look_ahead, search
from .soft_masks import cell_means, share_of, stability_of
from .types import BoolMask, ImageEmbedding, ObjectMask, Prompt, RgbImage, TrackState, box_of_mask
from .view import View

DOUBT_GAIN = 10.0  # anchor response to the chance that a cell left out is the object after all


@dataclass(slots=True, eq=False)
class _Track(Life):
    """One object's life: its looks, where it was, what is known not to be it, and how it fares."""

    memory: AppearanceMemory
    soft: SoftMask  # (4h, 4w) on the decoder's low-res grid
    background: SoftMask  # (4h, 4w), 1 where the picture is known to be something else
    usual_share: float  # of the picture that it covers as a rule: a running mean
    frames_seen: int = 0
    learned_at: int = 0  # the number of frames seen when it learned last
    frames_unseen: int = 0  # since it was seen
    predicted_iou: float = 0.0  # by the decoder, when it was last asked
    agreement: float = 0.0  # of decoder and map, likewise


class Tracker(ObjectTracker[_Track]):
    """Follows objects one after the other; see `ObjectTracker`."""

    def _find(
        self,
        image: RgbImage,
        embedding: ImageEmbedding,
        motion: Motion | None,
        shown: Mapping[int, Prompt],
        time_s: float,
    ) -> list[ObjectMask]:
        view = View(embedding, AppearanceGrid.of(embedding), Outliner(image, embedding), time_s)
        known = [self._tracks[object_id] for object_id in self.object_ids]
        outlooks = {track.object_id: self._look_ahead(track, view, motion) for track in known}
        followed = [track for track in known if track.object_id not in shown]
        masks = self._follow(followed, outlooks, view)
        for prompt in shown.values():
            masks.append(self._show(prompt, outlooks.get(prompt.object_id), view))
        return masks

    def _look_ahead(self, track: _Track, view: View, motion: Motion | None) -> Outlook:
        """Near where it was; over the whole picture if that is unknown or holds nothing."""
        settings = self._settings.outlook
        if motion is not None and not motion.is_cut and (track.soft > 0.5).any():
            near = look_ahead(track.memory, view.grid, motion, track.soft, track.background, settings)
            if (near.soft_map > 0.5).any():
                if is_search_turn(track.frames_unseen):
                    anywhere = search(track.memory, view.grid, view.low_res_hw, settings)
                    return replace(anywhere, warped=near.soft_map, background=near.background)
                is_doubtful = track.agreement < self._settings.sure_agreement
                return replace(near, is_doubtful=is_doubtful, usual_share=track.usual_share)
        return search(track.memory, view.grid, view.low_res_hw, settings)

    def _show(self, prompt: Prompt, outlook: Outlook | None, view: View) -> ObjectMask:
        """Begin or correct a track where the user points."""
        expected = None if outlook is None else outlook.soft_map
        first = first_mask(prompt, expected, view, self._predictor)
        found = Found(first.soft, first.predicted_iou, agreement=1.0)
        share = cell_means(found.soft, view.grid.grid_hw)
        anchor = Anchor.of(view.grid, share, is_exact=prompt.mask is not None)
        track = self._tracks.get(prompt.object_id)
        if track is None:
            memory = AppearanceMemory(anchor, self._settings.anchor_weight)
        else:
            memory = track.memory
            memory.add_anchor(anchor)
        self._tracks[prompt.object_id] = _Track(
            object_id=prompt.object_id,
            state=TrackState.TRACKED,
            seen_s=view.time_s,
            memory=memory,
            soft=found.soft,
            background=background_of(found.soft),
            usual_share=share_of(found.soft),
        )
        return object_mask(self._tracks[prompt.object_id], found, view, prompt.mask)

    def _follow(
        self,
        tracks: Sequence[_Track],
        outlooks: dict[int, Outlook],
        view: View,
    ) -> list[ObjectMask]:
        """Find known objects on a new frame; one decoder call for all that it is asked for."""
        ahead = [outlooks[track.object_id] for track in tracks]
        asked = [self._is_asked_for(track, outlook) for track, outlook in zip(tracks, ahead, strict=True)]
        answers = iter(
            find_all(list(compress(ahead, asked)), view.embedding, self._predictor, self._settings.finder)
        )
        all_found = [
            next(answers) if is_asked else self._moved_along(track, outlook)
            for track, outlook, is_asked in zip(tracks, ahead, asked, strict=True)
        ]
        if self._settings.interaction == "exclusive":
            ahead, all_found = _kept_apart(ahead, all_found)
        masks = []
        for track, outlook, found in zip(tracks, ahead, all_found, strict=True):
            self._update(track, outlook, found, view)
            masks.append(object_mask(track, found, view))
        return masks

    def _is_asked_for(self, track: _Track, outlook: Outlook) -> bool:
        """Whether the decoder is asked for an object: where there is doubt, and now and then."""
        is_sure = not outlook.is_search and track.agreement >= self._settings.sure_agreement
        return not is_sure or is_turn(track.frames_seen, track.object_id, self._settings.ask_every)

    def _moved_along(self, track: _Track, outlook: Outlook) -> Found:
        """An object without the decoder: its map, with what the decoder drew before moved to this frame."""
        share = self._settings.moved_share
        soft = (1 - share) * outlook.soft_map + share * outlook.warped
        return Found(soft, track.predicted_iou, track.agreement)

    def _update(self, track: _Track, outlook: Outlook, found: Found, view: View) -> None:
        """Remember where the object was and what it looked like, as far as that is sure."""
        grid = view.grid
        track.soft = found.soft
        track.predicted_iou, track.agreement = found.predicted_iou, found.agreement
        self._live_on(track, found.is_seen, found.quality, view.time_s)
        track.background = background_after(outlook, found.soft, self._settings.outlook)
        track.frames_unseen = 0 if found.is_seen else track.frames_unseen + 1
        if not found.is_seen:
            return
        track.frames_seen += 1
        track.usual_share += self._settings.learning_rate * (share_of(found.soft) - track.usual_share)
        is_its_turn = is_turn(track.frames_seen, track.object_id, self._settings.learn_every)
        if not is_its_turn and found.agreement >= self._settings.sure_agreement:
            return
        as_shown = outlook.as_shown
        share = cell_means(found.soft, grid.grid_hw).to(as_shown.device)
        known = cell_means(track.background, grid.grid_hw).to(as_shown.device)
        # A cell left out that looks as the user showed the object may be a part come back from behind
        # something: it is not taught as background, unless it is known to be something else.
        looks_like_it = torch.sigmoid(DOUBT_GAIN * (as_shown * (1 - known) - known))
        doubt = self._settings.doubt * (1 - share) * looks_like_it
        trust = (2 * share - 1).abs() ** self._settings.confidence * (1 - doubt)
        kept = (1 - self._settings.learning_rate) ** (track.frames_seen - track.learned_at)
        track.memory.learn(gather_evidence(grid, share, trust), 1 - kept)
        track.learned_at = track.frames_seen


def _kept_apart(outlooks: Sequence[Outlook], found: Sequence[Found]) -> tuple[list[Outlook], list[Found]]:
    """Each object less what others have a better claim to; the others are known background to it."""
    claims = [one.soft * np.float32(one.is_seen) for one in found]
    areas = [int(np.count_nonzero(claim > 0.5)) for claim in claims]
    kept_outlooks, kept = [], []
    for i, (outlook, own) in enumerate(zip(outlooks, found, strict=True)):
        soft, rival = own.soft, np.zeros_like(own.soft)
        for j, other in enumerate(claims):
            if i != j:
                is_lost = _claims_more(other, own.soft, areas[j] < areas[i])
                soft = np.where(is_lost, np.minimum(soft, 1 - other), soft)
                rival = np.maximum(rival, other)
        kept.append(replace(own, soft=soft))
        kept_outlooks.append(replace(outlook, background=np.maximum(outlook.background, rival)))
    return kept_outlooks, kept


def _claims_more(other: SoftMask, own: SoftMask, other_is_smaller: bool) -> BoolMask:
    """Where another object has the better claim: what both take for theirs is the smaller one's, in front."""
    both = (other > 0.5) & (own > 0.5)
    claims: BoolMask = np.where(both, other_is_smaller, other > own)
    return claims


def object_mask(life: Life, found: Found, view: View, exact: BoolMask | None = None) -> ObjectMask:
    """What the user gets of one object; its mask is `exact` where that is given."""
    seen = found.soft if found.is_seen else np.zeros_like(found.soft)
    mask = view.outliner.to_original(seen) if exact is None else exact
    return ObjectMask(
        object_id=life.object_id,
        mask=mask,
        box_xyxy=box_of_mask(mask),
        predicted_iou=found.predicted_iou,
        stability_score=stability_of(seen),
        state=life.state,
        quality=found.quality,
    )
