"""Files of many kinds: every frame once, in order, with its true time, upright and in true colours."""

from __future__ import annotations

import gc
import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from maskstream.model.errors import SourceError
from maskstream.stream.av_decoder import Decoder
from maskstream.stream.av_target import file_target
from maskstream.stream.source_status import SourceCounts
from maskstream.stream.sources import open_source

CLIPS = Path(__file__).parents[4] / "shared" / "data" / "clips"
MILLISECOND = Fraction(1, 1000)


def frames_of(path, **arguments):
    with open_source(str(path), **arguments) as source:
        return list(source)


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("b_frames.mp4", "libx264", {"options": {"bf": "3"}}),
        ("fragmented.mp4", "libx264", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("clip.mov", "mjpeg", {"pixels": "yuvj422p"}),
        ("clip.mkv", "libx265", {"options": {"x265-params": "log-level=none"}}),
        ("clip.webm", "libvpx", {"options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("clip.avi", "mjpeg", {"pixels": "yuvj420p"}),
        ("b_frames.avi", "mpeg4", {"options": {"bf": "2"}}),
        ("clip.ts", "mpeg2video", {}),
        ("clip.flv", "flv1", {}),
        ("odd.mkv", "libx264", {"size": (321, 241), "pixels": "yuv444p"}),
        ("deep.mkv", "ffv1", {"pixels": "yuv420p10le"}),
        ("with_sound.mp4", "libx264", {"sound": True}),
        ("one_frame.mp4", "libx264", {"frames": 1}),
    ],
)
def test_every_frame_comes_once_and_in_order(make_clip, read_number, name, codec, settings):
    path = make_clip(name, codec, **settings)
    count = settings.get("frames", 30)
    with open_source(str(path)) as source:
        frames = list(source)
    assert [read_number(frame.image) for frame in frames] == list(range(count))
    assert [frame.index for frame in frames] == list(range(count))
    starts = [round((frame.time_s - frames[0].time_s) * 30) for frame in frames]
    assert starts == list(range(count))
    width, height = settings.get("size", (96, 64))
    assert {frame.image.shape for frame in frames} == {(height, width, 3)}
    assert all(frame.image.flags.c_contiguous and not frame.image.flags.writeable for frame in frames)
    assert (source.info.width_px, source.info.height_px) == (width, height)
    assert not source.info.is_live
    assert source.info.source_id == name
    assert source.counts == SourceCounts()


def test_info_of_a_file(make_clip):
    path = make_clip("ntsc.mp4", rate=Fraction(30000, 1001))
    with open_source(str(path), source_id="front door") as source:
        assert source.info.frame_rate == Fraction(30000, 1001)
        assert source.info.frame_count == 30
        assert source.info.source_id == "front door"
        frame = next(iter(source))
    assert frame.time_base == source.info.time_base
    assert frame.source_id == "front door"


def test_variable_frame_rate_keeps_its_times(make_clip):
    times_ms = [0, 40, 45, 200, 1000, 1001, 3000, 3033]
    path = make_clip("variable.mkv", frames=8, ticks=times_ms, tick=MILLISECOND)
    frames = frames_of(path)
    assert [frame.pts * frame.time_base for frame in frames] == [t * MILLISECOND for t in times_ms]


def test_a_first_pts_that_is_not_zero_stays(make_clip):
    path = make_clip("late.mkv", frames=5, ticks=[5000 + 40 * n for n in range(5)], tick=MILLISECOND)
    assert [frame.pts for frame in frames_of(path)] == [5000, 5040, 5080, 5120, 5160]


def test_a_stream_without_any_pts_is_timed_by_its_rate_and_counted(make_clip, read_number):
    path = make_clip("raw.h264", frames=12)
    with open_source(str(path)) as source:
        frames = list(source)
    assert source.info.frame_rate == 30
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(n, 30) for n in range(12)]
    assert [read_number(frame.image) for frame in frames] == list(range(12))
    assert source.counts.derived_pts == 12


def erase_pts(path, frames):
    """Removes the time stamps of the first `frames` pictures from a transport stream."""
    content, start = bytearray(path.read_bytes()), 0
    for _ in range(frames):
        start = content.index(b"\0\0\1\xe0", start + 1)
        content[start + 7] &= 0x3F
        length = content[start + 8]
        content[start + 9 : start + 9 + length] = b"\xff" * length
    path.write_bytes(content)


def test_first_frames_without_pts_are_timed_by_the_first_with_one(make_clip, read_number):
    path = make_clip("clip.ts", options={"bf": "0"}, ticks=range(150, 180))
    expected = [frame.pts for frame in frames_of(path)]
    erase_pts(path, 2)
    with open_source(str(path)) as source:
        frames = list(source)
    assert [frame.pts for frame in frames] == expected
    assert [read_number(frame.image) for frame in frames] == list(range(30))
    assert source.counts.derived_pts == 2


def test_one_picture_every_two_seconds_is_not_a_file_cut_short(make_clip):
    path = make_clip("slow.mkv", frames=3, rate=Fraction(1, 2))
    assert [frame.time_s for frame in frames_of(path)] == [0, 2, 4]


