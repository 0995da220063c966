"""Small real clips whose every frame carries its number, and a server that plays them."""

from __future__ import annotations

import functools
import http.server
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

BITS = 8


def numbered_image(number, width, height):
    """Noise (H, W, 3) that moves, under a row of black and white blocks: `number` in binary."""
    noise = np.random.default_rng(0).integers(60, 200, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = np.roll(noise.repeat(8, 0).repeat(8, 1)[:height, :width], 2 * number, axis=1)
    image[: height // 3] = 0
    for bit in range(BITS):
        if number >> bit & 1:
            image[: height // 3, bit * width // BITS : (bit + 1) * width // BITS] = 255
    return np.ascontiguousarray(image)


def number_of(image):
    """The number that `numbered_image` wrote."""
    height, width = image.shape[:2]
    middles = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(middles) if image[height // 6, x].mean() > 128)


@pytest.fixture(scope="session")
def read_number():
    return number_of


def add_silence(container, stream, seconds):
    for start in range(0, int(48000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture
def make_clip(tmp_path):
    """`make_clip(name, frames=..., ...)` encodes a clip of numbered frames and gives its path."""

    def make(
        name, codec="libx264", frames=30, size=(96, 64), rate=Fraction(30), pixels="yuv420p", ticks=None,
        tick=None, container_options=None, options=None, sound=False, prepare=lambda stream: None,
        image=numbered_image,
    ):  # fmt: skip
        path = tmp_path / name
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=rate, options=options or {})
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            if tick is not None:
                stream.codec_context.time_base = tick
            prepare(stream)
            sound_stream = container.add_stream("aac", rate=48000) if sound else None
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(image(number, *size), "rgb24")
                frame.pts, frame.time_base = ticks[number] if ticks else number, tick or 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if sound:
                add_silence(container, sound_stream, frames / rate)
        return path

    return make


@pytest.fixture
def serve_http():
    """`serve_http(handler_class)` or `serve_http(folder=...)` gives the server's URL."""
    servers = []

    def serve(handler=None, folder=None):
        if folder is not None:

            class Quiet(http.server.SimpleHTTPRequestHandler):
                def log_message(self, *args):
                    pass

            handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()
