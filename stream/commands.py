"""What can be asked of a run while it runs: show, remove and rename objects, take over a detector's boxes.

Commands are values. frame_plan.py says what they come to on a frame; agenda.py carries them from whoever
gives them to the segmenter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from maskstream.model.errors import PromptError
from maskstream.model.types import Prompt
from numpy.typing import NDArray

from .scaling import scaled_prompt, scaled_xy

NOW = (None, None)  # `when` of a command that is meant for the next frame


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Command:
    """Something to be done to the objects at the first frame at or after a time; without one, at the next.

    `time_s` counts from the stream's first frame, as a player shows it; `pts` is the stream's own clock.
    """

    time_s: float | None = None  # media time after the stream's first frame
    pts: int | None = None  # in ticks of the stream's time base
    picture_hw: tuple[int, int] | None = None  # that its px are of; None: the one of the frame that it is for

    def fitted(self, frame_hw: tuple[int, int]) -> Self:
        """For a frame of this size: a stream may have changed its own since the command was given.

        Raises:
            PromptError: it reaches outside the picture that it was given for, or nothing is left of it.
        """
        return self

    @property
    def what(self) -> str:
        """In a few words, as in `the removal of object 2`."""
        raise NotImplementedError

    @property
    def when(self) -> tuple[float | None, int | None]:
        """Both times: equal for commands that are meant for one moment."""
        return self.time_s, self.pts


@dataclass(frozen=True, slots=True, eq=False)
class Show(Command):
    """Begin to follow an object, or correct one that is followed."""

    prompt: Prompt
    known: bool | None = None  # True: it must be followed already; False: it must not

    @property
    def what(self) -> str:
        """In a few words."""
        return f"prompt of object {self.prompt.object_id}"

    def fitted(self, frame_hw: tuple[int, int]) -> Self:
        """With its points, box and mask where they are in a picture of this size."""
        given_hw = self.picture_hw or frame_hw
        prompt = scaled_prompt(self.prompt, given_hw, frame_hw)
        return self if prompt is self.prompt else replace(self, prompt=prompt, picture_hw=frame_hw)


@dataclass(frozen=True, slots=True, eq=False)
class Remove(Command):
    """Stop following an object."""

    object_id: int

    @property
    def what(self) -> str:
        """In a few words."""
        return f"removal of object {self.object_id}"


@dataclass(frozen=True, slots=True, eq=False)
class Rename(Command):
    """Give an object another id; all that is known of it stays."""

    object_id: int
    new_id: int  # not in use

    @property
    def what(self) -> str:
        """In a few words."""
        return f"renaming of object {self.object_id} to {self.new_id}"


@dataclass(frozen=True, slots=True, eq=False)
class Detections(Command):
    """Boxes that a detector found: each is an object that is followed already, or a new one.

    A box belongs to the object whose last mask's box it overlaps most, by at least `least_iou`. New objects
    get ids above all that were in use. Boxes may reach outside the picture.
    """

    boxes_xyxy: NDArray[np.float32]  # (N, 4) px
    least_iou: float = 0.5  # 0..1
    refresh: bool = False  # also show the objects that are followed already by their new boxes
    replace: bool = False  # stop following objects that no box belongs to

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_xyxy, np.float32).reshape(-1, 4)
        object.__setattr__(self, "boxes_xyxy", boxes)
        if not np.isfinite(boxes).all() or (boxes[:, :2] >= boxes[:, 2:]).any():
            raise PromptError(
                f"boxes must be finite x0,y0,x1,y1 with x0 < x1 and y0 < y1, got {boxes.tolist()}"
            )
        if not 0 < self.least_iou <= 1:
            raise PromptError(f"least_iou must be above 0 and at most 1, got {self.least_iou}")

    @property
    def what(self) -> str:
        """In a few words."""
        return f"detections, {len(self.boxes_xyxy)} boxes"

    def fitted(self, frame_hw: tuple[int, int]) -> Self:
        """With its boxes where they are in a picture of this size."""
        if self.picture_hw in (None, frame_hw):
            return self
        boxes = scaled_xy(self.boxes_xyxy, self.picture_hw, frame_hw)
        return replace(self, boxes_xyxy=boxes, picture_hw=frame_hw)


@dataclass(frozen=True, slots=True)
class Applied:
    """A command's effect: the first frame that shows it, and the objects that it named."""

    index: int  # the frame's
    pts: int
    time_s: float  # media time after the stream's first frame
    object_ids: tuple[int, ...]  # of Detections: one for each box
    captured_ns: int = 0  # the frame's, monotonic


def check_schedule(schedule: Sequence[Command]) -> None:
    """See that what is removed or renamed was shown before; `schedule` is in order of time.

    Raises:
        PromptError: it was not, or an id would be used twice.
    """
    known = set[int]()
    for command in schedule:
        if isinstance(command, Show):
            known.add(command.prompt.object_id)
        if not isinstance(command, Remove | Rename):
            continue
        if command.object_id not in known:
            raise PromptError(f"{command.what}: it is not shown before; tracked then are: {_listed(known)}")
        known.remove(command.object_id)
        if isinstance(command, Rename):
            if command.new_id in known:
                raise PromptError(f"{command.what}: that id is in use then")
            known.add(command.new_id)


def _listed(ids: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ids))) or "none"
