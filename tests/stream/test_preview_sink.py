from __future__ import annotations

import resource

import cv2
import numpy as np
import pytest
from maskstream.model.errors import SinkError
from maskstream.stream import preview_sink
from maskstream.stream.preview_sink import PreviewSink


def write(path, results, info):
    sink = PreviewSink(path)
    sink.check()
    sink.open(info)
    for result in results:
        sink.write(result)
    sink.close()
    sink.close()


@pytest.mark.parametrize(("count", "tiles"), [(1, 1), (2, 2), (3, 3), (100, 3)])
def test_first_middle_and_last_side_by_side(tmp_path, make_info, make_result, count, tiles):
    write(tmp_path / "out.png", (make_result(i) for i in range(count)), make_info())
    sheet = cv2.imread(str(tmp_path / "out.png"))
    assert sheet.shape == (480, 640 * tiles + 8 * (tiles - 1), 3)


@pytest.mark.parametrize("count", [3, 4, 17, 18, 33, 100, 1000])
def test_the_middle_is_the_middle_without_knowing_the_length(monkeypatch, make_info, make_result, count):
    chosen = []
    monkeypatch.setattr(preview_sink, "_tile", lambda result: result.frame.index)
    monkeypatch.setattr(preview_sink, "_side_by_side", chosen.extend)
    monkeypatch.setattr(preview_sink, "_write_picture", lambda path, image: None)
    sink = PreviewSink("out.png")
    sink.open(make_info())
    result = make_result()
    for index in range(count):
        object.__setattr__(result.frame, "index", index)
        sink.write(result)
        assert len(sink._kept) <= 16
    sink.close()
    first, middle, last = chosen
    assert (first, last) == (0, count - 1)
    assert abs(middle - (count - 1) / 2) <= max(0.5, count / 16)


def test_large_frames_are_made_smaller(tmp_path, make_info, make_result):
    write(tmp_path / "out.jpg", [make_result(i, hw=(1080, 1920)) for i in range(3)], make_info((1080, 1920)))
    assert cv2.imread(str(tmp_path / "out.jpg")).shape == (360, 3 * 640 + 16, 3)


def test_colours_are_not_swapped(tmp_path, make_info, make_result):
    result = make_result(objects=(), hw=(480, 640))
    write(tmp_path / "out.png", [result], make_info())
    sheet = cv2.cvtColor(cv2.imread(str(tmp_path / "out.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(sheet[:400], result.frame.image[:400])


def test_no_frames_no_picture(tmp_path, make_info):
    write(tmp_path / "out.png", [], make_info())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("out.gif", "a preview ends in .png, .jpg"), ("missing/out.png", "does not exist; create it")],
)
def test_an_impossible_target_is_named_at_once(tmp_path, name, message):
    with pytest.raises(SinkError, match=message):
        PreviewSink(tmp_path / name).check()


def test_a_full_disk_is_named_and_the_old_picture_stays(tmp_path, make_info, make_result):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(SinkError, match=r"cannot write .*out.png: File too large"):
            write_without_check(path, make_result(), make_info())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def write_without_check(path, result, info):
    sink = PreviewSink(path)
    sink.open(info)
    sink.write(result)
    sink.close()
