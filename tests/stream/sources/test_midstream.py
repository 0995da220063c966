"""What live streams do to those who read them: each case sent over a real connection."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from maskstream.model.errors import StreamBrokenError
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.source_status import SourceState
from maskstream.stream.sources import open_source

TS_PACKET = 188
NO_B = {"bf": "0", "g": "10", "sc_threshold": "0", "x264-params": "rc-lookahead=0"}


@pytest.fixture
def send_tcp():
    """`send_tcp(steps)` plays bytes, and pauses in s, to the first who connects; gives the URL."""
    threads = []

    def send(*steps):
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            with listener, listener.accept()[0] as connection:
                for step in steps:
                    if isinstance(step, float):
                        time.sleep(step)
                    elif connection.send(step) == 0:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    yield send
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def read_all(url, **arguments):
    """All frames of a stream that ends by breaking off, and the source."""
    frames = []
    with open_source(url, **arguments) as source, pytest.raises(StreamBrokenError):
        frames.extend(source)
    assert np.diff([frame.pts for frame in frames]).min() > 0
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return frames, source


def numbers(frames, read_number):
    return [read_number(frame.image) for frame in frames]


def ts_packets(path):
    content = path.read_bytes()
    return [content[at : at + TS_PACKET] for at in range(0, len(content), TS_PACKET)]


def test_a_stream_over_tcp_is_live(make_clip, send_tcp, read_number):
    path = make_clip("clip.ts", frames=30, options=NO_B)
    frames, source = read_all(send_tcp(path.read_bytes()))
    assert source.info.is_live
    assert numbers(frames, read_number) == list(range(30))


def test_b_frames_come_in_the_order_they_are_shown(make_clip, send_tcp, read_number):
    path = make_clip("clip.ts", frames=30, options={"bf": "3", "g": "15"})
    frames, source = read_all(send_tcp(path.read_bytes()))
    assert numbers(frames, read_number) == list(range(30))
    assert {second.pts - first.pts for first, second in itertools.pairwise(frames)} == {3000}
    assert source.status().counts.corrected_pts == 0


def late_pause(make_clip, pause_s):
    """A clip with one pause near its end, where FFmpeg does not look any more to learn what it is."""
    content = make_clip("clip.ts", frames=150, options=NO_B).read_bytes()
    border = 4 * len(content) // 5
    return content[:border], pause_s, content[border:]


def test_a_camera_that_pauses_at_its_key_frames_does_not_stall(make_clip, send_tcp, read_number):
    frames, source = read_all(send_tcp(*late_pause(make_clip, 0.5)))
    assert numbers(frames, read_number) == list(range(150))
    assert source.status().counts.stalls == 0


def test_a_longer_silence_is_a_stall_and_not_yet_a_break(make_clip, send_tcp, read_number):
    settings = ReconnectConfig(stall_after_s=0.3, give_up_after_s=0)
    frames, source = read_all(send_tcp(*late_pause(make_clip, 0.6)), reconnect=settings)
    assert numbers(frames, read_number) == list(range(150))
    assert source.status().counts.stalls == 1
    assert source.status().state is SourceState.FAILED


def test_corrupt_packets_cost_pictures_and_nothing_else(make_clip, send_tcp):
    path = make_clip("clip.ts", "mpeg2video", frames=60, size=(192, 144), options={"g": "6"})
    packets = ts_packets(path)
    rng = np.random.default_rng(0)
    for number in rng.choice(np.arange(40, len(packets) - 5), 12, replace=False):
        packets[number] = packets[number][:4] + rng.bytes(TS_PACKET - 4)
    frames, source = read_all(send_tcp(b"".join(packets)))
    assert 40 < len(frames) <= 60
    counts = source.status().counts
    assert counts.corrupt_packets + counts.damaged_frames > 0


def test_lost_packets_cost_pictures_and_nothing_else(make_clip, send_tcp):
    path = make_clip("clip.ts", "mpeg2video", frames=60, size=(192, 144), options={"g": "6"})
    packets = ts_packets(path)
    kept = [packet for number, packet in enumerate(packets) if number < 40 or number % 17]
    frames, source = read_all(send_tcp(b"".join(kept)))
    assert 40 < len(frames) <= 60
    counts = source.status().counts
    assert counts.corrupt_packets + counts.damaged_frames > 0


def test_a_camera_that_changes_its_resolution(make_clip, send_tcp, read_number):
    small = make_clip("small.ts", frames=10, options=NO_B)
    large = make_clip("large.ts", frames=10, size=(192, 128), options=NO_B)
    frames, source = read_all(send_tcp(small.read_bytes() + large.read_bytes()))
    assert [frame.hw for frame in frames] == [(64, 96)] * 10 + [(128, 192)] * 10
    assert numbers(frames, read_number) == [*range(10), *range(10)]
    counts = source.status().counts
    assert (counts.resized_frames, counts.corrected_pts) == (10, 4)  # its clock began anew too


def test_a_camera_that_changes_its_frame_rate(make_clip, send_tcp, read_number):
    ticks = [*range(0, 20 * 40, 40), *range(20 * 40, 20 * 40 + 10 * 200, 200)]  # 25, then 5 frames/s
    path = make_clip("clip.ts", frames=30, options=NO_B, ticks=ticks, tick=Fraction(1, 1000))
    frames, _ = read_all(send_tcp(path.read_bytes()))
    assert numbers(frames, read_number) == list(range(30))
    steps_ms = [(second.time_s - first.time_s) * 1000 for first, second in itertools.pairwise(frames)]
    assert steps_ms == pytest.approx([40] * 20 + [200] * 9)


def test_a_clock_that_wraps(make_clip, send_tcp, read_number):
    """MPEG's clock has 33 bits of 1/90000 s: every 26.5 hours it begins anew."""
    start = 2**33 - 15 * 3000
    path = make_clip(
        "clip.ts", frames=30, options=NO_B, tick=Fraction(1, 90000),
        ticks=[start + 3000 * number for number in range(30)], container_options={"muxdelay": "0"},
    )  # fmt: skip
    frames, _ = read_all(send_tcp(path.read_bytes()))
    assert numbers(frames, read_number) == list(range(30))
    assert {second.pts - first.pts for first, second in itertools.pairwise(frames)} == {3000}


