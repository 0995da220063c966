"""Following objects on synthetic scenes with exact masks, with real weights at a small size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from maskstream.model.checkpoint import StateDict, build_model
from maskstream.model.errors import PromptError
from maskstream.model.finder import FinderSettings
from maskstream.model.metrics import region_iou
from maskstream.model.predictor import Predictor
from maskstream.model.tracker import Tracker
from maskstream.model.tracker_settings import TrackerSettings
from maskstream.model.types import ImageEmbedding, MaskPrediction, ObjectMask, Prompt, TrackState
from maskstream.stream.sources import open_source
from maskstream.stream.synthetic import SyntheticSource
from maskstream.stream.types import Frame

pytestmark = pytest.mark.weights

Step = tuple[Frame, dict[int, ObjectMask], dict[int, float]]  # J by object id
UNSEEN = (TrackState.OCCLUDED, TrackState.LOST)


@pytest.fixture(scope="module")
def predictor(minisam_state_dict: StateDict) -> Predictor:
    return Predictor(build_model(minisam_state_dict, "minisam"), size=320)


@pytest.fixture
def follow(predictor: Predictor) -> Callable[..., list[Step]]:
    """Runs a scene of two objects, shown on its first frame, through a tracker."""

    def run(scene: str, frames: int, keep: Callable[[int], bool] = lambda index: True) -> list[Step]:
        spec = f"synthetic:objects=2,frames={frames},width=320,height=192,scene={scene}"
        with open_source(spec) as source:
            assert isinstance(source, SyntheticSource)
            return list(_steps(source, predictor, keep))

    return run


def _steps(source: SyntheticSource, predictor: Predictor, keep: Callable[[int], bool]) -> Iterator[Step]:
    tracker = Tracker(predictor)
    for frame in source:
        if not keep(frame.index):
            continue
        prompts = source.prompts(0, "box") if frame.index == 0 else []
        objects = tracker.step(frame.image, predictor.encode(frame.image), prompts, frame.time_s)
        truth = source.truth(frame.index)
        masks = {one.object_id: one for one in objects}
        yield frame, masks, {i: region_iou(truth[i], one.mask) for i, one in masks.items()}


def _mean_j(steps: list[Step], object_id: int) -> float:
    return float(np.mean([scores[object_id] for _, _, scores in steps]))


def test_drifting_objects_keep_their_masks_and_ids(follow: Callable[..., list[Step]]) -> None:
    steps = follow("drift", frames=20)
    assert all(sorted(masks) == [1, 2] for _, masks, _ in steps)
    assert min(_mean_j(steps, 1), _mean_j(steps, 2)) > 0.8
    assert all(one.state is TrackState.TRACKED for _, masks, _ in steps for one in masks.values())


def test_crossing_objects_do_not_swap(follow: Callable[..., list[Step]]) -> None:
    last = follow("crossing", frames=40)[-5:]
    assert min(_mean_j(last, 1), _mean_j(last, 2)) > 0.75


def test_an_object_that_leaves_is_empty_until_it_returns_with_its_id(
    follow: Callable[..., list[Step]],
) -> None:
    steps = follow("leaving", frames=48)
    away = [masks[1] for _, masks, _ in steps[20:28]]
    assert all(not one.mask.any() and one.state in UNSEEN and one.quality == 0 for one in away)
    assert _mean_j(steps[-8:], 1) > 0.75
    assert _mean_j(steps, 2) > 0.8


def test_a_scene_cut_is_met_by_appearance(follow: Callable[..., list[Step]]) -> None:
    steps = follow("cut", frames=32)
    elsewhere = steps[15:21]
    assert all(not one.mask.any() for _, masks, _ in elsewhere for one in masks.values())
    back = steps[-8:]
    assert min(_mean_j(back, 1), _mean_j(back, 2)) > 0.8


def test_a_jump_is_found_again(follow: Callable[..., list[Step]]) -> None:
    after = follow("jump", frames=24)[-5:]
    assert min(_mean_j(after, 1), _mean_j(after, 2)) > 0.8


def test_what_is_not_recognised_is_looked_for_near_and_anywhere_in_turn(predictor: Predictor) -> None:
    """Followed on unseen it can be found again, here by searches alone."""
    settings = TrackerSettings(finder=FinderSettings(least_likeness=2, found_likeness=0))
    tracker, frames = Tracker(predictor, settings), _frames(6)
    shown: Sequence[Prompt] = [Prompt(1, box_xyxy=[60, 60, 140, 140])]
    seen = []
    for frame in frames:
        [one] = tracker.step(frame.image, predictor.encode(frame.image), shown, frame.time_s)
        shown = []
        seen.append(bool(one.mask.any()))
    assert seen == [True, False, True, False, True, False]


def test_dropped_frames_do_not_lose_objects(follow: Callable[..., list[Step]]) -> None:
    steps = follow("drift", frames=30, keep=lambda index: index % 5 == 0)
    assert min(_mean_j(steps, 1), _mean_j(steps, 2)) > 0.75


def _frames(count: int) -> list[Frame]:
    with open_source(f"synthetic:objects=2,frames={count},width=320,height=192,scene=drift") as source:
        return list(source)


def test_one_objects_masks_do_not_depend_on_the_others(predictor: Predictor) -> None:
    frames = _frames(4)
    with open_source("synthetic:objects=2,frames=1,width=320,height=192,scene=drift") as source:
        assert isinstance(source, SyntheticSource)
        both = list(source.prompts(0, "box"))
    embeddings = [predictor.encode(frame.image) for frame in frames]
    masks = {}
    for count in (1, 2):
        tracker = Tracker(predictor)
        steps = [
            tracker.step(frame.image, embedding, both[:count] if frame.index == 0 else [], frame.time_s)
            for frame, embedding in zip(frames, embeddings, strict=True)
        ]
        masks[count] = [objects[0].mask for objects in steps]
    assert all(np.array_equal(alone, beside) for alone, beside in zip(masks[1], masks[2], strict=True))


def test_a_mask_prompt_is_given_back_as_it_is(predictor: Predictor) -> None:
    frame = _frames(1)[0]
    mask = np.zeros(frame.hw, np.bool_)
    mask[40:90, 60:140] = True
    shown = Tracker(predictor).step(frame.image, predictor.encode(frame.image), [Prompt(7, mask=mask)])
    assert [one.object_id for one in shown] == [7]
    assert np.array_equal(shown[0].mask, mask)
    assert shown[0].box_xyxy.tolist() == [60, 40, 140, 90]


def test_a_click_beside_the_object_takes_that_place_away(predictor: Predictor) -> None:
    frame, later = _frames(2)
    tracker = Tracker(predictor)
    mask = np.zeros(frame.hw, np.bool_)
    mask[20:120, 20:220] = True
    tracker.step(frame.image, predictor.encode(frame.image), [Prompt(1, mask=mask)])
    click = Prompt(1, points_xy=[[200, 40]], point_labels=[0])
    corrected = tracker.step(later.image, predictor.encode(later.image), [click], later.time_s)[0]
    assert not corrected.mask[40, 200]


def test_objects_can_be_added_and_removed_between_frames(predictor: Predictor) -> None:
    first, second, third = _frames(3)
    tracker = Tracker(predictor)
    box = Prompt(1, box_xyxy=[20, 20, 120, 120])
    tracker.step(first.image, predictor.encode(first.image), [box], first.time_s)
    added = Prompt(2, box_xyxy=[150, 60, 260, 170])
    both = tracker.step(second.image, predictor.encode(second.image), [added], second.time_s)
    assert [one.object_id for one in both] == [1, 2]
    with pytest.raises(PromptError, match="object 2 is tracked already"):
        tracker.rename(1, 2)
    tracker.rename(2, 7)
    assert tracker.object_ids == (1, 7)
    tracker.remove(1)
    left = tracker.step(third.image, predictor.encode(third.image), [], third.time_s)
    assert [one.object_id for one in left] == [7]
    with pytest.raises(PromptError, match="object 1 is not tracked; tracked are: 7"):
        tracker.remove(1)


class _Counting(Predictor):
    """Counts the objects and prompts that the decoder is asked for."""

    asked = 0

    def decode_all(
        self, embedding: ImageEmbedding | Sequence[ImageEmbedding], prompts: Sequence[Prompt]
    ) -> MaskPrediction:
        self.asked += len(prompts)
        return super().decode_all(embedding, prompts)


def _asked_per_frame(predictor: Predictor, ask_every: int) -> tuple[list[int], float]:
    """Prompts decoded on each frame after the first, and the mean J of two drifting objects."""
    counting = _Counting(predictor.model, predictor.size)
    tracker = Tracker(counting, TrackerSettings(ask_every=ask_every))
    source = open_source("synthetic:objects=2,frames=14,width=320,height=192,scene=drift")
    assert isinstance(source, SyntheticSource)
    asked, scores = [], []
    for frame in source:
        prompts = source.prompts(0, "box") if frame.index == 0 else []
        counting.asked = 0
        masks = tracker.step(frame.image, counting.encode(frame.image), prompts, frame.time_s)
        asked.append(counting.asked)
        scores += [region_iou(source.truth(frame.index)[one.object_id], one.mask) for one in masks]
    return asked[1:], float(np.mean(scores))


def test_sure_objects_take_turns_at_the_decoder_if_told_so(predictor: Predictor) -> None:
    always, j_always = _asked_per_frame(predictor, ask_every=1)
    seldom, j_seldom = _asked_per_frame(predictor, ask_every=3)
    assert min(always) >= 2
    assert sum(seldom) < 0.6 * sum(always)
    assert 0 in seldom
    assert j_seldom > j_always - 0.05


def test_prompts_beside_the_picture_or_twice_are_refused(predictor: Predictor) -> None:
    frame = _frames(1)[0]
    embedding = predictor.encode(frame.image)
    tracker = Tracker(predictor)
    with pytest.raises(PromptError, match="320x192"):
        tracker.step(frame.image, embedding, [Prompt(1, box_xyxy=[0, 0, 999, 50])])
    twice = [Prompt(1, box_xyxy=[0, 0, 50, 50]), Prompt(1, points_xy=[[5, 5]], point_labels=[1])]
    with pytest.raises(PromptError, match="merge them"):
        tracker.step(frame.image, embedding, twice)


def test_a_change_of_picture_size_is_met_by_appearance(predictor: Predictor) -> None:
    frame = _frames(1)[0]
    tracker = Tracker(predictor)
    box = Prompt(1, box_xyxy=[20, 20, 120, 120])
    tracker.step(frame.image, predictor.encode(frame.image), [box])
    smaller = np.ascontiguousarray(frame.image[:160, :240])
    masks = tracker.step(smaller, predictor.encode(smaller), [], 0.1)
    assert masks[0].mask.shape == (160, 240)
