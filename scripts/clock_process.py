"""A camera with the time in its pictures as a process, and what reads that time again; not a script itself.

The pictures are a synthetic scene of moving shapes. In the top left corner is the wall clock in µs, as a row
of black and white cells, lowest bit first, with its complement below: see clock_camera.py.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from maskstream.model.types import Prompt, RgbImage
from maskstream.stream.synthetic import SyntheticSettings, SyntheticSource
from rtsp_process import SYSTEM_PYTHON

CAMERA = Path(__file__).with_name("clock_camera.py")
CELL_PX, BITS = 8, 40
_MIDDLE = slice(CELL_PX // 4, -(CELL_PX // 4))  # of a cell: its edges are blurred


class ClockCamera:
    """An RTSP camera that shows shapes which stand still until move() is called.

    Args:
        objects: shapes, with ids from 1 on.
        size_wh: of the picture, px; not narrower than the painted time, which is 320 px.
        fps: pictures per second.
        codec: `h264` or `mjpeg`.
        scene: of the synthetic source.
        pictures: after so many the shapes go back the way they came.
    """

    def __init__(
        self,
        objects: int,
        size_wh: tuple[int, int] = (640, 360),
        fps: int = 10,
        *,
        codec: str = "h264",
        scene: str = "drift",
        pictures: int = 100,
    ) -> None:
        width, height = size_wh
        settings = SyntheticSettings(
            scene=scene, objects=objects, frames=pictures, width=width, height=height, fps=Fraction(fps)
        )
        source = SyntheticSource(settings)
        self._boxes = [_box_spec(prompt) for prompt in source.prompts()]
        self._frames = tempfile.NamedTemporaryFile(suffix=".i420")  # noqa: SIM115 - kept until close()
        for number in range(pictures):
            image = source.scene.image_at(settings.time_s(number))
            self._frames.write(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).tobytes())
        self._frames.flush()
        command = [SYSTEM_PYTHON, str(CAMERA), self._frames.name, "--size", f"{width}x{height}"]
        self._process = subprocess.Popen(
            [*command, "--fps", str(fps), "--codec", codec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("port "):
            self.close()
            sys.exit("GStreamer's RTSP server does not start: apt install gir1.2-gst-rtsp-server-1.0")
        self.url = f"rtsp://127.0.0.1:{line.split()[1]}/live"

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    @property
    def prompts(self) -> Sequence[str]:
        """`ID:box=...` of each shape while all stand still."""
        return self._boxes

    def move(self) -> None:
        """From now on things move."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it. May be called twice."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _box_spec(prompt: Prompt) -> str:
    assert prompt.box_xyxy is not None
    return f"{prompt.object_id}:box={','.join(f'{side:g}' for side in prompt.box_xyxy)}"


def painted_ns(image: RgbImage, now_ns: int) -> int | None:
    """When a picture (H, W, 3) was made, wall clock in ns; None if that cannot be read from it.

    What is painted begins again after 12 days; `now_ns` tells which of these it is.
    """
    cells = image[: 2 * CELL_PX, : BITS * CELL_PX].mean(axis=2).reshape(2, CELL_PX, BITS, CELL_PX)
    bits = cells[:, _MIDDLE, :, _MIDDLE].mean(axis=(1, 3)) > 128  # (2, BITS)
    if (bits[0] == bits[1]).any():
        return None
    code = int((bits[0].astype(np.int64) << np.arange(BITS)).sum())
    now_us = now_ns // 1000
    return (now_us - (now_us - code) % (1 << BITS)) * 1000