def mjpeg(path):
    """A clip's pictures as JPEG."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def nut_of(path, pictures, times_ms):
    """A stream in NUT, which takes what PTS it is given."""
    with av.open(str(path), "w", format="nut") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, (picture, time_ms) in enumerate(zip(pictures, times_ms, strict=True)):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts, packet.dts = time_ms, number
            packet.is_keyframe = True
            container.mux(packet)
    return path.read_bytes()


def test_a_picture_that_is_sent_twice_is_shown_once(make_clip, send_tcp, read_number, tmp_path):
    pictures = mjpeg(make_clip("clip.avi", "mjpeg", frames=10, pixels="yuvj420p"))
    order = [0, 1, 2, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9]
    stream = nut_of(tmp_path / "twice.nut", [pictures[n] for n in order], [40 * n for n in order])
    frames, source = read_all(send_tcp(stream))
    assert numbers(frames, read_number) == list(range(10))
    assert source.status().counts.duplicate_frames == 3


def test_another_picture_under_the_same_time_is_kept(make_clip, send_tcp, read_number, tmp_path):
    pictures = mjpeg(make_clip("clip.avi", "mjpeg", frames=10, pixels="yuvj420p"))
    times_ms = [0, 40, 80, 80, 160, 200, 240, 280, 320, 360]
    frames, source = read_all(send_tcp(nut_of(tmp_path / "same.nut", pictures, times_ms)))
    assert numbers(frames, read_number) == list(range(10))
    counts = source.status().counts
    assert (counts.duplicate_frames, counts.corrected_pts) == (0, 1)


def test_a_clock_that_jumps_a_day_ahead(make_clip, send_tcp, read_number, tmp_path):
    pictures = mjpeg(make_clip("clip.avi", "mjpeg", frames=10, pixels="yuvj420p"))
    day_ms = 86_400_000
    times_ms = [40 * n + day_ms * (n >= 5) for n in range(10)]
    frames, source = read_all(send_tcp(nut_of(tmp_path / "day.nut", pictures, times_ms)))
    assert numbers(frames, read_number) == list(range(10))
    assert frames[-1].time_s - frames[0].time_s < 5
    assert source.status().counts.corrected_pts == 1
