"""Kills a camera again and again while it is watched: does it come back, how soon, with the same objects?

The camera is GStreamer's RTSP server; `maskstream run` watches it, and a subscriber takes the messages. Each
round the server is killed, stays away for a random time and is started again. Printed is the time from when
it listens to when the first masks of all objects, on a picture taken after that, have arrived here.
"""

import argparse
import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from maskstream.stream.client import Subscriber
from maskstream.stream.wire_messages import FrameMessage
from rtsp_process import RtspProcess

PROMPTS = ("1:box=0%,0%,14%,66%", "2:box=43%,0%,57%,66%")  # two bars of the test picture
GOAL_S = 1.0
HANG_S = 20.0
FLOWING = 25  # messages that say that all is well again
INVENTED_AFTER_S = 1.0  # what was on its way may still come so long


@dataclass(frozen=True)
class Round:
    """One death of the server."""

    down_s: float
    back_s: float | None  # None: it did not come back
    ids: frozenset[int]  # of the objects in the messages after
    tracked_share: float  # of their states
    invented: int  # messages while there was no camera


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all rounds, print a line for each; 1 if any failed."""
    options = parse(arguments)
    rng = Random(options.seed)
    with RtspProcess() as camera:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        process = watch(camera.url, endpoint, options)
        try:
            with Subscriber(endpoint) as masks:
                wait_for_flow(masks, options.start_s)
                rounds = []
                for number in range(options.rounds):
                    down_s = rng.uniform(options.down_s[0], options.down_s[1])
                    rounds.append(kill_and_restart(camera, masks, down_s))
                    show(number, rounds[-1])
            process.send_signal(signal.SIGINT)
            summary, stopped_s = finish(process)
        finally:
            process.kill()
            process.wait()
    return report(rounds, summary, stopped_s)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """How often, and with which networks."""
    parser = argparse.ArgumentParser(prog="scripts/check_reconnect", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="deaths of the server (20)")
    parser.add_argument("--size", type=int, default=256, help="model input, px (256)")
    parser.add_argument("--engine", default="auto", help="what runs the networks: auto, torch or openvino")
    parser.add_argument("--seed", type=int, default=0, help="decides how long the server stays away")
    parser.add_argument("--down-s", type=float, nargs=2, default=(0.2, 5.0), metavar="S", help="from, to")
    parser.add_argument("--start-s", type=float, default=120.0, help="how long the first masks may take")
    return parser.parse_args(arguments)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def watch(url: str, endpoint: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    """`maskstream run` on the camera."""
    command = [str(Path(sys.executable).with_name("maskstream")), "run", "--source", url, "--json"]
    command += [part for prompt in PROMPTS for part in ("--prompt", prompt)]
    command += ["--size", str(options.size), "--engine", options.engine, "--sink", f"zmq={endpoint}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for_flow(masks: Subscriber, timeout_s: float) -> None:
    """Until a second's worth of messages came."""
    for _ in range(FLOWING):
        if masks.receive(timeout_s) is None:
            sys.exit(f"no masks came for {timeout_s:g} s")


def kill_and_restart(camera: RtspProcess, masks: Subscriber, down_s: float) -> Round:
    """One round."""
    camera.kill()
    killed_ns = time.time_ns()
    invented = sum(
        message.captured_unix_ns > killed_ns + INVENTED_AFTER_S * 1e9 for message in received(masks, down_s)
    )
    listened_ns = camera.start()
    first = first_after(masks, listened_ns)
    if first is None:
        return Round(down_s, None, frozenset(), 0.0, invented)
    back_s = (time.time_ns() - listened_ns) / 1e9
    messages = [first, *(message for _ in range(FLOWING) if (message := masks.receive(HANG_S)) is not None)]
    found = [found for message in messages for found in message.objects]
    tracked = sum(one.state.value == "tracked" for one in found) / max(1, len(found))
    ids = frozenset(one.object_id for one in found)
    return Round(down_s, back_s if len(messages) > FLOWING else None, ids, tracked, invented)


def received(masks: Subscriber, seconds: float) -> list[FrameMessage]:
    """What comes in that time."""
    messages, until_s = [], time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        message = masks.receive(left_s)
        if message is not None:
            messages.append(message)
    return messages


def first_after(masks: Subscriber, unix_ns: int) -> FrameMessage | None:
    """The first message with masks of all objects, on a picture taken after that moment; None: none came."""
    until_s = time.monotonic() + HANG_S
    while (left_s := until_s - time.monotonic()) > 0:
        message = masks.receive(left_s)
        if message is not None and message.captured_unix_ns > unix_ns and has_all_masks(message):
            return message
    return None


def has_all_masks(message: FrameMessage) -> bool:
    """Whether every object is seen."""
    return len(message.objects) == len(PROMPTS) and all(found.area_px for found in message.objects)


def show(number: int, result: Round) -> None:
    """One line of the table."""
    back = "not back" if result.back_s is None else f"back after {result.back_s:5.2f} s"
    ids = ",".join(map(str, sorted(result.ids))) or "none"
    print(
        f"round {number + 1:>3}: away {result.down_s:4.1f} s, {back}, ids {ids}, "
        f"tracked {result.tracked_share:4.0%}, invented {result.invented}",
        flush=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[dict[str, object], float]:
    """The run's own summary, and how long it took to stop."""
    began_s = time.monotonic()
    try:
        stdout, _ = process.communicate(timeout=HANG_S)
    except subprocess.TimeoutExpired:
        return {}, HANG_S
    return json.loads(stdout or "{}"), time.monotonic() - began_s


def report(rounds: Sequence[Round], summary: dict[str, object], stopped_s: float) -> int:
    """The figures; 1 if a goal was missed."""
    back_s = [result.back_s for result in rounds if result.back_s is not None]
    same_ids = sum(result.ids == {1, 2} for result in rounds)
    print(f"recoveries {len(back_s)} of {len(rounds)}, hangs {len(rounds) - len(back_s)}")
    if back_s:
        middle, slowest = statistics.median(back_s), max(back_s)
        within = sum(value <= GOAL_S for value in back_s)
        print(
            f"from listening to masks: median {middle:.2f} s, slowest {slowest:.2f} s, "
            f"{within} of {len(back_s)} within {GOAL_S:g} s"
        )
    print(f"same ids in {same_ids} of {len(rounds)}, frames invented {sum(r.invented for r in rounds)}")
    print(f"stopped {stopped_s:.1f} s after Ctrl-C; notes of the run: {summary.get('notes')}")
    good = len(back_s) == same_ids == len(rounds) and all(value <= GOAL_S for value in back_s)
    return 0 if good and summary and not any(result.invented for result in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