def test_time_goes_on_where_a_second_recording_was_appended(make_clip, read_number):
    path = make_clip("clip.ts", "mpeg2video", frames=40, options={"bf": "0"})
    path.write_bytes(path.read_bytes() * 2)
    with open_source(str(path)) as source:
        frames = list(source)
    assert [read_number(frame.image) for frame in frames] == [*range(40), *range(40)]
    steps = {second.pts - first.pts for first, second in zip(frames, frames[1:], strict=False)}
    assert steps == {3000}  # 1/30 s in ticks of 1/90000 s
    assert source.counts.corrected_pts == 1


def test_frames_of_another_size_are_given_as_they_are_and_counted(make_clip, read_number):
    small, large = make_clip("small.ts", frames=10), make_clip("large.ts", frames=10, size=(192, 128))
    small.write_bytes(small.read_bytes() + large.read_bytes())
    with open_source(str(small)) as source:
        frames = list(source)
    assert [frame.hw for frame in frames] == [(64, 96)] * 10 + [(128, 192)] * 10
    assert [read_number(frame.image) for frame in frames] == [*range(10), *range(10)]
    assert source.counts.resized_frames == 10


def corner_image(_number, width, height):
    """White top left corner on black."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 255
    return image


@pytest.mark.parametrize(
    ("degrees", "hflip", "vflip", "corner", "size"),
    [
        (0, False, False, "top left", (96, 64)),
        (90, False, False, "bottom left", (64, 96)),  # counterclockwise
        (-90, False, False, "top right", (64, 96)),
        (180, False, False, "bottom right", (96, 64)),
        (0, True, False, "top right", (96, 64)),
        (0, False, True, "bottom left", (96, 64)),
        (90, True, False, "bottom right", (64, 96)),
        (-90, True, False, "top left", (64, 96)),
    ],
)
def test_rotation_metadata_is_applied(make_clip, degrees, hflip, vflip, corner, size):
    def turn(stream):
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)

    path = make_clip("turned.mp4", frames=2, prepare=turn, image=corner_image)
    with open_source(str(path)) as source:
        frames = list(source)
    image = frames[0].image
    assert (source.info.width_px, source.info.height_px) == size
    assert image.shape == (size[1], size[0], 3)
    assert image.flags.c_contiguous
    row, column = (5 if "top" in corner else -5), (5 if "left" in corner else -5)
    assert image[row, column].min() > 240
    assert (image > 128).mean() == pytest.approx(0.25, abs=0.02)


def test_pixels_that_are_not_square_are_told_not_stretched(make_clip):
    def squeeze(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = make_clip("anamorphic.mp4", frames=2, prepare=squeeze)
    with open_source(str(path)) as source:
        assert source.sample_aspect_ratio == Fraction(4, 3)
        assert (source.info.width_px, source.info.height_px) == (96, 64)


MATRICES = {"bt601": (5, 0.299, 0.114), "bt709": (1, 0.2126, 0.0722), "unknown": (2, 0.299, 0.114)}


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("rgb", [(255, 255, 255), (200, 30, 60), (20, 180, 90)])
def test_colours_are_true(tmp_path, matrix, full_range, rgb):
    code, kr, kb = MATRICES[matrix]
    red, green, blue = (value / 255 for value in rgb)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    planes = [round(255 * luma), *(round(128 + 255 * c) for c in chroma)]
    if not full_range:
        planes = [round(16 + 219 * luma), *(round(128 + 224 * c) for c in chroma)]
    path = tmp_path / "colour.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = code, 2 if full_range else 1
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, planes, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (read,) = frames_of(path)
    assert np.abs(read.image[24, 32].astype(int) - rgb).max() <= 4


def test_sound_without_video_is_refused(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match=r"song\.m4a: it holds no video, only audio"):
        open_source(str(path))


def test_a_cover_picture_is_not_a_video(make_clip):
    def make_cover(stream):
        stream.disposition = av.stream.Disposition.attached_pic

    path = make_clip("cover.mp4", "mjpeg", frames=1, pixels="yuvj420p", sound=True, prepare=make_cover)
    with pytest.raises(SourceError, match="holds no video, only audio"):
        open_source(str(path))


def test_odd_names_open(make_clip, monkeypatch):
    path = make_clip("a b.mp4", frames=2)
    monkeypatch.chdir(path.parent)
    for name in ("12:30 gate.mp4", "100%d.mp4", "größe ☃.mp4", "-i.mp4"):
        make_clip(name, frames=2)
        assert len(frames_of(name)) == 2
    assert len(frames_of(path.as_uri())) == 2


def test_frames_keep_their_pixels_when_others_follow(make_clip, read_number):
    path = make_clip("raw_rgb.mkv", "ffv1", pixels="bgr0", size=(128, 64))
    frames = frames_of(path)
    assert [read_number(frame.image) for frame in frames] == list(range(30))


def test_capture_times_are_when_the_frame_was_decoded(make_clip):
    before_ns, before_unix_ns = time.monotonic_ns(), time.time_ns()
    frames = frames_of(make_clip("clip.mp4"))
    captured = [before_ns, *(frame.captured_ns for frame in frames), time.monotonic_ns()]
    assert captured == sorted(captured)
    captured = [before_unix_ns, *(frame.captured_unix_ns for frame in frames), time.time_ns()]
    assert captured == sorted(captured)


def test_max_frames(make_clip):
    path = make_clip("clip.mp4")
    with open_source(str(path), max_frames=7) as source:
        assert source.info.frame_count == 7
        assert [frame.index for frame in source] == list(range(7))
    with pytest.raises(SourceError, match="max_frames must be at least 1, got 0"):
        open_source(str(path), max_frames=0)


def test_a_recording_played_in_real_time_counts_as_live(make_clip):
    path = make_clip("clip.mp4", frames=10, rate=Fraction(100))
    began_s = time.monotonic()
    with open_source(str(path), realtime=True) as source:
        frames = list(source)
    assert source.info.is_live
    assert source.info.frame_count is None
    assert len(frames) == 10
    assert time.monotonic() - began_s >= 0.09
    gaps_ns = np.diff([frame.captured_ns for frame in frames])
    assert gaps_ns.sum() >= 80e6  # captured when released, not when decoded


def test_one_pass_and_close_at_any_time(make_clip):
    path = make_clip("clip.mp4")
    source = open_source(str(path))
    assert next(iter(source)).index == 0
    assert next(iter(source)).index == 1  # the same pass goes on
    source.close()
    source.close()
    assert list(source) == []
    never_read = open_source(str(path))
    never_read.close()
    assert list(never_read) == []


def test_close_from_another_thread_ends_the_iteration(make_clip):
    """Also while a frame of a recording played in real time is waited for."""
    path = make_clip("slow.mkv", frames=2, ticks=[0, 60_000], tick=MILLISECOND)
    source = open_source(str(path), realtime=True)
    assert next(source).pts == 0
    threading.Timer(0.1, source.close).start()
    began_s = time.monotonic()
    assert list(source) == []
    assert time.monotonic() - began_s < 1


def test_a_named_pipe_is_read_to_its_end(make_clip, tmp_path, read_number):
    clip = make_clip("clip.mkv", frames=20)
    pipe = tmp_path / "pipe.mkv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()))
    writer.start()
    frames = frames_of(pipe)
    writer.join()
    assert [read_number(frame.image) for frame in frames] == list(range(20))


def test_a_named_pipe_that_nobody_writes_to_is_given_up(tmp_path):
    pipe = tmp_path / "pipe.mkv"
    os.mkfifo(pipe)
    with pytest.raises(SourceError, match=r"no picture came within 0\.2 s"):
        open_source(str(pipe), connect_timeout_s=0.2)
    pipe.open("wb").close()  # lets the thread go that still waits for a writer


@pytest.mark.parametrize("key_frame_every", [1, 10])
@pytest.mark.parametrize("damaged", [22, 27, 29])
def test_frames_behind_a_damaged_packet_near_the_end_are_not_lost(make_clip, damaged, key_frame_every):
    """PyAV drops what a frame-threaded decoder still holds when draining meets an error."""
    path = make_clip("clip.mkv", options={"bf": "0", "x264-params": f"keyint={key_frame_every}"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        expected = [packet.pts for number, packet in enumerate(packets) if number != damaged]
        content = bytes(packets[damaged])
    whole = path.read_bytes()
    path.write_bytes(whole.replace(content, b"\0\0\0\x05gar".ljust(len(content), b"\0")))
    counts = SourceCounts()
    decoder = Decoder(file_target(path), counts, 1, 1)
    decoder.stream.thread_count = 8  # few cores have few threads, which hold nothing back
    assert [decoded.frame.pts for decoded in decoder.frames()] == expected
    decoder.close()
    assert counts.corrupt_packets == 1


@pytest.mark.parametrize("limit", [60, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(path.name for path in CLIPS.glob("*")) if CLIPS.is_dir() else [None])
def test_real_clips_lose_and_double_nothing(name, limit):
    if name is None:
        pytest.skip("../shared/data/clips is not there")
    path = CLIPS / name
    with av.open(str(path)) as container:
        expected = sorted(packet.pts for packet in container.demux(video=0) if packet.size)
    with open_source(str(path), max_frames=limit) as source:
        frames = list(source)
    assert [frame.pts for frame in frames] == expected[:limit]
    assert source.info.frame_count == min(limit, len(expected))
    assert source.counts == SourceCounts()


def test_decoded_frames_are_let_go_without_the_garbage_collector(make_clip):
    gc.collect()
    gc.disable()
    try:
        with open_source(str(make_clip("clip.mp4", "libx264", options={"bf": "0"}))) as source:
            count = sum(1 for _ in source)
            left = sum(issubclass(type(one), av.VideoFrame) for one in gc.get_objects())
    finally:
        gc.enable()
    assert count == 30
    assert left <= 8  # those that the decoder is at
