"""What the commands that are due on one frame come to together, worked out before the tracker is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from maskstream.model.errors import PromptError
from maskstream.model.types import Prompt
from numpy.typing import NDArray

from .commands import Command, Detections, Remove, Rename, Show

MAX_ID = 65_535
MAX_OBJECTS = 256  # whoever steers a run cannot fill its memory

Box = NDArray[np.float32] | NDArray[np.int32]  # (4,) x0, y0, x1, y1 px, zeros where nothing is seen


@dataclass(slots=True, eq=False)
class FramePlan:
    """What a frame's commands come to: `edits` to the tracks first, then `prompts` to be shown.

    Each add() sees what those before it have done. One that is refused changes nothing.

    Args:
        picture_hw: the frame's size.
        boxes: where each object that is followed was seen last.
        highest_id: the highest id that was ever in use.
    """

    picture_hw: tuple[int, int]
    boxes: Mapping[int, Box]
    highest_id: int = 0
    edits: list[Remove | Rename] = field(default_factory=list)
    _tracked: dict[int, Box] = field(init=False)
    _shows: dict[int, Show] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tracked = dict(self.boxes)
        self.highest_id = max(self.highest_id, *self._tracked, 0)

    @property
    def prompts(self) -> list[Prompt]:
        """What to show to the tracker, one prompt for each object."""
        return [show.prompt for show in self._shows.values()]

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that will be followed from this frame on."""
        return tuple(sorted({*self._tracked, *self._shows}))

    def add(self, command: Command) -> tuple[int, ...]:
        """Take a command in; the ids of the objects it names.

        Raises:
            PromptError: it cannot be done; nothing has changed.
        """
        command = command.fitted(self.picture_hw)
        match command:
            case Show():
                return self._show(command)
            case Remove():
                return self._remove(command)
            case Rename():
                return self._rename(command)
            case Detections():
                return self._take_over(command)
        raise TypeError(f"not a command: {command!r}")

    def _show(self, show: Show) -> tuple[int, ...]:
        prompt = show.prompt
        is_known = prompt.object_id in self.object_ids
        if show.known is True:
            self._check_known(prompt.object_id)
        if show.known is False and is_known:
            raise PromptError(f"object {prompt.object_id} is tracked already; correct it, or use another id")
        if not is_known:
            self._check_room(1)
        prompt.check_inside(self.picture_hw)
        before = self._shows.get(prompt.object_id)
        if before is not None and before.when == show.when:
            show = replace(show, prompt=_joined(before.prompt, prompt))
        self._check_says_where(show.prompt)
        # One for another moment is not joined: frames were dropped, and of two the later one counts.
        self._shows[prompt.object_id] = show
        self.highest_id = max(self.highest_id, prompt.object_id)
        return (prompt.object_id,)

    def _check_says_where(self, prompt: Prompt) -> None:
        """Negative points alone only say what an object is not: enough where it is seen, and only there."""
        if prompt.box_xyxy is not None or prompt.mask is not None or (prompt.point_labels == 1).any():
            return
        box = self._tracked.get(prompt.object_id)
        if box is None or not box.any():
            raise PromptError(
                f"object {prompt.object_id} is not seen, so negative points do not say where it is: "
                "add a point on it, or a box"
            )

    def _remove(self, remove: Remove) -> tuple[int, ...]:
        self._check_known(remove.object_id)
        self._shows.pop(remove.object_id, None)
        if self._tracked.pop(remove.object_id, None) is not None:
            self.edits.append(remove)
        return (remove.object_id,)

    def _rename(self, rename: Rename) -> tuple[int, ...]:
        old, new = rename.object_id, rename.new_id
        self._check_known(old)
        if not 1 <= new <= MAX_ID:
            raise PromptError(f"object_id must be in 1..{MAX_ID}, got {new}")
        if new in self.object_ids:
            raise PromptError(f"object {new} is tracked already; use another id, or remove it first")
        if old in self._shows:
            show = self._shows.pop(old)
            self._shows[new] = replace(show, prompt=replace(show.prompt, object_id=new))
        if old in self._tracked:
            self._tracked[new] = self._tracked.pop(old)
            self.edits.append(rename)
        self.highest_id = max(self.highest_id, new)
        return (new,)

    def _take_over(self, detections: Detections) -> tuple[int, ...]:
        boxes = self._clipped(detections.boxes_xyxy)
        owners = match_boxes(boxes, self._seen(), detections.least_iou)
        self._check_room(owners.count(None))
        new_ids = self._new_ids(owners.count(None))
        ids = tuple(next(new_ids) if owner is None else owner for owner in owners)
        for object_id, owner, box in zip(ids, owners, boxes, strict=True):
            if owner is None or detections.refresh:
                self._show(
                    Show(Prompt(object_id, box_xyxy=box), time_s=detections.time_s, pts=detections.pts)
                )
        if detections.replace:
            for object_id in set(self.object_ids) - set(ids):
                self._remove(Remove(object_id))
        return ids

    def _clipped(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The boxes (N, 4) as far as they are in the picture; detectors look a little over its edge."""
        height, width = self.picture_hw
        clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        if (clipped[:, :2] >= clipped[:, 2:]).any():
            raise PromptError(
                f"a box of {boxes.tolist()} is beside the picture, which is {width}x{height} px"
            )
        return clipped

    def _seen(self) -> dict[int, Box]:
        """Where the objects are, as far as that is known."""
        shown = {object_id: show.prompt.box_xyxy for object_id, show in self._shows.items()}
        return self._tracked | {object_id: box for object_id, box in shown.items() if box is not None}

    def _new_ids(self, count: int) -> Iterator[int]:
        """Ids that were never in use; after years of detections, some that are free again."""
        if self.highest_id + count <= MAX_ID:
            return iter(range(self.highest_id + 1, self.highest_id + 1 + count))
        used = set(self.object_ids)
        return iter([number for number in range(1, MAX_ID + 1) if number not in used][:count])

    def _check_room(self, count: int) -> None:
        if len(self.object_ids) + count > MAX_OBJECTS:
            raise PromptError(
                f"{len(self.object_ids)} objects are tracked, and {MAX_OBJECTS} is the most; remove some"
            )

    def _check_known(self, object_id: int) -> None:
        if object_id not in self.object_ids:
            tracked = ", ".join(map(str, self.object_ids)) or "none"
            raise PromptError(f"object {object_id} is not tracked; tracked are: {tracked}")


def _joined(first: Prompt, second: Prompt) -> Prompt:
    """Two prompts for one object at one moment: points add up, boxes and masks of the later one win."""
    if second.mask is not None or first.mask is not None:
        return second
    return replace(
        second,
        points_xy=np.concatenate([first.points_xy, second.points_xy]),
        point_labels=np.concatenate([first.point_labels, second.point_labels]),
        box_xyxy=first.box_xyxy if second.box_xyxy is None else second.box_xyxy,
    )


def match_boxes(boxes: NDArray[np.float32], seen: Mapping[int, Box], least_iou: float) -> list[int | None]:
    """For each of (N, 4) boxes the object it belongs to, if any; the best overlaps are given away first."""
    owners: list[int | None] = [None] * len(boxes)
    overlaps = [(_iou(box, other), i, name) for i, box in enumerate(boxes) for name, other in seen.items()]
    taken = set[int]()
    for overlap, i, object_id in sorted(overlaps, key=lambda one: -one[0]):
        if overlap >= least_iou and owners[i] is None and object_id not in taken:
            owners[i] = object_id
            taken.add(object_id)
    return owners


def _iou(first: Box, second: Box) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    areas = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]))
    return common / (areas - common) if areas > common else 0.0
