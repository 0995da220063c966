"""How an object is shown to the tracker: its true mask, the box around it, or one click in its middle."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
from maskstream.model.types import BoolMask, Prompt, box_of_mask
from numpy.typing import NDArray

from .commands import Show
from .evaluate_data import LabelledSequence, read_labels

Seed = Literal["mask", "box", "click"]
SEEDS: tuple[Seed, ...] = ("mask", "box", "click")


def schedule_seeds(sequence: LabelledSequence, seed: Seed, frame_rate: Fraction) -> list[Show]:
    """One prompt for each object, on the first frame that shows it."""
    schedule = []
    for object_id, frame in sequence.first_frames.items():
        mask = read_labels(sequence.annotations[frame]) == object_id
        schedule.append(Show(seed_prompt(object_id, mask, seed), time_s=float(frame / frame_rate)))
    return schedule


def seed_prompt(object_id: int, mask: BoolMask, seed: Seed) -> Prompt:
    """The prompt made from a true mask (H, W) that is not empty."""
    if seed == "mask":
        return Prompt(object_id, mask=mask)
    if seed == "box":
        return Prompt(object_id, box_xyxy=box_of_mask(mask).astype(np.float32))
    return Prompt(object_id, points_xy=deepest_point(mask)[None], point_labels=np.ones(1, np.int32))


def deepest_point(mask: BoolMask) -> NDArray[np.float32]:
    """The pixel (2,) x, y that is farthest from the edge of the mask's largest part: where a hand clicks."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    framed = np.pad(parts == largest, 1).view(np.uint8)  # the picture's border is an edge too
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([x, y], np.float32)
