"""What is kept of each scored frame, and the figures that DAVIS makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from maskstream.model.metrics import Statistics, boundary_f, region_iou, statistics
from maskstream.model.types import BoolMask, ObjectMask


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One object on one frame. J and F are of the label picture, where each pixel belongs to one object."""

    frame: int
    j: float
    f: float
    iou: float  # of the mask as the tracker gave it, which another object's mask may overlap
    truth_px: int
    mask_px: int  # of the mask as the tracker gave it
    quality: float  # what the tracker promised
    state: str
    how: str = "fresh"  # the mask came to be; "none" where there is none
    age_ms: float = 0.0  # of the evidence behind it


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """One object on its scored frames: all from its first on but the sequence's first and last."""

    object_id: int
    first_frame: int  # where it was shown to the tracker
    scores: tuple[FrameScore, ...]

    @property
    def followed(self) -> tuple[FrameScore, ...]:
        """The scored frames without the one on which the object was shown."""
        return tuple(score for score in self.scores if score.frame > self.first_frame)

    @property
    def j(self) -> Statistics:
        """Mean, recall and decay of J."""
        return statistics([score.j for score in self.scores])

    @property
    def f(self) -> Statistics:
        """Mean, recall and decay of F."""
        return statistics([score.f for score in self.scores])


@dataclass(frozen=True, slots=True)
class SequenceScores:
    """One sequence, scored."""

    name: str
    objects: tuple[ObjectScores, ...]
    encode_ms: tuple[float, ...]  # of every frame; 0 of those that were not encoded
    track_ms: tuple[float, ...]
    encoded: int = 0  # frames whose encoding is behind the masks


@dataclass(frozen=True, slots=True)
class Absence:
    """Masks where nothing is, and nothing where the object is, on the frames on which it was followed."""

    absent_frames: int  # the truth is empty
    absent_empty: float | None  # share of them given an empty mask; None without such frames
    present_frames: int
    falsely_empty: float | None  # share of them given an empty mask


def score_frame(frame: int, truth: BoolMask, labelled: BoolMask, found: ObjectMask | None) -> FrameScore:
    """Score one object.

    Args:
        frame: its number in the sequence.
        truth: (H, W) where it is.
        labelled: (H, W) where the label picture has it.
        found: the tracker's answer; None if it gave none, which counts as an empty mask.
    """
    mask = np.zeros_like(truth) if found is None else found.mask
    return FrameScore(
        frame=frame,
        j=region_iou(truth, labelled),
        f=boundary_f(truth, labelled),
        iou=region_iou(truth, mask),
        truth_px=int(np.count_nonzero(truth)),
        mask_px=int(np.count_nonzero(mask)),
        quality=0.0 if found is None else found.quality,
        state="none" if found is None else found.state.value,
        how="none" if found is None else found.how.value,
        age_ms=0.0 if found is None else found.age_ms,
    )


def objects_of(sequences: Iterable[SequenceScores]) -> list[ObjectScores]:
    """All objects of all sequences."""
    return [found for sequence in sequences for found in sequence.objects]


def mean_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Each figure's mean over objects: DAVIS counts every object the same, however long its sequence."""
    names = [field.name for field in fields(Statistics)]
    return Statistics(*(float(np.mean([getattr(part, name) for part in parts])) for name in names))


def absence(objects: Iterable[ObjectScores]) -> Absence:
    """How honest the tracker is about objects that are not there."""
    scores = [score for found in objects for score in found.followed]
    absent = [score.mask_px == 0 for score in scores if not score.truth_px]
    present = [score.mask_px == 0 for score in scores if score.truth_px]
    return Absence(len(absent), _share(absent), len(present), _share(present))


def _share(verdicts: Sequence[bool]) -> float | None:
    return sum(verdicts) / len(verdicts) if verdicts else None
