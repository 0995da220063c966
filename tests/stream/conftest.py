"""Results without a model: discs that move over a gradient, as sinks would get them."""

from __future__ import annotations

import threading
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from maskstream.model.geometry import resize_mask
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream.types import Frame, FrameResult, StreamInfo


def disc(hw, centre_xy, radius):
    rows, columns = np.ogrid[: hw[0], : hw[1]]
    return (rows - centre_xy[1]) ** 2 + (columns - centre_xy[0]) ** 2 < radius**2


def found(object_id, mask, state=TrackState.TRACKED, quality=0.9):
    return ObjectMask(object_id, mask, box_of_mask(mask), 0.95, 0.97, state, quality)


@pytest.fixture(scope="session")
def make_info():
    def make(hw=(48, 64), time_base=Fraction(1, 1000), rate=Fraction(25), is_live=False, count=None):
        return StreamInfo("shapes", hw[1], hw[0], time_base, rate, is_live, count)

    return make


@pytest.fixture(scope="session")
def make_result():
    def make(index=0, pts=None, hw=(48, 64), time_base=Fraction(1, 1000), objects=None):
        image = np.empty((*hw, 3), np.uint8)
        image[..., 0] = np.linspace(0, 255, hw[1])
        image[..., 1] = np.linspace(0, 255, hw[0])[:, None]
        image[..., 2] = 40
        if objects is None:
            x = (10 + 5 * index) % hw[1]
            lost = np.zeros(hw, bool)
            objects = (
                found(1, disc(hw, (x, hw[0] / 2), hw[0] / 5)),
                found(2, disc(hw, (hw[1] / 2, x % hw[0]), hw[0] / 4), TrackState.UNCERTAIN, 0.4),
                found(3, lost, TrackState.LOST, 0.0),
            )
        pts = index * 40 if pts is None else pts
        frame = Frame(
            image, index, pts, time_base, 1_000_000 * index, 1_700_000_000_000_000_000 + index, "shapes"
        )
        return FrameResult(frame, tuple(objects), 0, 12.5, 3.25, 1_000_000 * index + 20_000_000)

    return make


class Boxes:
    """In place of tracker and networks: every object is a box that stays where it was shown."""

    device = SimpleNamespace(type="cpu")

    def __init__(self):
        self.masks = {}

    def encode(self, image):
        threading.Event().wait(0.002)  # so that a run over nothing does not take all of a busy machine
        return image

    def step(self, image, embedding, prompts, time_s):
        self.masks = {i: resize_mask(mask, image.shape[:2]) for i, mask in self.masks.items()}
        for prompt in prompts:
            if prompt.box_xyxy is None and prompt.mask is None and prompt.object_id in self.masks:
                continue
            mask = np.zeros(image.shape[:2], bool)
            x0, y0, x1, y1 = prompt.box_xyxy.astype(int) if prompt.box_xyxy is not None else (0, 0, 9, 9)
            mask[y0:y1, x0:x1] = True
            self.masks[prompt.object_id] = prompt.mask if prompt.mask is not None else mask
        return tuple(
            ObjectMask(i, mask, box_of_mask(mask), 1.0, 1.0, TrackState.TRACKED, 1.0)
            for i, mask in sorted(self.masks.items())
        )

    def interrupted(self):
        """What was seen before a break stays where it was."""

    def remove(self, object_id):
        del self.masks[object_id]

    def rename(self, object_id, new_id):
        self.masks[new_id] = self.masks.pop(object_id)


@pytest.fixture
def segment_boxes(monkeypatch):
    """Runs are made with Boxes; what carries out commands is the real segmenter."""
    from maskstream.stream import runner
    from maskstream.stream.segmenter import Segmenter

    def load(config, inputs, *more):
        boxes = Boxes()
        return Segmenter(boxes, boxes, inputs.agenda)

    monkeypatch.setattr(runner, "_load_segmenter", load)
