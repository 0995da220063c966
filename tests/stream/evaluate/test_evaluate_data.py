from __future__ import annotations

import shutil

import numpy as np
import pytest
from maskstream.model.errors import SourceError
from maskstream.stream.evaluate_data import find_sequences, read_labels
from maskstream.stream.mask_sink import labels_png
from PIL import Image


@pytest.fixture
def copy(davis, tmp_path):
    """One that may be spoilt."""
    return shutil.copytree(davis.root, tmp_path / "copy")


def annotation(root, sequence="crowd", frame=3):
    return root / "Annotations" / "480p" / sequence / f"{frame:05d}.png"


def names(sequences):
    return [sequence.name for sequence in sequences]


def test_finds_sequences_and_when_each_object_appears(davis):
    alone, crowd = find_sequences(davis.root)
    assert (alone.name, crowd.name) == ("alone", "crowd")
    assert alone.first_frames == {255: 0}
    assert crowd.first_frames == {1: 0, 2: 4, 3: 0}
    assert len(crowd.pictures) == len(crowd.annotations) == 12
    assert [path.stem for path in crowd.pictures] == [path.stem for path in crowd.annotations]


def test_only_the_first_frames(davis):
    _, crowd = find_sequences(davis.root, max_frames=4)
    assert len(crowd.pictures) == 4
    assert crowd.first_frames == {1: 0, 3: 0}


def test_an_object_that_only_the_last_frame_shows_cannot_be_scored(davis):
    _, crowd = find_sequences(davis.root, max_frames=5)
    assert crowd.first_frames == {1: 0, 3: 0}


def test_the_only_fitting_list_of_the_dataset_is_taken(copy):
    lists = copy / "ImageSets"
    lists.mkdir()
    (lists / "other.txt").write_text("bear\n")
    (lists / "val.txt").write_text("crowd\n\n")
    assert names(find_sequences(copy)) == ["crowd"]
    (lists / "train.txt").write_text("alone\n")
    assert names(find_sequences(copy)) == ["alone", "crowd"]


