from __future__ import annotations

import numpy as np
import pytest
from maskstream.model.errors import SourceError
from maskstream.stream.evaluate_stills import find_stills, outline_mask, score_still, stills_record
from PIL import Image

SQUARE = "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"
CORNER = "7 0 0 0.1 0 0.1 0.1 0 0.1"


@pytest.fixture
def write_stills(tmp_path):
    def write(**lines):
        images, labels = tmp_path / "images" / "train", tmp_path / "labels" / "train"
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for name, text in lines.items():
            Image.new("RGB", (200, 100), "red").save(images / f"{name}.jpg")
            if text is not None:
                (labels / f"{name}.txt").write_text(text)
        return tmp_path

    return write


def boxes(image):
    """In place of the networks: a box prompt gives the whole box, a click the 20x20 px around it."""

    def decode(prompts, multimask):
        masks = np.zeros((len(prompts), *image.shape[:2]), bool)
        for mask, prompt in zip(masks, prompts, strict=True):
            assert multimask == (prompt.box_xyxy is None)
            if prompt.box_xyxy is not None:
                x0, y0, x1, y1 = prompt.box_xyxy.astype(int)
            else:
                x0, y0 = (prompt.points_xy[0] - 10).astype(int)
                x1, y1 = x0 + 20, y0 + 20
            mask[max(0, y0) : y1, max(0, x0) : x1] = True
        return masks

    return decode


def test_every_outlined_thing_is_scored_from_its_box_and_from_a_click(write_stills):
    stills = find_stills(write_stills(a=f"{SQUARE}\n{CORNER}\n", b=SQUARE, unlabelled=None, empty=""))
    assert [len(still.outlines) for still in stills] == [2, 1, 0]
    scores = [score for still in stills for score in score_still(still, boxes)]
    assert [(score.picture, score.area_px) for score in scores] == [
        ("a.jpg", 5000),
        ("a.jpg", 200),
        ("b.jpg", 5000),
    ]
    assert [score.box_iou for score in scores] == [1, 1, 1]
    assert scores[0].click_iou == pytest.approx(400 / 5000)
    assert scores[1].click_iou > 0.4
    record = stills_record(scores)
    assert (record["box_mIoU"], record["stills"]["instances"], record["stills"]["pictures"]) == (1, 3, 2)
    assert record["click_mIoU"] == pytest.approx(np.mean([score.click_iou for score in scores]))
    sizes = record["stills"]["by_size"]
    assert {name: part["instances"] for name, part in sizes.items()} == {"small": 1, "medium": 2, "large": 0}
    assert sizes["medium"]["click_mIoU"] == pytest.approx(400 / 5000)
    assert sizes["large"]["box_mIoU"] is None


def test_an_outline_is_filled_as_coco_fills_it():
    outline = np.array([[0.25, 0.5], [0.75, 0.5], [0.75, 1.0], [0.25, 1.0]])
    mask = outline_mask(outline, (100, 200))
    expected = np.zeros((100, 200), bool)
    expected[50:100, 50:150] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_thing_smaller_than_a_pixel_is_left_out(write_stills):
    tiny = "0 0.5 0.5 0.5001 0.5 0.5001 0.5001"
    (still,) = find_stills(write_stills(a=f"{tiny}\n"))
    assert score_still(still, boxes) == []


def test_only_the_first_pictures(write_stills):
    stills = find_stills(write_stills(a=SQUARE, b=SQUARE, c=SQUARE), max_pictures=2)
    assert [still.picture.stem for still in stills] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("0 0.5 0.5 0.2 0.2", "a.txt:1: 5 numbers; a line is a class and at least three points"),
        (f"{SQUARE}\n0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "a.txt:2: 8 numbers"),
        ("0 0.1 zero 0.2 0.2 0.3 0.3", "a.txt:1: could not convert string to float: 'zero'"),
        ("0 10 10 20 20 30 10", "a.txt:1: an outline is in shares of the picture's sides, all within 0..1"),
        ("0 nan 0 0.2 0.2 0.3 0.1", "all within 0..1"),
        ("", "no picture in .*images has outlined things"),
        (None, "no picture in .*images has outlined things"),
    ],
)
def test_outlines_that_cannot_be_used_are_named(write_stills, line, complaint):
    with pytest.raises(SourceError, match=complaint):
        find_stills(write_stills(a=line))


def test_a_folder_without_images_and_labels_is_refused(tmp_path):
    with pytest.raises(SourceError, match="must hold the folders images and labels"):
        find_stills(tmp_path)


def test_a_damaged_picture_is_named(write_stills):
    root = write_stills(a=SQUARE)
    picture = root / "images" / "train" / "a.jpg"
    picture.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(SourceError, match="cannot read the picture .*a.jpg"):
        score_still(find_stills(root)[0], boxes)
