"""scripts/check_clips on real clips, and on outputs that were spoilt on purpose."""

from __future__ import annotations

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from maskstream.model.errors import WeightsError
from maskstream.model.weights import resolve

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT.parent / "shared" / "data" / "clips"
HW = (72, 96)
FRAMES = 8

spec = importlib.util.spec_from_file_location("check_clips", ROOT / "scripts" / "check_clips.py")
check_clips = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_clips)


@pytest.mark.weights
@pytest.mark.parametrize("name", sorted(path.name for path in CLIPS.glob("*.*")) or ["clips"])
def test_the_beginning_of_every_clip(name):
    if not CLIPS.is_dir():
        pytest.skip(f"the clips are not here: {CLIPS}")
    try:
        resolve()
    except WeightsError as error:
        pytest.skip(f"no weights: {error}")
    outcome = check_clips.check_clip(CLIPS / name, size=128, engine="torch", max_frames=10)
    assert outcome.faults == []
    assert outcome.frames_in == outcome.frames_out == outcome.lines == outcome.pictures == 10


def write_video(path, numbers, late=0):
    """Frame n is a noise picture of its own, at n / 25 s; the last one `late` ticks later."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *HW, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12800)
        for place, number in enumerate(numbers):
            blocks = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8)))
            frame.pts = 512 * place + (late if place == len(numbers) - 1 else 0)
            frame.time_base = Fraction(1, 12800)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_lines(folder, records):
    (folder / "masks.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def outputs(tmp_path):
    """A clip, and what a faultless run would have made of it."""
    numbers = range(FRAMES)
    write_video(tmp_path / "clip.mp4", numbers)
    write_video(tmp_path / "video.mp4", numbers)
    masks = tmp_path / "masks"
    (masks / "png" / "clip").mkdir(parents=True)
    (masks / "stream.json").write_text(json.dumps({"time_base": [1, 12800]}))
    write_lines(masks, [{"index": number, "pts": 512 * number} for number in numbers])
    for number in numbers:
        (masks / "png" / "clip" / f"{number:05d}.png").touch()
    return tmp_path


def faults(folder):
    return check_clips.compare(folder / "clip.mp4", folder, None, 1.0).faults


def test_faultless_outputs(outputs):
    assert faults(outputs) == []


@pytest.mark.parametrize(
    ("numbers", "late", "fault"),
    [
        ([0, 1, 2, 3, 4, 5, 6], 0, "video: 7 frames instead of 8"),
        ([0, 1, 2, 3, 4, 5, 6, 7, 7], 0, "video: 9 frames instead of 8"),
        ([0, 1, 2, 3, 4, 5, 5, 7], 0, "video: picture 6 shows frame 5"),
        ([1, 2, 3, 4, 5, 6, 7, 7], 0, "video: picture 0 shows frame 1"),
        (range(FRAMES), 1, "video: frame 7 is at 0.280078 s, not at 0.280000 s"),
    ],
)
def test_a_spoilt_video(outputs, numbers, late, fault):
    write_video(outputs / "video.mp4", numbers, late)
    assert faults(outputs) == [fault]


def test_spoilt_mask_files(outputs):
    records = [{"index": number, "pts": 512 * number} for number in range(FRAMES)]
    write_lines(outputs / "masks", records[:-1])
    assert faults(outputs)[0] == "lines: 7 frames instead of 8"
    write_lines(outputs / "masks", [*records[:3], {"index": 3, "pts": 1537}, *records[4:]])
    assert faults(outputs) == ["lines: frame 3 is at 0.120078 s, not at 0.120000 s"]
    write_lines(outputs / "masks", [*records[:-1], {"index": 6, "pts": 3584}])
    assert faults(outputs) == ["lines: the indices are not 0, 1, 2, ..."]
    write_lines(outputs / "masks", records)
    (outputs / "masks" / "png" / "clip" / "00002.png").unlink()
    assert faults(outputs) == ["png: 7 pictures, not one for each frame"]


def test_a_clip_that_cannot_be_run_is_at_fault(tmp_path, capsys):
    (tmp_path / "clip.mp4").write_text("not a video")
    assert check_clips.main([str(tmp_path)]) == 1
    assert "exit code 2: maskstream: error: cannot open" in capsys.readouterr().out


def test_a_folder_without_clips(tmp_path, capsys):
    assert check_clips.main([str(tmp_path)]) == 2
    assert "no clips in" in capsys.readouterr().err
