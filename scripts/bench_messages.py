#!/usr/bin/env python3
"""How long it takes to make a message of a frame's masks, and how large it is.

    python scripts/bench_messages.py                        # ten ragged shapes on a 1080p picture
    python scripts/bench_messages.py --masks DAVIS/Annotations/480p/bear/00000.png ...   # real ones, enlarged

Prints the size, the time on the clock and the time of the CPU alone, which other programs disturb less. Goals
for ten objects: 40 KB, and 3 ms at the 95th percentile on a core that has nothing else to do.
"""

import argparse
import itertools
import json
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from maskstream.model.types import BoolMask, ObjectMask, TrackState, box_of_mask
from maskstream.stream import wire
from maskstream.stream.records import mask_codes
from maskstream.stream.types import Frame, FrameResult
from numpy.typing import NDArray
from PIL import Image

HEAD = wire.Head(source="camera", run="0123456789abcdef", sequence=0, published_unix_ns=time.time_ns())


def main() -> int:
    """Measure, print."""
    args = parse_arguments()
    hw = (args.height, args.width)
    masks = [read_mask(path, hw) for path in args.masks] or ragged_masks(args.objects, hw)
    masks = list(itertools.islice(itertools.cycle(masks), args.objects))
    objects = tuple(as_object(i + 1, mask) for i, mask in enumerate(masks))
    wall_ms, cpu_ms, size = measure(objects, hw, args.repeats)
    report = {
        "objects": len(objects),
        "picture": f"{args.width}x{args.height}",
        "mean_area_px": round(float(np.mean([mask.sum() for mask in masks]))),
        "bytes": size,
        "wall_p50_ms": round(float(np.percentile(wall_ms, 50)), 3),
        "wall_p95_ms": round(float(np.percentile(wall_ms, 95)), 3),
        "cpu_p50_ms": round(float(np.percentile(cpu_ms, 50)), 3),
        "cpu_p95_ms": round(float(np.percentile(cpu_ms, 95)), 3),
    }
    print(
        json.dumps(report) if args.json else "\n".join(f"{key:14} {value}" for key, value in report.items())
    )
    return 0 if size <= args.most_bytes and report["cpu_p95_ms"] <= args.most_ms else 1


def parse_arguments() -> argparse.Namespace:
    """What is encoded, and how much is allowed."""
    parser = argparse.ArgumentParser(description="Time and size of a message.")
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--masks", type=Path, nargs="+", default=[], help="pictures, non-zero on the object")
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--most-bytes", type=int, default=40_000, help="exit code 1 for a larger message")
    parser.add_argument(
        "--most-ms", type=float, default=3.0, help="exit code 1 for a longer time, p95 of the CPU's"
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measure(
    objects: tuple[ObjectMask, ...], hw: tuple[int, int], repeats: int
) -> tuple[list[float], list[float], int]:
    """Clock and CPU times in ms, and the message's size in bytes."""
    wall_ms, cpu_ms, size = [], [], 0
    frame = Frame(np.zeros((*hw, 3), np.uint8), 0, 0, Fraction(1, 90_000), 0, time.time_ns(), "camera")
    for _ in range(repeats):
        result = FrameResult(
            frame, objects, 0, 8.0, 12.0, time.monotonic_ns()
        )  # a new one: nothing is coded yet
        wall_ns, cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
        mask_codes(result)
        size = len(wire.encode(result, HEAD))
        cpu_ms.append((time.thread_time_ns() - cpu_ns) / 1e6)
        wall_ms.append((time.perf_counter_ns() - wall_ns) / 1e6)
    return wall_ms, cpu_ms, size


def as_object(object_id: int, mask: BoolMask) -> ObjectMask:
    """The mask (H, W) as a tracker gives it."""
    return ObjectMask(object_id, mask, box_of_mask(mask), 0.9123, 0.9456, TrackState.TRACKED, 0.8765)


def read_mask(path: Path, hw: tuple[int, int]) -> BoolMask:
    """A picture's non-zero pixels, enlarged to (H, W)."""
    drawn = (np.asarray(Image.open(path).convert("L")) > 0).astype(np.float32)
    mask: BoolMask = cv2.resize(drawn, hw[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    return mask


def ragged_masks(count: int, hw: tuple[int, int]) -> list[BoolMask]:
    """Shapes with frayed edges and holes, about 1/20 of the picture each."""
    rng, side = np.random.default_rng(0), int(hw[0] * 0.44)
    return [placed(frayed(rng, side), hw, rng) for _ in range(count)]


def frayed(rng: np.random.Generator, side: int) -> BoolMask:
    """A disc (side, side) whose radius is disturbed by smooth noise."""
    noise: NDArray[np.float32] = cv2.GaussianBlur(
        rng.random((side, side)).astype(np.float32), (0, 0), side / 24
    )
    y, x = np.mgrid[:side, :side] - side / 2
    shape: BoolMask = 1 - 3.2 * np.hypot(x, y) / side + 0.25 * (noise - noise.mean()) / noise.std() > 0
    return shape


def placed(shape: BoolMask, hw: tuple[int, int], rng: np.random.Generator) -> BoolMask:
    """The shape somewhere on an empty picture (H, W)."""
    mask = np.zeros(hw, np.bool_)
    y, x = (int(rng.integers(0, side - len(shape))) for side in hw)
    mask[y : y + len(shape), x : x + len(shape)] = shape
    return mask


if __name__ == "__main__":
    sys.exit(main())
