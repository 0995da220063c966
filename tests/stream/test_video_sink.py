from __future__ import annotations

import resource
import signal
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from maskstream.model.errors import SinkError
from maskstream.stream.video_sink import VideoSink

VARIABLE = [0, 33, 67, 100, 500, 501, 900, 1300, 1301, 2000]  # ms


def write(path, results, info):
    sink = VideoSink(path)
    sink.check()
    sink.open(info)
    for result in results:
        sink.write(result)
    sink.close()
    sink.close()


def read(path):
    """Times in s, pictures, and the video stream's facts."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        facts = {
            "frames": stream.frames,
            "duration_s": container.duration and container.duration / av.time_base,
            "rate": stream.average_rate,
            "colours": (stream.codec_context.colorspace, stream.codec_context.color_primaries),
            "codec": stream.codec_context.name,
        }
    times = [frame.pts * frame.time_base for frame in frames]
    return times, [frame.to_ndarray(format="rgb24") for frame in frames], facts


@pytest.mark.parametrize(
    ("time_base", "pts"),
    [
        (Fraction(1, 1000), VARIABLE),
        (Fraction(1, 90_000), [9001 + 3000 * i + 7 * i * i for i in range(20)]),
        (Fraction(1, 12_800), [512 * i for i in range(20)]),
        (Fraction(1001, 30_000), list(range(20))),
        (Fraction(1, 1_000_000), [3 + 33_333 * i for i in range(20)]),
    ],
)
@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_every_frame_keeps_its_time(tmp_path, make_info, make_result, time_base, pts, ending):
    path = tmp_path / f"out{ending}"
    results = [make_result(i, p, time_base=time_base) for i, p in enumerate(pts)]
    write(path, results, make_info(time_base=time_base))
    times, _, facts = read(path)
    assert times == [p * time_base for p in pts]
    assert facts["frames"] == len(pts)
    assert facts["codec"] == "h264"


@pytest.mark.parametrize(("ending", "codec"), [(".mkv", "h264"), (".webm", "vp9")])
def test_matroska_keeps_times_to_the_millisecond(tmp_path, make_info, make_result, ending, codec):
    path = tmp_path / f"out{ending}"
    write(path, [make_result(i, p) for i, p in enumerate(VARIABLE)], make_info())
    times, pictures, facts = read(path)
    assert times == [Fraction(p, 1000) for p in VARIABLE]
    assert facts["codec"] == codec
    assert pictures[0].shape == (48, 64, 3)


def test_the_duration_is_frames_over_rate(tmp_path, make_info, make_result):
    write(tmp_path / "out.mp4", [make_result(i) for i in range(25)], make_info())
    _, _, facts = read(tmp_path / "out.mp4")
    assert facts["duration_s"] == pytest.approx(1, abs=0.001)
    assert facts["rate"] == 25


def test_the_finished_file_is_a_plain_mp4_with_one_index(tmp_path, make_info, make_result):
    path = tmp_path / "out.mp4"
    write(path, [make_result(i) for i in range(5)], make_info())
    assert top_level_boxes(path) == ["ftyp", "free", "mdat", "moov"]  # no fragments on the outside


def top_level_boxes(path):
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        names.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
    return names


@pytest.mark.parametrize(
    ("is_live", "start_ms", "in_file_ms"),
    [
        (True, 8_000_000_000, 0),  # a clock that has run for three months
        (True, 3_000, 0),
        (False, 3_000, 3_000),
        (False, 3_600_000, 0),  # part of a recording: nothing to see for an hour
        (False, -80, 0),
    ],
)
def test_where_a_file_starts(tmp_path, make_info, make_result, is_live, start_ms, in_file_ms):
    results = [make_result(i, start_ms + 40 * i) for i in range(5)]
    write(tmp_path / "out.mp4", results, make_info(is_live=is_live))
    times, _, _ = read(tmp_path / "out.mp4")
    assert times == [Fraction(in_file_ms + 40 * i, 1000) for i in range(5)]


@pytest.mark.parametrize("hw", [(47, 63), (48, 63), (47, 64)])
def test_odd_sides_grow_by_one_pixel_of_the_edge(tmp_path, make_info, make_result, hw):
    write(tmp_path / "out.mp4", [make_result(0, hw=hw, objects=())], make_info(hw))
    _, [picture], _ = read(tmp_path / "out.mp4")
    assert picture.shape == (48, 64, 3)


@pytest.mark.parametrize(("hw", "tag"), [((48, 64), 6), ((720, 64), 1)])
def test_colours_come_back_and_say_which_yuv_they_are(tmp_path, make_info, make_result, hw, tag):
    result = make_result(0, hw=hw, objects=())
    write(tmp_path / "out.mp4", [result], make_info(hw))
    _, [picture], facts = read(tmp_path / "out.mp4")
    assert facts["colours"] == (tag, tag)
    corner = np.s_[: hw[0] - 30, : hw[1] - 50]  # the clock is at the lower right
    difference = picture[corner].astype(float) - result.frame.image[corner]
    assert np.abs(difference.mean(axis=(0, 1))).max() < 4
    assert difference.std() < 8


def test_a_stream_that_changes_its_size_keeps_the_file_s(tmp_path, make_info, make_result):
    results = [make_result(0), make_result(1, hw=(96, 128)), make_result(2, hw=(48, 128)), make_result(3)]
    write(tmp_path / "out.mp4", results, make_info())
    times, pictures, _ = read(tmp_path / "out.mp4")
    assert len(times) == 4
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    _, same_shape, wide, _ = (picture.mean(axis=(1, 2)) for picture in pictures)
    assert same_shape.min() > 25
    assert max(wide[:10].max(), wide[-10:].max()) < 25 < wide[14:34].min()  # not stretched: black bars


def test_nothing_is_made_before_the_first_frame(tmp_path, make_info):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    write(path, [], make_info())
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.avi", "AVI cannot hold the time of each frame; use one of .mp4, .mov, .mkv, .webm"),
        ("out", "unknown ending"),
        ("missing/out.mp4", "does not exist; create it: mkdir -p"),
        ("file/out.mp4", "is not a folder"),
        ("folder.mp4", "it is a folder"),
    ],
)
def test_an_impossible_target_is_named_at_once(tmp_path, name, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SinkError, match=message):
        VideoSink(tmp_path / name).check()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_refuses_files_is_named_at_once():
    with pytest.raises(SinkError, match="cannot write /proc"):
        VideoSink("/proc/out.mp4").check()


WRITER = """
import os, sys
from fractions import Fraction
import numpy as np
from maskstream.stream.types import Frame, FrameResult, StreamInfo
from maskstream.stream.video_sink import VideoSink

