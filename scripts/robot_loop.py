#!/usr/bin/env python3
"""A planner's loop, to copy from: acts on the newest masks, stops when they are old, adds an object too.

    maskstream run rtsp --source rtsp://camera.local/stream1 --prompt 1:box=40%,30%,60%,80% \\
        --control tcp://127.0.0.1:5556
    python robot_loop.py --add 2:box=10%,10%,30%,40%

Prints what it would do, ten times a second: drive to the surest object that it sees, or stand still.
"""

import argparse
import sys
import time

from maskstream.model.errors import ControlError, MaskstreamError
from maskstream.stream.client import Subscriber
from maskstream.stream.control_client import Controller
from maskstream.stream.prompts import show_command
from maskstream.stream.wire import FrameMessage, ObjectMessage

STALE_S = 0.5  # what was seen longer ago is no reason to move


def main() -> int:
    """Loop until the stream ends."""
    args = parse_arguments()
    try:
        with Subscriber(args.masks, latest=True) as masks, Controller(args.control) as run:
            plan(masks, run, args)
    except MaskstreamError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def parse_arguments() -> argparse.Namespace:
    """Where the run is, and what to add to it."""
    parser = argparse.ArgumentParser(description="Act on masks.")
    parser.add_argument("--masks", default="tcp://127.0.0.1:5555", help="where they are published")
    parser.add_argument("--control", default="tcp://127.0.0.1:5556", help="where the run is steered")
    parser.add_argument(
        "--add", metavar="ID:KIND=VALUE", help="an object to add once the first frame is here"
    )
    parser.add_argument("--period", type=float, default=0.1, help="seconds from one decision to the next")
    return parser.parse_args()


def plan(masks: Subscriber, run: Controller, args: argparse.Namespace) -> None:
    """Decide, again and again, on the newest frame there is."""
    frame = None
    while masks.end is None:
        began_s = time.monotonic()
        frame = masks.receive(timeout_s=args.period) or frame
        if frame is not None and args.add:
            add(run, frame, args.add)
            args.add = None
        print(decide(frame, masks), flush=True)
        time.sleep(max(0.0, began_s + args.period - time.monotonic()))


def add(run: Controller, frame: FrameMessage, spec: str) -> None:
    """Have one more object followed; the loop goes on with what it had if the run will not."""
    prompt = show_command([spec], (frame.height_px, frame.width_px)).prompt
    box = None if prompt.box_xyxy is None else prompt.box_xyxy.tolist()
    try:
        effect = run.add(prompt.object_id, box=box, points=prompt.points_xy.tolist())
    except ControlError as error:
        print(f"not added: {error}")
        return
    if effect is not None:
        print(f"object {prompt.object_id} from frame {effect.index} on")


def decide(frame: FrameMessage | None, masks: Subscriber) -> str:
    """What to do, in words."""
    if frame is None:
        return "stand still: nothing was seen yet"
    if frame.age_s > STALE_S:
        state = masks.status.state.value if masks.status else f"nothing heard for {masks.silent_s:.1f} s"
        return f"stand still: the newest frame is {frame.age_s:.1f} s old ({state})"
    seen = [found for found in frame.objects if found.state.value == "tracked"]
    if not seen:
        return f"stand still: none of {len(frame.objects)} objects is surely seen"
    return drive_to(max(seen, key=lambda found: found.quality or 0.0), frame)


def drive_to(found: ObjectMessage, frame: FrameMessage) -> str:
    """Steer by where the object is across the picture."""
    x0, _, x1, _ = found.box_xyxy
    return f"drive to object {found.object_id}: {(x0 + x1) / frame.width_px - 1:+.2f} of half the picture off"


if __name__ == "__main__":
    sys.exit(main())
