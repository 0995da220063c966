"""What all trackers have in common: who is followed, how each one fares, and whose turn it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

import torch
from torch import Tensor

from .errors import PromptError
from .motion import Motion, MotionEstimator
from .predictor import Predictor
from .tracker_settings import TrackerSettings
from .types import ImageEmbedding, ObjectMask, Prompt, RgbImage, TrackState


@dataclass(slots=True, eq=False)
class Life:
    """How one object fares."""

    object_id: int
    state: TrackState
    seen_s: float  # media time when it was last seen


AnyLife_co = TypeVar("AnyLife_co", bound=Life, covariant=True)


class ObjectTracker(ABC, Generic[AnyLife_co]):
    """Follows objects from their prompts; pure computation, one call per frame in order of time.

    Args:
        predictor: decodes the prompts; the caller encodes the frames with the same.
        settings: the constants of the method.
        motion: tells how things moved from frame to frame; by optical flow, if not given.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: TrackerSettings = TrackerSettings(),  # noqa: B008
        motion: MotionEstimator | None = None,
    ) -> None:
        self._predictor = predictor
        self._settings = settings
        self._motion = motion or MotionEstimator()
        self._tracks: dict[int, AnyLife_co] = {}

    def prepare(self, original_hw: tuple[int, int], objects: int = 1) -> None:  # noqa: B027
        """Do now what the first image of this size (h, w) px with so many objects would wait for."""

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects being followed, in ascending order."""
        return tuple(sorted(self._tracks))

    def remove(self, object_id: int) -> None:
        """Stop following an object.

        Raises:
            PromptError: there is no such object.
        """
        self._check_tracked(object_id)
        del self._tracks[object_id]

    def rename(self, object_id: int, new_id: int) -> None:
        """Follow an object on under another id; all that is known of it stays.

        Raises:
            PromptError: there is no such object, or the new id is taken or out of range.
        """
        self._check_tracked(object_id)
        if not 1 <= new_id <= 65535:
            raise PromptError(f"object_id must be in 1..65535, got {new_id}")
        if new_id in self._tracks:
            raise PromptError(f"object {new_id} is tracked already; use another id, or remove it first")
        track = self._tracks.pop(object_id)
        track.object_id = new_id
        self._tracks[new_id] = track

    def interrupted(self) -> None:
        """The stream broke off after the last frame: on the next one objects are found by looks alone."""
        self._motion.forget()

    def _check_tracked(self, object_id: int) -> None:
        if object_id not in self._tracks:
            tracked = ", ".join(map(str, self.object_ids)) or "none"
            raise PromptError(f"object {object_id} is not tracked; tracked are: {tracked}")

    @torch.inference_mode()
    def step(
        self,
        image: RgbImage,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt] = (),
        time_s: float = 0.0,
    ) -> tuple[ObjectMask, ...]:
        """Masks of all objects on the next frame, in order of object_id.

        Args:
            image: (H, W, 3) uint8 RGB, the frame itself, for optical flow.
            embedding: the same frame encoded.
            prompts: objects that the user shows on this frame; a known id is corrected, a new one begins.
            time_s: media time of the frame; tells an occluded object from a lost one.

        Raises:
            PromptError: a prompt lies beside the picture, or two prompts name one object.
        """
        _check_prompts(prompts, embedding.original_hw)
        motion = self._motion.step(image)
        shown = {prompt.object_id: prompt for prompt in prompts}
        masks = self._find(image, embedding, motion, shown, time_s)
        return tuple(sorted(masks, key=lambda mask: mask.object_id))

    @abstractmethod
    def _find(
        self,
        image: RgbImage,
        embedding: ImageEmbedding,
        motion: Motion | None,
        shown: Mapping[int, Prompt],
        time_s: float,
    ) -> list[ObjectMask]:
        """All objects on a frame, in any order; those that are `shown`, by id, as the user says."""

    def _live_on(self, life: Life, is_seen: bool, quality: float, time_s: float) -> None:
        """An object's state after another frame, with hysteresis, so that it does not flicker."""
        settings = self._settings
        if not is_seen:
            lost = time_s - life.seen_s > settings.lost_after_s
            life.state = TrackState.LOST if lost else TrackState.OCCLUDED
            return
        was_sure = life.state is TrackState.TRACKED
        needed = settings.unsure_quality if was_sure else settings.sure_quality
        life.state = TrackState.TRACKED if quality >= needed else TrackState.UNCERTAIN
        life.seen_s = time_s


AnyTracker = ObjectTracker[Life]


@overload
def is_turn(frames_seen: int, object_id: int, every: int) -> bool: ...
@overload
def is_turn(frames_seen: Tensor, object_id: Tensor, every: int) -> Tensor: ...
def is_turn(frames_seen: int | Tensor, object_id: int | Tensor, every: int) -> bool | Tensor:
    """Whether it is an object's turn, of one in so many frames: objects take turns."""
    return (frames_seen + object_id) % every == 0


@overload
def is_search_turn(frames_unseen: int) -> bool: ...
@overload
def is_search_turn(frames_unseen: Tensor) -> Tensor: ...
def is_search_turn(frames_unseen: int | Tensor) -> bool | Tensor:
    """Whether an object that is followed on unseen is searched for on this frame, or looked for near."""
    return frames_unseen % 2 == 1


def _check_prompts(prompts: Sequence[Prompt], original_hw: tuple[int, int]) -> None:
    ids = [prompt.object_id for prompt in prompts]
    if len(set(ids)) < len(ids):
        raise PromptError(f"two prompts for one object on one frame, ids {ids}: merge them into one prompt")
    for prompt in prompts:
        prompt.check_inside(original_hw)
