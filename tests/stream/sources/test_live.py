"""Streams, cameras and devices that are really there: connecting, breaking, closing, refusing."""

from __future__ import annotations

import http.server
import re
import signal
import socket
import threading
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from maskstream.model.errors import SourceError, StreamBrokenError
from maskstream.stream.av_target import TargetKind, _windows_camera, camera_target, cameras
from maskstream.stream.sources import open_source


def refusal(spec, **arguments):
    with pytest.raises(SourceError) as caught:
        open_source(spec, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message
    assert message.startswith("cannot open ")
    return message


def read_until_break(source):
    frames = []
    with source, pytest.raises(StreamBrokenError) as caught:
        frames.extend(source)
    assert "secret" not in str(caught.value)
    return frames, str(caught.value)


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("maskstream-")]


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_rtsp_frames_have_true_times(rtsp):
    with open_source(f"rtsp://{rtsp}/live") as source:
        frames = list(islice(source, 40))
    info = source.info
    assert (info.is_live, info.frame_count, info.frame_rate) == (True, None, 25)
    assert (info.width_px, info.height_px) == (640, 360)
    assert info.source_id == f"rtsp://{rtsp}/live"
    assert info.time_base == Fraction(1, 90000)
    assert {int(step) for step in np.diff([frame.pts for frame in frames])} == {3600}
    assert [frame.index for frame in frames] == list(range(40))
    assert source.counts.derived_pts <= 1  # FFmpeg gives the first RTP picture no PTS
    wait_until(lambda: not reader_threads())  # who waits in FFmpeg is let go at its next packet


def test_rtsp_login(start_rtsp):
    _, address = start_rtsp("--user", "viewer", "--password", "se@cret")
    for login in ("", "viewer:secret@", "viewer:wrong-secret@"):
        began_s = time.monotonic()
        message = refusal(f"rtsp://{login}{address}/live")
        assert "wrong or missing user name or password (401); check them in the URL" in message
        assert time.monotonic() - began_s < 5
    with open_source(f"rtsp://viewer:se%40cret@{address}/live") as source:
        assert source.info.source_id == f"rtsp://viewer:***@{address}/live"
        assert next(source).source_id == source.info.source_id


def test_rtsp_without_the_path_or_without_pictures(rtsp):
    assert "the server has no such stream (404); check the path" in refusal(f"rtsp://{rtsp}/nothing")
    assert "has no video there" in refusal(f"rtsp://{rtsp}/audio")


def test_an_rtsp_server_that_says_goodbye_has_broken_off(rtsp):
    frames, message = read_until_break(open_source(f"rtsp://{rtsp}/finite"))
    assert 20 <= len(frames) <= 25
    expected = f"rtsp://{rtsp}/finite broke off after frame {len(frames) - 1} at {frames[-1].time_s:.3f} s: "
    assert message == expected + "the server ended the stream"


def test_an_rtsp_server_that_dies_has_broken_off(start_rtsp):
    process, address = start_rtsp()
    source = open_source(f"rtsp://{address}/live")
    frames = list(islice(source, 5))
    process.kill()
    began_s = time.monotonic()
    more, message = read_until_break(source)
    assert time.monotonic() - began_s < 2
    assert [frame.index for frame in [*frames, *more]] == list(range(5 + len(more)))
    assert "the server ended the stream" in message
    wait_until(lambda: not reader_threads())  # who waits in FFmpeg is let go at its next packet


def test_a_silent_rtsp_stream_breaks_after_the_read_timeout(start_rtsp):
    process, address = start_rtsp()
    source = open_source(f"rtsp://{address}/live", read_timeout_s=0.6)
    assert next(source).index == 0
    process.send_signal(signal.SIGSTOP)
    began_s = time.monotonic()
    _, message = read_until_break(source)
    assert 0.5 < time.monotonic() - began_s < 2.5
    assert message.endswith("no picture came for 0.6 s")


def test_close_frees_who_waits_for_a_silent_stream(start_rtsp):
    process, address = start_rtsp()
    source = open_source(f"rtsp://{address}/live", read_timeout_s=60)
    assert next(source).index == 0
    process.send_signal(signal.SIGSTOP)
    closing = threading.Timer(0.5, source.close)
    closing.start()
    began_s = time.monotonic()
    list(source)  # what was on its way, then the end
    assert time.monotonic() - began_s < 2
    closing.join(1.5)
    assert not closing.is_alive()
    process.kill()  # ends the thread that still waits in FFmpeg
    for thread in reader_threads():
        thread.join(5)
    wait_until(lambda: not reader_threads())


