#!/usr/bin/env python3
"""Sends nonsense to a run's control channel, and to a consumer of its messages: does anything give in?

    python scripts/fuzz_messages.py --control 100000 --wire 100000

hypothesis makes requests and messages of random bytes, random msgpack, and good ones with something wrong.
They go over real sockets to programs of their own: a run (its networks replaced by a stand-in) with a control
channel, and a Subscriber that decodes every mask. Checked is that each request gets its answer, that none of
them changes the run, that both live to the end and answer as before, and that their memory stays flat. Good
requests that come about by luck are not sent.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq
from fuzz_strategies import BOXES, HW, REQUEST, UNFIT, messages, packed, spoilt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from maskstream.model.errors import PromptError
from maskstream.stream.control_client import Controller
from maskstream.stream.control_wire import RequestError, decode_request
from maskstream.stream.frame_plan import FramePlan

TARGETS = Path(__file__).with_name("fuzz_targets.py")
BATCH = 2000  # messages, then hypothesis begins anew
PATIENCE_S = 30.0
EXPECTED = {"bad": False, "refused on a frame": False, "told": True}  # whether the answer is ok
MOST_GROWTH = 0.02  # of the memory after the first tenth


@dataclass
class Tally:
    """What happened."""

    sent: int = 0
    skipped: int = 0  # good by luck
    answers: Counter[str] = field(default_factory=Counter)
    memory_kb: list[int] = field(default_factory=list)

    def growth(self) -> float:
        """Of the memory from the first tenth to the end, as a share."""
        start = max(1, len(self.memory_kb) // 10)
        return max(self.memory_kb[start:], default=0) / self.memory_kb[start - 1] - 1


class Trouble(Exception):  # noqa: N818
    """Something gave in."""


@contextmanager
def process(role: str, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """This program as a run or a consumer."""
    command = [sys.executable, str(TARGETS), role, endpoint]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            try:
                assert child.stdout is not None
                if child.stdout.readline() != "ready\n":
                    raise Trouble(f"the {role} did not start: {log_of(errors)}")
                yield child
                if child.poll() is not None:
                    raise Trouble(f"the {role} has ended: {log_of(errors)}")
            finally:
                child.kill()
        if "Traceback" in (told := log_of(errors)):
            raise Trouble(f"the {role} met with a defect: {told}")


def log_of(errors: Any) -> str:
    """The last of what a process said."""
    errors.seek(0)
    return str(errors.read())[-2000:]


def memory_kb(child: subprocess.Popen[str]) -> int:
    """What it holds in memory."""
    text = Path(f"/proc/{child.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def generate(strategy: SearchStrategy[bytes], count: int, seed: int, take: Callable[[bytes], None]) -> None:
    """`count` values, in batches: what hypothesis remembers of a batch goes with it."""
    for start in range(0, count, BATCH):

        @seeded(seed + start)
        @settings(
            max_examples=min(BATCH, count - start),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def batch(data: bytes) -> None:
            take(data)

        batch()


def fuzz_control(count: int, seed: int, folder: str) -> Tally:
    """Requests, one by one, each with its answer."""
    tally, endpoint = Tally(), f"ipc://{folder}/control"
    with process("run", endpoint) as child, Controller(endpoint, timeout_s=PATIENCE_S) as controller:
        while not (before := state_of(controller))["objects"]:
            pass  # before the first frame
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(endpoint)

            def take(data: bytes) -> None:
                expected = expectation(data)
                if expected is None:
                    tally.skipped += 1
                    return
                dealer.send(data)
                check_answer(data, expected, receive(dealer, data), tally)
                if tally.sent % 1000 == 0:
                    tally.memory_kb.append(memory_kb(child))

            while tally.sent < count:
                generate(
                    spoilt(REQUEST) | spoilt(UNFIT) | UNFIT.map(packed),
                    count - tally.sent,
                    seed + tally.sent,
                    take,
                )
        if state_of(controller) != before:
            raise Trouble(f"the run has changed: {before} became {state_of(controller)}")
        if controller.add(3, box=(1, 1, 9, 9)) is None:
            raise Trouble("the run takes no requests any more")
    return tally


def state_of(controller: Controller) -> dict[str, Any]:
    """What a request could change."""
    situation = controller.situation()
    return {key: situation[key] for key in ("objects", "paused", "state")}


def expectation(data: bytes) -> str | None:
    """What is to become of a request, one of EXPECTED; None for one that would change the run."""
    try:
        request = decode_request(data, HW)
    except RequestError:
        return "bad"
    if not request.changes:
        return "told"
    if request.command is None or not request.wait or request.command.when != (None, None):
        return None
    boxes = {i: np.array(box, np.int32) for i, box in BOXES.items()}
    try:
        FramePlan(HW, boxes).add(request.command)
    except PromptError:
        return "refused on a frame"
    return None


def receive(dealer: zmq.Socket[bytes], data: bytes) -> dict[str, Any]:
    """The answer."""
    if not dealer.poll(int(PATIENCE_S * 1000)):
        raise Trouble(f"no answer to {data!r}")
    answer: dict[str, Any] = msgpack.unpackb(dealer.recv())
    return answer


def check_answer(data: bytes, expected: str, answer: dict[str, Any], tally: Tally) -> None:
    """As it should be, and no defect."""
    error = answer.get("error", "")
    if answer["ok"] is not EXPECTED[expected] or "could not be handled" in error:
        raise Trouble(f"{data!r} was answered with {answer}")
    tally.sent += 1
    tally.answers[expected] += 1


def fuzz_wire(count: int, seed: int, folder: str) -> Tally:
    """Messages, and now and then a good one, to see that it still arrives."""
    tally, endpoint = Tally(), f"ipc://{folder}/wire"
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.sndhwm = publisher.linger = 0
        publisher.bind(endpoint)
        with process("consumer", endpoint) as child:
            if not publisher.poll(int(PATIENCE_S * 1000)):
                raise Trouble("the consumer did not subscribe")

            def take(data: bytes) -> None:
                publisher.send(data)
                tally.sent += 1
                if tally.sent % 1000 == 0:
                    tally.answers["damaged"] = checkpoint(publisher, child, tally.sent)
                    tally.memory_kb.append(memory_kb(child))

            good = st.sampled_from(messages())
            while tally.sent < count:
                generate(spoilt(good), count - tally.sent, seed + tally.sent, take)
            checkpoint(publisher, child, tally.sent)
    return tally


def checkpoint(publisher: zmq.Socket[bytes], child: subprocess.Popen[str], number: int) -> int:
    """Wait until the consumer has come to here; how many messages it could not read so far."""
    status = messages()[1] | {"reason": "checkpoint", "pts": number}
    publisher.send(packed(status))
    answers: list[str] = []
    pipe = child.stdout
    assert pipe is not None
    reading = threading.Thread(target=lambda: answers.append(pipe.readline()), daemon=True)
    reading.start()
    reading.join(PATIENCE_S)
    if not answers or json.loads(answers[0])["pts"] != number:
        raise Trouble(f"the consumer did not come to message {number}: {answers}")
    return int(json.loads(answers[0])["damaged"])


def main() -> int:
    """Send, report; 1 if anything gave in."""
    args = parse_arguments()
    began_s, failed = time.monotonic(), False
    for name, count, fuzz in (("control", args.control, fuzz_control), ("wire", args.wire, fuzz_wire)):
        try:
            with tempfile.TemporaryDirectory() as folder:
                tally = fuzz(count, args.seed, folder)
        except Trouble as trouble:
            print(f"{name}: {trouble}")
            return 1
        failed |= not report(name, tally, check_memory=count >= 10 * BATCH)
    print(f"{time.monotonic() - began_s:.0f} s")
    return int(failed)


def parse_arguments() -> argparse.Namespace:
    """How much of what."""
    parser = argparse.ArgumentParser(description="Nonsense for the control channel and for consumers.")
    parser.add_argument("--control", type=int, default=100_000, help="requests")
    parser.add_argument("--wire", type=int, default=100_000, help="messages")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def report(name: str, tally: Tally, *, check_memory: bool) -> bool:
    """Print what happened; whether all is well."""
    what = ", ".join(f"{count} {word}" for word, count in sorted(tally.answers.items()))
    line = f"{name}: {tally.sent} sent ({what}), {tally.skipped} good by luck and not sent"
    if tally.memory_kb:
        tenths = tally.memory_kb[:: max(1, len(tally.memory_kb) // 10)]
        line += "; memory in MiB: " + " ".join(f"{held / 1024:.1f}" for held in tenths)
    print(line, flush=True)
    return not check_memory or tally.growth() <= MOST_GROWTH


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
