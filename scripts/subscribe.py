#!/usr/bin/env python3
"""Listen to the masks that maskstream publishes: a consumer to copy from. Needs pyzmq, msgpack, pycocotools.

    maskstream run --source 0 --prompt 1:box=100,80,300,260 --sink zmq=tcp://127.0.0.1:5555
    python subscribe.py tcp://127.0.0.1:5555

Prints a line per frame: its number, how old it is, and where each object's centre is. Ends with the stream.
"""

import argparse
import sys
import time

import msgpack
import numpy as np
import zmq
from pycocotools import mask as coco


def main() -> int:
    """Connect, print, tidy up."""
    args = parse_arguments()
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    if args.latest:
        socket.setsockopt(zmq.CONFLATE, 1)  # keep the newest message only; must come before connect
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(args.endpoint)
    try:
        return listen(socket, args.count, args.timeout)
    except KeyboardInterrupt:
        return 0
    finally:
        context.destroy(linger=0)


def parse_arguments() -> argparse.Namespace:
    """Where to listen, and for how long."""
    parser = argparse.ArgumentParser(description="Print what maskstream publishes.")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--count", type=int, help="end after so many frames")
    parser.add_argument("--timeout", type=float, default=30.0, help="end after so many seconds of silence")
    parser.add_argument("--latest", action="store_true", help="skip what is old: for control loops")
    return parser.parse_args()


def listen(socket: zmq.Socket, count: int | None, timeout_s: float) -> int:
    """Print message after message; returns the exit code."""
    expected = None
    while count is None or count > 0:
        if not socket.poll(timeout_s * 1000):
            print(f"nothing came for {timeout_s:g} s: does the publisher run?", file=sys.stderr)
            return 1
        message = msgpack.unpackb(socket.recv())
        if message["version"] != 1:
            print(f"cannot read messages of version {message['version']}", file=sys.stderr)
            return 1
        if message["kind"] == "end":
            print(f"the stream has ended after {message['sequence']} messages")
            return 0
        if message["kind"] == "frame":
            missed = 0 if expected is None else message["sequence"] - expected
            expected = message["sequence"] + 1
            print(line_of(message) + (f"  (missed {missed})" if missed else ""), flush=True)
            count = count and count - 1
    return 0


def line_of(message: dict) -> str:
    """One frame in words."""
    numerator, denominator = message["time_base"]
    media_s = message["pts"] * numerator / denominator
    age_ms = (time.time_ns() - message["captured_unix_ns"]) / 1e6
    objects = "  ".join(describe(found) for found in message["objects"])
    return f"frame {message['index']}  t={media_s:.3f} s  age={age_ms:.1f} ms  {objects}"


def describe(found: dict) -> str:
    """One object in words."""
    mask = coco.decode(found["rle"])  # (height, width) uint8, 1 on the object
    if not mask.any():
        return f"#{found['id']} {found['state']}"
    y, x = np.argwhere(mask).mean(axis=0)
    return f"#{found['id']} {found['state']} at ({x:.1f}, {y:.1f}) {found['area_px']} px"


if __name__ == "__main__":
    sys.exit(main())