sink = VideoSink(sys.argv[1])
sink.open(StreamInfo("noise", 64, 48, Fraction(1, 1000), Fraction(25), False))
noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
for index in range(int(sys.argv[2])):
    image = np.roll(noise, 3 * index, axis=1)
    sink.write(FrameResult(Frame(image, index, 40 * index, Fraction(1, 1000), 0, 0, "noise"), (), 0, 0, 0, 0))
{end}
"""


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_killed_at_any_moment_it_is_playable(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    program = WRITER.replace("{end}", "os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", program, str(path), "60"], check=False)
    assert done.returncode == -signal.SIGKILL
    times, _, _ = read(path)
    assert times == [Fraction(40 * i, 1000) for i in range(len(times))]
    assert len(times) >= (
        57 if ending == ".mp4" else 25
    )  # MP4 loses what the encoder holds, MKV a second more


@pytest.mark.parametrize("limit", [40_000, 100_000, 3_000_000])
def test_a_full_disk_stops_it_with_what_was_written_playable(tmp_path, limit):
    path = tmp_path / "out.mp4"
    done = subprocess.run(
        [sys.executable, "-c", WRITER.replace("{end}", "sink.close()"), str(path), "2000"],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.stderr.splitlines()[-1].endswith(
        f"SinkError: cannot write {path}: File too large; the file size limit is reached (ulimit -f)"
    )
    assert path.stat().st_size <= limit
    times, _, _ = read(path)
    assert len(times) > 5
    assert times == [Fraction(40 * i, 1000) for i in range(len(times))]


def test_a_disk_that_is_full_only_at_the_end_costs_one_frame(tmp_path, make_info, make_result):
    plain, cut = tmp_path / "plain.mp4", tmp_path / "cut.mp4"
    results = [make_result(i) for i in range(10)]
    write(plain, results, make_info())
    limit = plain.stat().st_size - 100  # no room for the whole index
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = VideoSink(cut)
    sink.open(make_info())
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        for result in results:
            sink.write(result)
        with pytest.raises(SinkError, match="File too large"):
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    sink.close()
    times, _, _ = read(cut)
    assert times == [Fraction(40 * i, 1000) for i in range(9)]  # the last one goes with the index
