"""scripts/two_objects.py: the pairs it makes of drawn sequences, how it counts swaps, and one whole run."""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from maskstream.model.errors import WeightsError
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.model.weights import resolve
from maskstream.stream.evaluate_data import find_sequences, read_labels
from maskstream.stream.picture_source import load_picture
from maskstream.stream.types import Frame, FrameResult
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"
HW = (96, 160)
FRAMES = 5
COLOURS = {"ant": (200, 40, 40), "bee": (40, 40, 200)}
ROWS = {"ant": (20, 70), "bee": (30, 60)}
AREAS_PX = [40 * (bottom - top) for top, bottom in ROWS.values()]


@pytest.fixture(scope="module")
def script():
    """The script as a module; it imports its neighbour."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec = importlib.util.spec_from_file_location("two_objects", SCRIPTS / "two_objects.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look for their module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPTS))
        sys.modules.pop("two_objects", None)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two sequences of a block on grey that moves 4 px a frame to the right."""
    root = tmp_path_factory.mktemp("dataset")
    for name, colour in COLOURS.items():
        for tree in ("JPEGImages", "Annotations"):
            (root / tree / "480p" / name).mkdir(parents=True)
        for number in range(FRAMES):
            mask = np.zeros(HW, bool)
            mask[slice(*ROWS[name]), 40 + 4 * number : 80 + 4 * number] = True
            image = np.full((*HW, 3), 128, np.uint8)
            image[mask] = colour
            Image.fromarray(image).save(root / "JPEGImages" / "480p" / name / f"{number}.png")
            white = Image.fromarray(mask.astype(np.uint8) * 255)
            white.save(root / "Annotations" / "480p" / name / f"{number}.png")
    return root


def made(script, dataset, out, kind):
    first, second = find_sequences(dataset)
    script.write_pair(out, kind, first, second)
    sequence = script.read_pair(out, script.pair_name(kind, first, second))
    return sequence, [read_labels(path) for path in sequence.annotations]


def colour_in(picture, where):
    return np.median(picture[where], axis=0)


@pytest.mark.parametrize("kind", ["tiled", "pasted"])
def test_labels_lie_where_their_objects_are(script, dataset, tmp_path, kind):
    sequence, truths = made(script, dataset, tmp_path, kind)
    assert sequence.first_frames == {1: 0, 2: 0}
    assert len(truths) == FRAMES
    for path, labels in zip(sequence.pictures, truths, strict=True):
        picture = load_picture(path)
        for object_id, colour in enumerate(COLOURS.values(), start=1):
            assert np.abs(colour_in(picture, labels == object_id) - colour).max() < 12
        assert np.abs(colour_in(picture, labels == 0) - 128).max() < 12


def test_tiled_objects_never_meet(script, dataset, tmp_path):
    sequence, truths = made(script, dataset, tmp_path, "tiled")
    assert truths[0].shape == (HW[0], 2 * HW[1])
    assert script.meeting_frames(sequence) == 0
    assert all(np.bincount(labels.ravel()).tolist()[1:] == AREAS_PX for labels in truths)


def test_a_pasted_object_crosses_the_other_and_hides_it(script, dataset, tmp_path):
    sequence, truths = made(script, dataset, tmp_path, "pasted")
    assert 0 < script.meeting_frames(sequence) < FRAMES
    seen = [np.count_nonzero(labels == 1) for labels in truths]
    assert seen[0] == seen[-1] == AREAS_PX[0]
    assert seen[FRAMES // 2] < AREAS_PX[0] - 0.9 * AREAS_PX[1]
    ahead = [np.sign(np.diff([box_of_mask(labels == one)[0] for one in (1, 2)]))[0] for labels in truths]
    assert ahead[0] == -ahead[-1] != 0  # it began on one side and ended on the other


def test_what_is_made_twice_is_the_same(script, dataset, tmp_path):
    once, again = (made(script, dataset, tmp_path / name, "pasted")[0] for name in ("a", "b"))
    for one, other in zip(once.pictures + once.annotations, again.pictures + again.annotations, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_an_object_that_is_gone_is_pasted_where_it_was(script, dataset, tmp_path):
    sequence = find_sequences(dataset)[0]
    empty = tmp_path / "empty.png"
    Image.fromarray(np.zeros(HW, np.uint8)).save(empty)
    gaps = (empty, sequence.annotations[1], empty, *sequence.annotations[3:])
    boxes = script.boxes_of(type(sequence)("gaps", sequence.pictures, gaps, {255: 1}))
    assert boxes[:, 0].tolist() == [44, 44, 44, 52, 56]


def test_swaps_are_masks_more_on_the_other_than_on_their_own(script):
    truth = np.zeros(HW, np.uint16)
    truth[:, :50], truth[:, 50:100] = 1, 2

    def swaps(*columns):
        image = np.zeros((*HW, 3), np.uint8)
        objects = []
        for object_id, (start, end) in enumerate(columns, start=1):
            mask = np.zeros(HW, bool)
            mask[:, start:end] = True
            objects.append(ObjectMask(object_id, mask, box_of_mask(mask), 1.0, 1.0, TrackState.TRACKED, 1.0))
        frame = Frame(image, 0, 0, Fraction(1, 24), 0, 0, "x")
        return script.swapped(FrameResult(frame, tuple(objects), 0, 0.0, 0.0, 1), truth)

    assert swaps((0, 50), (50, 100)) == 0
    assert swaps((50, 100), (0, 50)) == 2
    assert swaps((20, 90), (50, 100)) == 1
    assert swaps((0, 160), (0, 0)) == 0  # as much on each, and nothing on any
    assert swaps((100, 160), (110, 160)) == 0  # beside both


@pytest.mark.weights
def test_a_whole_run(script, dataset, tmp_path, capsys):
    try:
        resolve()
    except WeightsError as error:
        pytest.skip(f"no weights: {error}")
    ways = ["--interaction", "none", "exclusive"]
    script.main([str(dataset), str(tmp_path), "--kind", "tiled", "--size", "128", *ways])
    head, pair, mean, end = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "pair",
        "frames",
        "meeting",
        "single",
        "swaps",
        "none",
        "swaps",
        "exclusive",
        "swaps",
    ]
    assert pair.split()[0] == "tiled5-ant-bee"
    assert pair.split()[1:] == mean.split()[3:]
    assert all(float(figure) > 0.8 for figure in pair.split()[3::2])
    assert end.startswith("size 128")
