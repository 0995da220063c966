from __future__ import annotations

import numpy as np
import pytest
from maskstream.stream.evaluate import Job, evaluate
from maskstream.stream.evaluate_data import find_sequences
from maskstream.stream.evaluate_pictures import BadFrame, plot_j, worst_frames, worst_sheet
from maskstream.stream.evaluate_scores import FrameScore, ObjectScores, SequenceScores
from maskstream.stream.overlay import colour_of
from maskstream.stream.scenes import Scene, Thing, still

BLUE, ORANGE = (86, 180, 233), (230, 159, 0)


def sequence(j, name="a", truth_px=10, quality=0.5):
    scores = [FrameScore(i + 1, value, value, value, truth_px, 10, quality, "x") for i, value in enumerate(j)]
    return SequenceScores(
        name, (ObjectScores(1, 0, tuple(scores)),), (1.0,) * (len(j) + 2), (1.0,) * (len(j) + 2)
    )


def share_of(image, colour, tolerance=12):
    return (np.abs(image.astype(int) - colour).max(axis=2) <= tolerance).mean()


def is_drawn(image, colour):
    return share_of(image, colour) > 0


def test_the_worst_frames_are_apart_and_in_order():
    j = [0.9] * 40
    j[10], j[11], j[30], j[35] = 0.1, 0.0, 0.2, 0.3
    worst = worst_frames([sequence(j), sequence([0.15] * 5, "b")], count=3)
    assert [(bad.sequence, bad.score.frame) for bad in worst] == [("a", 12), ("b", 1), ("a", 31)]
    assert worst[0].caption() == "a 00012 object 1: J 0.00, quality 0.50, x"


def test_the_sheet_shows_truth_and_mask(davis, erring, tmp_path):
    sequences = find_sequences(davis.root)
    jobs = [Job(each, "mask", tmp_path / each.name) for each in sequences]
    for job in jobs:
        job.predictions.mkdir()
    scores = list(evaluate(jobs, erring))
    worst = worst_frames(scores)
    assert [bad.score.j for bad in worst][:2] == [0, 0]
    sheet = worst_sheet(worst, sequences, tmp_path)
    rows = -(-len(worst) // 4)
    assert sheet.shape == (rows * (360 + 6), 4 * (480 + 6), 3)
    tile = sheet[:360, :480]
    assert is_drawn(tile, BLUE)  # the truth is there on the worst frame, and the mask is not
    assert not is_drawn(tile, ORANGE)
    shifted = BadFrame("alone", 255, scores[0].objects[0].scores[1])
    both = worst_sheet([shifted], sequences, tmp_path)
    assert is_drawn(both, BLUE)
    assert is_drawn(both, ORANGE)


def test_tiles_of_several_shapes_fit_on_one_sheet(tmp_path, write_dataset, erring_segmenters):
    scenes = {
        name: Scene(*size, (Thing(1, still(30, 30), (20, 20)),), lambda time_s: 0)
        for name, size in (("wide", (120, 60)), ("tall", (60, 90)))
    }
    dataset = write_dataset(tmp_path / "data", scenes, frames=3)
    sequences = find_sequences(dataset.root)
    jobs = [Job(each, "mask", tmp_path / each.name) for each in sequences]
    for job in jobs:
        job.predictions.mkdir()
    worst = worst_frames(evaluate(jobs, erring_segmenters(dataset)))
    assert worst_sheet(worst, sequences, tmp_path).shape == (720 + 6, 2 * (480 + 6), 3)


@pytest.mark.parametrize("count", [1, 2, 80, 700])
def test_a_plot_draws_j_where_it_is(count):
    image = plot_j(sequence([0.8] * count))
    assert image.shape == (300, 960, 3)
    colour = colour_of(1)
    if count > 1:
        rows = np.flatnonzero(
            (np.abs(image[40:, 60:930].astype(int) - colour).max(axis=2) < 40).mean(axis=1) > 0.1
        )
        top, bottom = 34, 300 - 30
        assert rows.mean() + 40 == pytest.approx(bottom - 0.8 * (bottom - top), abs=2)


def test_a_plot_shades_frames_without_the_object():
    grey = (221, 221, 221)
    assert share_of(plot_j(sequence([0.5] * 9, truth_px=0)), grey, 2) > 0.5
    assert share_of(plot_j(sequence([0.5] * 9, truth_px=9)), grey, 2) < 0.02


def test_a_caption_is_for_people():
    bad = BadFrame("bus", 255, FrameScore(34, 0.125, 0.2, 0.1, 5, 6, 0.8, "tracked"))
    assert bad.caption() == "bus 00034 object 255: J 0.12, quality 0.80, tracked"
