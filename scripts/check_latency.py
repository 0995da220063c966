"""How old masks are when a subscriber has them: from the picture's making, and from its capture.

The camera, a real RTSP server in a process of its own, paints the wall clock into each picture: that moment
is `glass`. `capture` is when FFmpeg gave the picture's packet to `maskstream run`, as messages say it.
Both are compared with the clock of a subscriber, a third process, when it has received the message.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check_reconnect import free_port
from clock_process import ClockCamera
from maskstream.stream.client import Subscriber
from maskstream.stream.wire_messages import FrameMessage

TARGET = Path(__file__).with_name("latency_target.py")
P50_GOAL_MS, P99_GOAL_MS = 60.0, 200.0
STARTS_WITHIN_S = 180.0
SETTLE_S = 3.0  # at most: the first results teach the ladder how long things take
STOPS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Setting:
    """One run."""

    size: int | None  # model input, px; None: what the preset says
    objects: int

    def __str__(self) -> str:
        return f"{'preset rtsp' if self.size is None else f'{self.size} px'}, objects {self.objects}"


@dataclass(frozen=True)
class Received:
    """A message, when it came, and the picture it is about."""

    message: FrameMessage
    received_ns: int  # wall clock


def main(arguments: Sequence[str] | None = None) -> int:
    """All settings, a line for each; 1 if a goal was missed."""
    options = parse(arguments)
    rows = []
    for setting in (Setting(size, objects) for size in options.sizes for objects in options.objects):
        rows.append(measure(setting, options))
        print(line_of(setting, rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(row["passed"] for row in rows) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """For how long, and what."""
    parser = argparse.ArgumentParser(prog="scripts/check_latency", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run that count (30)")
    parser.add_argument(
        "--sizes", type=size_of, nargs="+", default=[512, None], metavar="PX", help="512 preset; or others"
    )
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5], help="followed (1 5)")
    parser.add_argument("--fps", type=int, default=25, help="the camera's pictures per second (25)")
    parser.add_argument("--width", type=int, default=640, help="of the camera's picture, px (640)")
    parser.add_argument("--codec", choices=("h264", "mjpeg"), default="h264", help="of the camera (h264)")
    parser.add_argument("--engine", default="auto", help="what runs the networks: auto, torch or openvino")
    parser.add_argument("--stand-in", action="store_true", help="in the place of the networks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures go here too")
    return parser.parse_args(arguments)


def size_of(text: str) -> int | None:
    """A number of px, or the preset's."""
    return None if text == "preset" else int(text)


def measure(setting: Setting, options: argparse.Namespace) -> dict[str, Any]:
    """One run's figures."""
    size_wh = options.width, options.width * 9 // 16 // 2 * 2
    with (
        tempfile.TemporaryDirectory() as folder,
        ClockCamera(setting.objects, size_wh, options.fps, codec=options.codec) as camera,
    ):
        glass = Path(folder) / "glass.jsonl"
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        process = start(setting, options, camera, glass, endpoint)
        try:
            with Subscriber(endpoint) as masks:
                received = listen(masks, camera, options.seconds)
                lost = masks.lost
            load = os.getloadavg()[0]
            process.send_signal(signal.SIGTERM)
            process.wait(STOPS_WITHIN_S)
        finally:
            process.kill()
            process.wait()
        painted = dict(json.loads(line) for line in glass.read_text().splitlines())
    return {**vars(setting), "load_average": round(load, 2), "lost": lost, **figures(received, painted)}


def start(
    setting: Setting, options: argparse.Namespace, camera: ClockCamera, glass: Path, endpoint: str
) -> "subprocess.Popen[bytes]":
    """`maskstream run` on the camera."""
    command = [sys.executable, str(TARGET), str(glass), *["--stand-in"] * options.stand_in]
    command += ["run", "rtsp", "--source", camera.url]
    command += [part for prompt in camera.prompts for part in ("--prompt", prompt)]
    command += ["--engine", options.engine, "--sink", f"zmq={endpoint}"]
    if setting.size is not None:
        command += ["--size", str(setting.size)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def listen(masks: Subscriber, camera: ClockCamera, seconds: float) -> list[Received]:
    """What comes in that time, once things move and the run has settled."""
    if masks.receive(STARTS_WITHIN_S) is None:
        sys.exit("the run did not start")
    camera.move()
    settle_s = min(SETTLE_S, seconds / 2)
    received, began_s = [], time.monotonic()
    while (passed_s := time.monotonic() - began_s) < settle_s + seconds:
        message = masks.receive(1.0)
        if message is not None and passed_s >= settle_s:
            received.append(Received(message, time.time_ns()))
    return received


def figures(received: Sequence[Received], painted: dict[int, int | None]) -> dict[str, Any]:
    """Percentiles of the whole ways and of their parts, in ms."""
    whole, parts = [], []
    for one in received:
        made_ns = painted.get(one.message.index)
        captured_ns = one.message.captured_unix_ns
        if made_ns is not None:
            whole.append((one.received_ns - made_ns) / 1e6)
            parts.append((captured_ns - made_ns) / 1e6)
    capture = percentiles([(one.received_ns - one.message.captured_unix_ns) / 1e6 for one in received])
    reached = capture["p50"] <= P50_GOAL_MS and capture["p99"] <= P99_GOAL_MS
    hows = Counter(found.how.value for one in received for found in one.message.objects)
    ages = [found.age_ms for one in received for found in one.message.objects if found.age_ms is not None]
    return {
        "frames": len(received),
        "unreadable": len(received) - len(whole),
        "glass_ms": percentiles(whole),
        "capture_ms": capture,
        "glass_to_capture_ms": percentiles(parts),
        "result_ms": percentiles([one.message.latency_ms or 0.0 for one in received]),
        "age_ms": percentiles(ages),
        "how": dict(hows.most_common()),
        "passed": bool(received) and reached,
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The middle and the slow end."""
    if len(values) < 2:
        return {"p50": 0.0, "p99": 0.0}
    ranks = statistics.quantiles(values, n=100)
    return {"p50": round(ranks[49], 1), "p99": round(ranks[98], 1)}


def line_of(setting: Setting, row: dict[str, Any]) -> str:
    """One line."""
    ways = (("glass", "glass_ms"), ("capture", "capture_ms"), ("of that the run", "result_ms"))
    told = ", ".join(f"{word} {row[key]['p50']:.0f} / {row[key]['p99']:.0f}" for word, key in ways)
    hows = ", ".join(f"{how} {count}" for how, count in row["how"].items())
    return f"{setting}: p50 / p99 in ms: {told}; {row['frames']} frames, {hows}; load {row['load_average']}"


if __name__ == "__main__":
    sys.exit(main())