def test_a_list_keeps_its_order_and_may_name_pictures_as_in_davis_2016(davis, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("crowd  # a comment\nalone\ncrowd\n")
    assert names(find_sequences(davis.root, names_file=path)) == ["crowd", "alone"]
    path.write_text("/JPEGImages/480p/alone/00000.jpg /Annotations/480p/alone/00000.png\n" * 2)
    assert names(find_sequences(davis.root, names_file=path)) == ["alone"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("crowd\nbear\n", "names 'bear', which is not in .*; there are: alone, crowd"),
        ("\n# nothing\n", "names no sequence; there are: alone"),
        (None, "cannot read the list of sequences .*list.txt"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(davis, tmp_path, text, complaint):
    path = tmp_path / "list.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SourceError, match=complaint):
        find_sequences(davis.root, names_file=path)


def test_the_standard_resolution_is_preferred_and_another_can_be_chosen(copy):
    for tree in ("JPEGImages", "Annotations"):
        shutil.copytree(copy / tree / "480p" / "crowd", copy / tree / "Full-Resolution" / "crowd")
    assert names(find_sequences(copy)) == ["alone", "crowd"]
    assert names(find_sequences(copy, resolution="Full-Resolution")) == ["crowd"]
    with pytest.raises(SourceError, match="no folder .*1080p; .* has: 480p, Full-Resolution"):
        find_sequences(copy, resolution="1080p")
    for tree in ("JPEGImages", "Annotations"):
        (copy / tree / "480p").rename(copy / tree / "240p")
    with pytest.raises(SourceError, match="several resolutions; choose one: --resolution 240p"):
        find_sequences(copy)


@pytest.mark.parametrize("level", [".", "any"])
def test_any_level_or_none_lies_above_the_sequences(tmp_path, write_dataset, level):
    dataset = write_dataset(tmp_path, frames=3, level=level)
    assert names(find_sequences(dataset.root)) == ["alone", "crowd"]


def test_pictures_without_a_folder_are_one_sequence_named_as_the_dataset(copy):
    for tree in ("JPEGImages", "Annotations"):
        for path in (copy / tree / "480p" / "crowd").iterdir():
            path.rename(copy / tree / path.name)
        shutil.rmtree(copy / tree / "480p")
    (sequence,) = find_sequences(copy)
    assert (sequence.name, len(sequence.pictures)) == ("copy", 12)


def test_a_folder_in_another_layout_is_refused(tmp_path, davis):
    with pytest.raises(SourceError, match="not in DAVIS layout: there is no folder .*JPEGImages"):
        find_sequences(tmp_path)
    (tmp_path / "JPEGImages" / "480p").mkdir(parents=True)
    with pytest.raises(SourceError, match="no folder .*Annotations"):
        find_sequences(tmp_path)
    (tmp_path / "Annotations" / "480p").mkdir(parents=True)
    with pytest.raises(SourceError, match="no sequences in .*480p"):
        find_sequences(tmp_path)


def spoil_remove(path):
    path.unlink()


def spoil_cut(path):
    path.write_bytes(path.read_bytes()[:60])


def spoil_size(path):
    path.write_bytes(labels_png(np.ones((50, 40), np.uint8)))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (spoil_remove, "crowd has 12 frames but no annotation for 1 of them, first .*00003.png"),
        (spoil_cut, "cannot read the annotation .*00003.png"),
        (spoil_size, "00003.png is 40x50 px but its frame is 96x72 px"),
    ],
)
def test_an_annotation_that_does_not_fit_is_named(copy, spoil, complaint):
    spoil(annotation(copy))
    with pytest.raises(SourceError, match=complaint):
        find_sequences(copy)


def test_frames_of_several_sizes_are_refused(copy):
    picture = copy / "JPEGImages" / "480p" / "crowd" / "00003.jpg"
    Image.new("RGB", (40, 50)).save(picture)
    spoil_size(annotation(copy))
    with pytest.raises(SourceError, match="00003.jpg: it is 40x50 px but 00000.jpg is 96x72 px"):
        find_sequences(copy)


def test_a_sequence_without_objects_or_too_short_is_refused(copy):
    with pytest.raises(SourceError, match="alone has 2 frames; scoring takes at least 3"):
        find_sequences(copy, max_frames=2)
    for path in (copy / "Annotations" / "480p" / "alone").iterdir():
        Image.new("L", (96, 72)).save(path)
    with pytest.raises(SourceError, match="no object in any annotation of alone"):
        find_sequences(copy)


def test_void_beside_objects_is_no_object(copy):
    for path in (copy / "Annotations" / "480p" / "crowd").iterdir():
        labels = read_labels(path)
        labels[60:] = 255
        path.write_bytes(labels_png(labels.astype(np.uint8)))
    _, crowd = find_sequences(copy)
    assert crowd.first_frames.keys() == {1, 2, 3}


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "LA"])
def test_black_and_white_annotations_of_any_kind(tmp_path, mode):
    grey = np.zeros((20, 30), np.uint8)
    grey[5:10, 5:10], grey[5:10, 10] = 255, 90  # a soft edge
    Image.fromarray(grey).convert(mode, dither=Image.Dither.NONE).save(tmp_path / "mask.png")
    labels = read_labels(tmp_path / "mask.png")
    np.testing.assert_array_equal(labels == 255, grey == 255)
    assert np.unique(labels).tolist() == [0, 255]


def test_indexed_annotations_keep_their_ids(tmp_path):
    for largest, kind in ((7, np.uint8), (1000, np.uint16)):
        labels = np.zeros((20, 30), kind)
        labels[3:6], labels[10:12] = 1, largest
        (tmp_path / "ids.png").write_bytes(labels_png(labels))
        np.testing.assert_array_equal(read_labels(tmp_path / "ids.png"), labels)


def test_a_grey_picture_of_zeros_and_ones_is_object_1(tmp_path):
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / "ones.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "ones.png"), np.eye(9))
