"""scripts/strip.py on masks as the sink writes them."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream.mask_sink import MaskSink
from maskstream.stream.overlay import colour_of
from maskstream.stream.types import Frame, FrameResult, StreamInfo
from PIL import Image

STRIP = Path(__file__).parents[2] / "scripts" / "strip.py"
HW = (180, 320)
WIDTH = 320
GAP = 6
GROUND = (0, 0, 255)  # of the clip: a colour that nothing drawn has


def result(number):
    """An object that moves 20 px a frame to the right, and is hidden on the last."""
    mask = np.zeros(HW, bool)
    hidden = number == 4
    if not hidden:
        mask[60:120, 40 + 20 * number : 100 + 20 * number] = True
    image = np.full((*HW, 3), GROUND, np.uint8)
    frame = Frame(image, number, number, Fraction(1, 4), 0, 0, "clip")
    state = TrackState.OCCLUDED if hidden else TrackState.TRACKED
    found = ObjectMask(2, mask, box_of_mask(mask), 0.9, 0.9, state, 0.8)
    return FrameResult(frame, (found,), 0, 1.0, 1.0, 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with masks/ and the clip they are of as pictures, 5 frames, 4 a second."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "clip").mkdir()
    sink = MaskSink(folder / "masks")
    sink.open(StreamInfo("clip", HW[1], HW[0], Fraction(1, 4), Fraction(4), is_live=False))
    for number in range(5):
        sink.write(result(number))
        Image.fromarray(result(number).frame.image).save(folder / "clip" / f"{number}.png")
    sink.close()
    return folder


def strip(run, *options):
    path = run / "strip.png"
    command = [sys.executable, str(STRIP), str(run / "masks"), str(path), "--width", str(WIDTH), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def tiles(sheet):
    return [sheet[:, start : start + WIDTH].astype(int) for start in range(0, sheet.shape[1], WIDTH + GAP)]


def test_a_silhouette_has_masks_but_no_pixel_of_the_clip(run):
    sheet = strip(run, "--silhouette", "--times", "0", "0.55", "1")
    assert sheet.shape == (HW[0], 3 * WIDTH + 2 * GAP, 3)
    assert not (sheet == GROUND).all(axis=2).any()
    first, middle, hidden = tiles(sheet)
    tint = first[90, 70]
    assert np.abs(tint - colour_of(2)).sum() < np.abs(255 - np.array(colour_of(2))).sum()
    assert (middle[90, 110] == tint).all()  # the frame at 0.5 s, 40 px on
    assert (middle[90, 50] == 255).all()
    assert (hidden[90, 100:200] == 255).all()
    assert (hidden[-12:-6, 10:40] != 255).any()  # the note that it is occluded


def test_with_the_video_each_frame_has_its_own_picture(run):
    (run / "clip" / "3.png").unlink()
    Image.fromarray(np.full((*HW, 3), (0, 255, 0), np.uint8)).save(run / "clip" / "3.png")
    first, third = tiles(strip(run, "--video", str(run / "clip"), "--times", "0", "0.75"))
    assert (first[20, 300] == GROUND).all()
    assert (third[20, 300] == (0, 255, 0)).all()


def test_rows_are_filled_up(run):
    sheet = strip(run, "--silhouette", "--count", "3", "--columns", "2")
    assert sheet.shape == (2 * HW[0] + GAP, 2 * WIDTH + GAP, 3)
    assert (sheet[HW[0] + GAP :, WIDTH + GAP :] == 255).all()
