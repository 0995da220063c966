from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from maskstream.model.errors import SourceError, StreamBrokenError
from maskstream.stream.sources import open_source
from PIL import Image


def flat(value, size=(32, 24)):
    return Image.new("RGB", size, (value, 0, 0))


def reds(frames):
    return [int(frame.image[0, 0, 0]) for frame in frames]


def test_a_folder_in_natural_order(tmp_path):
    for number in (1, 2, 10, 100):
        flat(number).save(tmp_path / f"shot{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_source(str(tmp_path)) as source:
        frames = list(source)
    assert reds(frames) == [1, 2, 10, 100]
    assert [frame.time_s for frame in frames] == [n / 24 for n in range(4)]
    assert source.info.frame_rate == 24
    assert source.info.frame_count == 4
    assert (source.info.width_px, source.info.height_px) == (32, 24)
    assert source.info.source_id == tmp_path.name
    assert not source.info.is_live
    assert all(frame.image.flags.c_contiguous and not frame.image.flags.writeable for frame in frames)


def test_a_glob_a_rate_and_a_limit(tmp_path):
    for number in range(5):
        flat(number).save(tmp_path / f"a{number}.bmp")
        flat(99).save(tmp_path / f"b{number}.png")
    with open_source(str(tmp_path / "a*"), picture_rate=29.97, max_frames=3) as source:
        assert source.info.frame_rate == Fraction(2997, 100)
        assert source.info.frame_count == 3
        assert reds(source) == [0, 1, 2]


def test_a_glob_through_folders(tmp_path):
    for name in ("z2/a.png", "z10/a.png"):
        (tmp_path / name).parent.mkdir()
        flat(int(name[1:].split("/")[0])).save(tmp_path / name)
    with open_source(str(tmp_path / "**" / "*.png")) as source:
        assert reds(source) == [2, 10]


def test_one_picture(tmp_path):
    flat(7).save(tmp_path / "one.webp", lossless=True)
    with open_source(str(tmp_path / "one.webp")) as source:
        assert reds(source) == [7]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = np.zeros((24, 32, 3), np.uint8)
    upright[:8, :16, 0] = 255  # a red corner at the top left
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # Pillow's transpositions that lead back to how it is stored
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    with open_source(str(tmp_path / "photo.png")) as source:
        (frame,) = source
    np.testing.assert_array_equal(frame.image, upright)
    assert (source.info.width_px, source.info.height_px) == (32, 24)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
def test_pictures_of_any_mode_are_rgb(tmp_path, mode):
    grey = Image.new("RGB", (32, 24), (255, 255, 255)).convert(mode)
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    grey.save(path)
    with open_source(str(path)) as source:
        (frame,) = source
    assert frame.image.shape == (24, 32, 3)
    assert frame.image.min() == 255


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.full((24, 32), 0x4080, np.uint16)
    Image.fromarray(deep).save(tmp_path / "depth.png")
    with open_source(str(tmp_path / "depth.png")) as source:
        (frame,) = source
    assert set(frame.image.ravel().tolist()) == {0x40}


def refusal(spec):
    with pytest.raises(SourceError) as caught:
        open_source(str(spec))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_without_pictures(tmp_path):
    assert "no pictures there, it is empty or does not exist" in refusal(tmp_path)
    assert "no pictures there, it is empty or does not exist" in refusal(tmp_path / "*.jpg")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert "but 1 other entries such as clip.mp4; name a video" in refusal(tmp_path)


def test_an_odd_one_out_is_found_before_any_work(tmp_path):
    flat(1).save(tmp_path / "1.png")
    flat(2, (40, 24)).save(tmp_path / "2.png")
    assert "2.png: it is 40x24 px but 1.png is 32x24 px; make all pictures one size" in refusal(tmp_path)
    (tmp_path / "2.png").write_bytes(b"")
    assert "2.png: it is no picture, or damaged; remove or replace it" in refusal(tmp_path)


def test_a_picture_that_ends_too_early_breaks_the_stream_there(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for number in range(3):
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg")
    damaged = tmp_path / "1.jpg"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    frames = []
    with open_source(str(tmp_path)) as source, pytest.raises(StreamBrokenError) as caught:
        frames.extend(source)
    assert len(frames) == 1
    assert f"broke off before frame 1: {damaged}: image file is truncated" in str(caught.value)
