#!/usr/bin/env python3
"""Listen to the masks that maskstream publishes: a consumer to copy from.

    maskstream run --source 0 --prompt 1:box=100,80,300,260 --sink zmq=tcp://127.0.0.1:5555
    python subscribe.py tcp://127.0.0.1:5555

Prints a line per frame: its number, how old it is, and where each object's centre is; and how the stream is
doing while no frame comes. Ends with the stream. For other languages: docs/wire.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from maskstream.model.errors import MaskstreamError
from maskstream.stream.client import Subscriber
from maskstream.stream.keys import ClientKeys
from maskstream.stream.wire import FrameMessage, ObjectMessage, Status


def main() -> int:
    """Connect, print, tidy up."""
    args = parse_arguments()
    keys = None if args.server_key is None else ClientKeys(args.server_key, args.key)
    try:
        with Subscriber(args.endpoint, latest=args.latest, silence_s=args.timeout, keys=keys) as masks:
            listen(masks, args.count)
    except MaskstreamError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def parse_arguments() -> argparse.Namespace:
    """Where to listen, and for how long."""
    parser = argparse.ArgumentParser(description="Print what maskstream publishes.")
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--count", type=int, help="end after so many frames")
    parser.add_argument("--timeout", type=float, default=30.0, help="end after so many seconds of silence")
    parser.add_argument("--latest", action="store_true", help="skip what is old: for control loops")
    parser.add_argument("--server-key", type=Path, help="the publisher's public key file, if it has one")
    parser.add_argument(
        "--key", type=Path, help="your own secret key file, if the publisher knows its clients"
    )
    return parser.parse_args()


def listen(masks: Subscriber, count: int | None) -> None:
    """Print frame after frame."""
    lost = 0
    told: Status | None = None
    while masks.end is None and count != 0:
        frame = masks.receive(timeout_s=1.0)
        if frame is not None:
            missed = f"  (missed {masks.lost - lost})" if masks.lost > lost else ""
            print(line_of(frame) + missed, flush=True)
            lost, count = masks.lost, count and count - 1
        elif masks.status is not None and masks.status is not told:
            told = masks.status
            print(f"no frame: {'paused' if told.paused else told.state.value}", flush=True)
    if masks.end is not None:
        print(f"the stream has ended after {masks.end.sequence} messages")


def line_of(frame: FrameMessage) -> str:
    """One frame in words."""
    objects = "  ".join(describe(found) for found in frame.objects)
    return f"frame {frame.index}  t={frame.time_s:.3f} s  age={1000 * frame.age_s:.1f} ms  {objects}"


def describe(found: ObjectMessage) -> str:
    """One object in words."""
    mask = found.mask()  # (H, W) bool
    if not mask.any():
        return f"#{found.object_id} {found.state.value}"
    y, x = np.argwhere(mask).mean(axis=0)
    return f"#{found.object_id} {found.state.value} at ({x:.1f}, {y:.1f}) {found.area_px} px"


if __name__ == "__main__":
    sys.exit(main())
