"""A small dataset in DAVIS layout whose truth is exact, and a tracker that errs in known ways."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream.mask_sink import labels_png
from maskstream.stream.scenes import Scene, Thing, away, bounce, still, straight
from maskstream.stream.types import FrameResult
from PIL import Image

FPS = Fraction(24)
WIDTH, HEIGHT, FRAMES = 96, 72, 12


def _at(frame):
    return float(frame / FPS)


def _scene(*things):
    return Scene(WIDTH, HEIGHT, things, lambda time_s: 0)


ROOM = (8, 8, WIDTH - 8, HEIGHT - 8)
SCENES = {
    # One object, black and white.
    "alone": _scene(Thing(255, straight((20, 30), (60, 20)), (26, 22))),
    # 1 hangs over the left and upper border and is gone for a while, 2 enters later, 3 passes in front of 1.
    "crowd": _scene(
        Thing(1, away(straight((4, 6), (30, 40)), _at(6), _at(9)), (30, 34), "box"),
        Thing(2, away(still(80, 60), 0, _at(4)), (40, 40), "diamond"),
        Thing(3, bounce((60, 20), (-90, 60), ROOM), (24, 18)),
    ),
}


@dataclass(frozen=True)
class Dataset:
    root: Path
    scenes: dict[str, Scene]

    @property
    def annotations(self):
        return self.root / "Annotations" / "480p"

    def truth(self, sequence, frame):
        return self.scenes[sequence].masks_at(_at(frame))


@pytest.fixture(scope="session")
def write_dataset():
    def write(root, scenes=SCENES, frames=FRAMES, level="480p"):
        for name, scene in scenes.items():
            pictures, annotations = root / "JPEGImages" / level / name, root / "Annotations" / level / name
            pictures.mkdir(parents=True)
            annotations.mkdir(parents=True)
            for frame in range(frames):
                Image.fromarray(scene.image_at(_at(frame))).save(pictures / f"{frame:05d}.jpg")
                labels = np.zeros((scene.height_px, scene.width_px), np.uint8)
                for object_id, mask in scene.masks_at(_at(frame)).items():
                    labels[mask] = object_id
                path = annotations / f"{frame:05d}.png"
                if labels.max() == 255:
                    Image.fromarray(labels).save(path)
                else:
                    path.write_bytes(labels_png(labels))
        return Dataset(root, dict(scenes))

    return write


@pytest.fixture(scope="session")
def davis(tmp_path_factory, write_dataset):
    """Read only."""
    return write_dataset(tmp_path_factory.mktemp("davis"))


def err(mask, frame, object_id):
    """Shifted by a few px, with a hole or nothing at all on some frames, and something where nothing is."""
    shifted = np.roll(mask, (frame % 3, -(frame % 4)), (0, 1))
    if frame == 7:
        return np.zeros_like(mask)
    if not mask.any() and frame == 8:
        shifted[5:15, 40:60] = True
    if frame % 5 == 3:
        shifted[HEIGHT // 2 :, : WIDTH // 2] = False
    return shifted


class ErringSegmenters:
    """As TrackerSegmenters, but finds the truth and errs on it. Keeps the schedules that it was given."""

    def __init__(self, dataset, error=err):
        self.dataset, self.error = dataset, error
        self.schedules = []

    def __call__(self, schedule):
        self.schedules.append(list(schedule))

        def segment(frame):
            time_s = frame.time_s + 1e-6
            shown = {item.prompt.object_id for item in schedule if item.time_s <= time_s}
            truth = self.dataset.truth(frame.source_id, frame.index)
            found = [self._found(object_id, truth[object_id], frame.index) for object_id in sorted(shown)]
            return FrameResult(frame, tuple(found), 0, 8.0, 2.0 + frame.index, 0)

        return segment

    def _found(self, object_id, truth, frame):
        mask = self.error(truth, frame, object_id)
        quality = 0.9 - 0.05 * (frame % 5) if mask.any() else 0.0
        state = TrackState.TRACKED if mask.any() else TrackState.LOST
        return ObjectMask(object_id, mask, box_of_mask(mask), 0.9, 0.9, state, quality)


@pytest.fixture
def erring(davis):
    return ErringSegmenters(davis)


@pytest.fixture(scope="session")
def erring_segmenters():
    return ErringSegmenters
