from __future__ import annotations

import json
import resource

import numpy as np
import pytest
from maskstream.model.errors import SinkError
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream.mask_sink import MaskSink, folder_name, label_picture
from PIL import Image
from pycocotools import mask as coco

# pycocotools 2.0.11 has not heard of numpy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def write(folder, results, info, **options):
    sink = MaskSink(folder, **options)
    sink.check()
    sink.open(info)
    for result in results:
        sink.write(result)
    sink.close()
    sink.close()


def lines_of(folder):
    return [json.loads(line) for line in (folder / "masks.jsonl").read_text().splitlines()]


def square(object_id, corner, side=4, quality=0.5, hw=(12, 16)):
    mask = np.zeros(hw, bool)
    mask[corner : corner + side, corner : corner + side] = True
    return ObjectMask(object_id, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, quality)


def test_lines_hold_everything_and_masks_decode_with_pycocotools_alone(tmp_path, make_info, make_result):
    results = [make_result(i) for i in range(3)]
    write(tmp_path / "out", results, make_info())
    lines = lines_of(tmp_path / "out")
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert [line["pts"] for line in lines] == [0, 40, 80]
    assert [line["time_s"] for line in lines] == [0, 0.04, 0.08]
    for line, result in zip(lines, results, strict=True):
        for written, found in zip(line["objects"], result.objects, strict=True):
            np.testing.assert_array_equal(coco.decode(written["rle"]), found.mask)
            assert written["area_px"] == found.mask.sum()
    assert {key: value for key, value in lines[0]["objects"][1].items() if key not in ("rle", "area_px")} == {
        "id": 2,
        "state": "uncertain",
        "quality": 0.4,
        "predicted_iou": 0.95,
        "stability_score": 0.97,
        "box_xyxy": [21, 0, 44, 22],
        "how": "fresh",
        "age_ms": 0.0,
    }


def test_the_manifest_says_what_the_lines_need(tmp_path, make_info, make_result):
    write(tmp_path / "out", [make_result()], make_info())
    assert json.loads((tmp_path / "out" / "stream.json").read_text()) == {
        "format": "maskstream masks",
        "version": 1,
        "source": "shapes",
        "width_px": 64,
        "height_px": 48,
        "time_base": [1, 1000],
        "frame_rate": [25, 1],
        "is_live": False,
        "masks": "masks.jsonl",
        "pictures": "png/shapes",
    }


def test_pictures_are_indexed_and_hold_the_ids(tmp_path, make_info, make_result):
    results = [make_result(index) for index in (0, 7)]  # a drop leaves a gap in the names too
    write(tmp_path / "out", results, make_info())
    pictures = sorted((tmp_path / "out" / "png" / "shapes").iterdir())
    assert [picture.name for picture in pictures] == ["00000.png", "00007.png"]
    for path, result in zip(pictures, results, strict=True):
        with Image.open(path) as picture:
            assert picture.mode == "P"
            assert picture.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # DAVIS's
            np.testing.assert_array_equal(np.asarray(picture), label_picture(result))


def test_where_objects_overlap_the_smaller_one_is_on_top_of_equals_the_later(make_result):
    smaller_first = label_picture(
        make_result(
            hw=(12, 16), objects=[square(1, 4, side=3, quality=0.1), square(2, 3, side=6, quality=0.8)]
        )
    )
    equals = label_picture(make_result(hw=(12, 16), objects=[square(1, 2), square(2, 4)]))
    assert smaller_first[5, 5] == 1
    assert equals[5, 5] == 2
    assert (equals == 1).sum() == 12


def test_large_ids_make_a_16_bit_picture(tmp_path, make_info, make_result):
    result = make_result(hw=(12, 16), objects=[square(1, 1), square(40_000, 6)])
    write(tmp_path / "out", [result], make_info((12, 16)))
    with Image.open(tmp_path / "out" / "png" / "shapes" / "00000.png") as picture:
        assert set(np.unique(np.asarray(picture))) == {0, 1, 40_000}