@pytest.fixture
def mute_port():
    """A port that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_the_connect_timeout_counts_while_a_server_keeps_silent(mute_port, scheme):
    began_s = time.monotonic()
    url = f"{scheme}://me:secret@127.0.0.1:{mute_port}/x?token=secret"
    message = refusal(url, connect_timeout_s=0.5)
    assert 0.4 < time.monotonic() - began_s < 1.5
    assert f"{scheme}://me:***@127.0.0.1:{mute_port}/x?token=***: no picture came within 0.5 s" in message


def test_addresses_that_cannot_be_reached():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert "connection refused; check host and port" in refusal(f"rtsp://me:secret@{address}/x")
    message = refusal("http://me:secret@no-such-host.invalid/x.mp4")
    assert "host no-such-host.invalid cannot be found" in message
    assert "this FFmpeg has no such protocol" in refusal("gopher5://me:secret@127.0.0.1/x")


def test_http_files_and_playlists(make_clip, serve_http, read_number, tmp_path):
    make_clip("clip.mp4")
    make_clip("clip.ts", "mpeg2video")
    make_clip("list.m3u8", options={"g": "10"}, container_options={"hls_time": "0.3"})
    url = serve_http(folder=tmp_path)
    for name in ("clip.mp4", "clip.ts", "list.m3u8"):
        with open_source(f"{url}/{name}") as source:
            assert [read_number(frame.image) for frame in source] == list(range(30))
        assert not source.info.is_live
    assert "(404); check the path" in refusal(f"{url}/none.mp4")


def test_a_page_is_no_video(serve_http, tmp_path):
    (tmp_path / "page.html").write_text("<html><body>" + "Welcome to your camera. " * 100 + "</body></html>")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    url = serve_http(folder=tmp_path)
    assert "noise.mp4: what answers there sends no video; check the URL" in refusal(f"{url}/noise.mp4")
    assert "page.html: " in refusal(f"{url}/page.html")


def test_http_login(serve_http):
    class Locked(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()

        def log_message(self, *args):
            pass

    url = serve_http(Locked).replace("http://", "http://me:secret@")
    assert "wrong or missing user name or password (401)" in refusal(url + "/x.mp4")


def half_server(content, ranges):
    """Sends half of what is asked for and hangs up, the first three times."""
    log = []

    class Half(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):  # noqa: N802
            start = int(re.search(r"\d+", self.headers.get("Range", "0"))[0]) if ranges else 0
            part = content[start:]
            log.append(start)
            self.send_response(206 if ranges else 200)
            self.send_header("Content-Length", str(len(part)))
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(part[: len(part) // 2] if len(log) < 4 else part)
            self.close_connection = True

        def log_message(self, *args):
            pass

    return Half, log


def test_http_goes_on_where_a_connection_was_closed(make_clip, serve_http, read_number):
    path = make_clip("clip.mp4", container_options={"movflags": "faststart"}, size=(320, 240))
    handler, log = half_server(path.read_bytes(), ranges=True)
    with open_source(serve_http(handler) + "/clip.mp4") as source:
        assert [read_number(frame.image) for frame in source] == list(range(30))
    assert len(log) == 4


def test_http_that_cannot_go_on_has_broken_off(make_clip, serve_http, read_number):
    options = {"movflags": "faststart"}
    path = make_clip("clip.mp4", container_options=options, size=(320, 240), options={"bf": "0"})
    handler, _ = half_server(path.read_bytes(), ranges=False)
    frames, message = read_until_break(open_source(serve_http(handler) + "/clip.mp4"))
    assert [read_number(frame.image) for frame in frames] == list(range(len(frames)))
    assert 3 < len(frames) < 30
    assert message.endswith("reading failed: the connection was lost")


def test_a_device_gives_frames_at_its_own_pace():
    began_s = time.monotonic()
    with open_source("device:lavfi:testsrc2=size=320x240:rate=50,realtime", max_frames=15) as source:
        frames = list(source)
    assert time.monotonic() - began_s > 0.2
    assert source.info.is_live
    assert source.info.source_id == "device:lavfi:testsrc2=size=320x240:rate=50,realtime"
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(n, 50) for n in range(15)]
    assert len({frame.image.tobytes() for frame in frames}) == 15


def test_what_a_live_stream_shows_before_anyone_looks_is_not_kept():
    with open_source("device:lavfi:testsrc2=size=64x64:rate=50,realtime") as source:
        source.standby()
        opened_ns = time.monotonic_ns()
        time.sleep(0.5)
        frames = list(islice(source, 3))
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].time_s > 0.3
    assert frames[0].captured_ns - opened_ns > 0.3e9
    assert len({frame.pts for frame in frames}) == 3
    wait_until(lambda: not reader_threads())  # who waits in FFmpeg is let go at its next packet


def test_a_stream_that_ends_before_anyone_looks_shows_its_last_picture(rtsp):
    source = open_source("device:lavfi:testsrc2=size=64x64:rate=10:duration=1")
    source.standby()
    wait_until(lambda: not reader_threads())
    with source:
        assert [float(frame.time_s) for frame in source] == [0.9]
    source = open_source(f"rtsp://{rtsp}/finite")
    source.standby()
    wait_until(lambda: not reader_threads())
    frames, message = read_until_break(source)
    assert len(frames) == 1
    assert message.endswith("the server ended the stream")


def test_closing_a_stream_that_nobody_looked_at(start_rtsp):
    _, address = start_rtsp()
    source = open_source(f"rtsp://{address}/live")
    source.standby()
    source.close()
    assert list(source) == []
    wait_until(lambda: not reader_threads())  # who waits in FFmpeg is let go at its next packet


def test_a_recording_waits_to_be_looked_at(make_clip, serve_http, tmp_path):
    path = make_clip("clip.mp4")
    for spec in (str(path), serve_http(folder=tmp_path) + "/clip.mp4"):
        with open_source(spec) as source:
            source.standby()
            time.sleep(0.1)
            assert len(list(source)) == 30


def test_a_device_that_ends_by_itself_has_not_broken_off():
    with open_source("device:lavfi:testsrc2=size=32x32:rate=10:duration=1") as source:
        assert len(list(source)) == 10


def test_options_reach_ffmpeg():
    with open_source("device:lavfi:testsrc2=size=32x32", options={"graph": "color=red:size=64x48"}) as source:
        assert next(source).hw == (48, 64)


def test_the_screen_as_a_camera(x_display):
    before_unix_s = time.time()
    with open_source(f"device:x11grab:{x_display}", options={"framerate": "50"}) as source:
        frames = list(islice(source, 5))
    assert source.info.is_live
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert abs(frames[0].time_s - before_unix_s) < 30  # its media clock is the wall clock
    assert all(np.diff([frame.pts for frame in frames]) > 0)


def test_devices_that_are_not_there():
    assert "expected device:FORMAT:NAME" in refusal("device:lavfi")
    assert "has no capture format 'kinect'" in refusal("device:kinect:0")
    assert "cannot open device:lavfi:nosuch: Filter not found; check the name" in refusal(
        "device:lavfi:nosuch"
    )


@pytest.mark.skipif(Path("/dev/video97").exists(), reason="there is a camera 97")
@pytest.mark.parametrize("spec", ["97", "camera:97", "/dev/video97", "camera:No Such Camera"])
def test_cameras_that_are_not_there(spec):
    assert "there is no such camera; found on this machine: " in refusal(spec)


def test_cameras_of_a_linux_machine(tmp_path):
    for number, name in ((0, "Integrated Camera"), (2, "Logi C920"), (10, "Capture Card")):
        folder = tmp_path / f"video{number}"
        folder.mkdir()
        (folder / "name").write_text(name + "\n")
    expected = {
        "/dev/video0": "Integrated Camera",
        "/dev/video2": "Logi C920",
        "/dev/video10": "Capture Card",
    }
    assert list(cameras(tmp_path).items()) == list(expected.items())


def test_cameras_of_other_systems():
    mac = camera_target("FaceTime HD Camera", platform="darwin")
    assert (mac.kind, mac.format, mac.address) == (
        TargetKind.CAMERA,
        "avfoundation",
        "FaceTime HD Camera:none",
    )
    windows = camera_target("Logi C920", platform="win32")
    assert (windows.format, windows.address) == ("dshow", "video=Logi C920")
    assert windows.source_id == "camera:Logi C920"
    second = _windows_camera("1", list_devices=lambda: ["Integrated", "Logi"])
    assert second.address == "video=Logi"
    with pytest.raises(SourceError, match=r"found on this machine: 0 \(Integrated\)"):
        _windows_camera("1", list_devices=lambda: ["Integrated"])