def test_a_number_that_json_cannot_say_is_null(tmp_path, make_info, make_result):
    mask = np.ones((12, 16), bool)
    found = ObjectMask(1, mask, box_of_mask(mask), float("nan"), 0.5, TrackState.LOST, 0.0)
    write(tmp_path / "out", [make_result(hw=(12, 16), objects=[found])], make_info((12, 16)))
    assert lines_of(tmp_path / "out")[0]["objects"][0]["predicted_iou"] is None


def test_each_line_is_on_disk_as_soon_as_it_is_written(tmp_path, make_info, make_result):
    sink = MaskSink(tmp_path / "out")
    sink.open(make_info())
    for count in (1, 2):
        sink.write(make_result(count))
        assert len(lines_of(tmp_path / "out")) == count
    sink.close()


def test_an_earlier_run_is_replaced_whole(tmp_path, make_info, make_result):
    write(tmp_path / "out", [make_result(i) for i in range(3)], make_info())
    write(tmp_path / "out", [make_result(0)], make_info())
    assert len(lines_of(tmp_path / "out")) == 1
    assert [path.name for path in (tmp_path / "out" / "png" / "shapes").iterdir()] == ["00000.png"]


def test_nothing_is_made_or_replaced_before_the_first_frame(tmp_path, make_info, make_result):
    write(tmp_path / "old", [make_result()], make_info())
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    write(tmp_path / "old", [], make_info())
    write(tmp_path / "new", [], make_info())
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_folder_with_other_things_is_refused_unless_told(tmp_path, make_info, make_result):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SinkError, match=r"holds other files; .* masks=.*\?overwrite=1"):
        MaskSink(tmp_path).check()
    write(tmp_path, [make_result()], make_info(), overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert len(lines_of(tmp_path)) == 1


def test_pictures_can_be_left_out(tmp_path, make_info, make_result):
    write(tmp_path / "out", [make_result()], make_info(), png=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["masks.jsonl", "stream.json"]


@pytest.mark.parametrize(
    ("name", "message"), [("missing/out", "does not exist; create it"), ("file", "is not a folder")]
)
def test_an_impossible_folder_is_named_at_once(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=message):
        MaskSink(tmp_path / name).check()


@pytest.mark.parametrize("png", [True, False])
def test_a_full_disk_is_named_and_leaves_whole_lines_and_pictures(tmp_path, make_info, make_result, png):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    rng = np.random.default_rng(0)
    mask = rng.random((48, 64)) > 0.5  # its RLE is longer than its PNG
    noisy = [ObjectMask(1, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, 0.5)]
    sink = MaskSink(tmp_path / "out", png=png)
    sink.open(make_info())
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(SinkError, match=r"masks.jsonl: File too large"):
            for index in range(100):
                sink.write(make_result(index, objects=noisy))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    sink.close()
    lines = lines_of(tmp_path / "out")
    assert len(lines) > 1
    for line in lines:
        np.testing.assert_array_equal(coco.decode(line["objects"][0]["rle"]), mask)


def test_a_picture_that_does_not_fit_is_not_left_torn(tmp_path, make_info, make_result):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    mask = np.zeros((400, 400), bool)
    mask[::2, ::2] = True
    sink = MaskSink(tmp_path / "out")
    sink.open(make_info((400, 400)))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        with pytest.raises(SinkError, match=r"00000.png: File too large"):
            sink.write(make_result(hw=(400, 400), objects=()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sink.close()
    assert list((tmp_path / "out" / "png" / "shapes").iterdir()) == []


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("clip.mp4", "clip"),
        ("bmx-bumps", "bmx-bumps"),
        ("walk.v2", "walk.v2"),
        ("rtsp://***@10.0.0.7:554/ch 1", "rtsp_10.0.0.7_554_ch_1"),
        ("/dev/video0", "dev_video0"),
        ("..", "stream"),
    ],
)
def test_a_source_s_folder_has_a_plain_name(source, folder):
    assert folder_name(source) == folder
