"""Runs a source full of faults through the program: does it end, is all published once, is nothing left open?

The faults are drawn by a seed (see chaos: in docs/inputs.md). Checked is that the run ends by itself, that
every accepted frame is in the messages, the mask file and the video exactly once and in order, and that no
thread and no open file is left. By default a stand-in takes the networks' place, so that a thousand faults
take half a minute; --model runs the real thing.
"""

import argparse
import gc
import json
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from maskstream.model.types import ObjectMask, TrackState, box_of_mask
from maskstream.stream.chaos_plan import plan
from maskstream.stream.chaos_spec import parse_chaos
from maskstream.stream.client import Subscriber
from maskstream.stream.config import Config, ModelConfig, QueueConfig
from maskstream.stream.pipeline import Pipeline
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.runner import prepare, queue_plan
from maskstream.stream.sinks import make_sink
from maskstream.stream.source_status import SourceStatus
from maskstream.stream.sources import open_source
from maskstream.stream.types import Frame, FrameResult

QUICK = ReconnectConfig(first_delay_s=0.002, longest_delay_s=0.02)
NOTHING_LOST = QueueConfig(sink_capacity=100_000)  # live sinks that are slow lose frames by choice
HANG_S = 60.0  # after the last frame


@dataclass(eq=False)
class Outcome:
    """What one run did."""

    seconds: float
    accepted: list[int]  # indices of the frames that were worked on
    captured: int
    dropped: int
    status: SourceStatus | None
    ended: bool
    error: BaseException | None
    published: dict[str, list[int]] = field(default_factory=dict)  # indices by output
    pictures: int = 0  # in the video


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the figures; 1 if anything is wrong."""
    options = parse(arguments)
    run_once(options, spec_of(options, faults=5))  # what libraries open once and keep is open after this
    before = left_open()
    outcome = run_once(options, spec_of(options, options.faults))
    gc.collect()
    left = [item for item in left_open() if item not in before]
    problems = [*problems_of(outcome), *(f"left open: {item}" for item in left)]
    show(options, outcome, problems)
    return 1 if problems else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """How many faults, and through what."""
    parser = argparse.ArgumentParser(prog="scripts/check_faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--every", type=float, default=4, help="frames from one to the next, on average (4)")
    parser.add_argument("--seed", type=int, default=0, help="decides which, and when")
    parser.add_argument("--pace", choices=("fast", "live"), default="fast", help="as a file, or as a camera")
    parser.add_argument("--model", type=int, metavar="PX", help="run the networks, with this input size")
    parser.add_argument("--engine", default="auto", help="what runs them: auto, torch or openvino")
    return parser.parse_args(arguments)


def spec_of(options: argparse.Namespace, faults: int) -> str:
    """The source: moving shapes, enough of them for all faults."""
    frames = round(faults * (options.every + 1) * 1.3) + 60
    scene = f"synthetic:objects=2,frames={frames},width=160,height=120,fps=60"
    query = f"seed={options.seed}&every={options.every}&count={faults}&longest_stall_s=0.05"
    return f"chaos:{scene}?{query}&pace={options.pace}"


def run_once(options: argparse.Namespace, spec: str) -> Outcome:
    """One run from its first frame to its end."""
    accepted: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        endpoint = f"ipc://{folder / 'masks.sock'}"
        sinks = (
            f"video={folder / 'out.mp4'}",
            f"masks={folder / 'masks'}?png=0",
            f"zmq={endpoint}?subscribers=1&hwm=10000",
        )
        pipeline = build(options, spec, sinks, lambda result: accepted.append(result.frame.index))
        with Listener(endpoint) as listener:
            began_s = time.monotonic()
            pipeline.start()
            ended = wait_while_it_moves(pipeline, accepted)
            seconds = time.monotonic() - began_s
            report, status, error = pipeline.report(), pipeline.source_status(), pipeline.error
            pipeline.close()
        outcome = Outcome(seconds, accepted, report.captured, report.dropped, status, ended, error)
        outcome.published["messages"] = listener.indices
        outcome.published["mask file"] = lines_of(folder / "masks" / "masks.jsonl")
        outcome.pictures = pictures_of(folder / "out.mp4")
    return outcome


def build(
    options: argparse.Namespace, spec: str, sinks: Sequence[str], on_result: Callable[[FrameResult], None]
) -> Pipeline:
    """The pipeline that `maskstream run` would make, or one without the networks."""
    if options.model is None:
        source = open_source(spec, reconnect=QUICK, notify=lambda note: None)
        made = [make_sink(sink) for sink in sinks]
        queues = queue_plan(NOTHING_LOST, source.info.is_live)
        return Pipeline(source, stand_in, made, plan=queues, on_result=on_result)
    config = Config(
        source=spec,
        prompts=("1:box=35%,35%,65%,65%",),
        sinks=tuple(sinks),
        reconnect=QUICK,
        queue=NOTHING_LOST,
        model=ModelConfig(size=options.model, engine=options.engine),
    )
    return prepare(config, on_result=on_result, notify=lambda note: None).pipeline


def stand_in(frame: Frame) -> FrameResult:
    """What is brighter than the rest is an object."""
    grey = frame.image.mean(axis=2)
    mask = grey > grey.mean() + grey.std()
    found = ObjectMask(1, mask, box_of_mask(mask), 0.9, 0.9, TrackState.TRACKED, 0.9)
    return FrameResult(frame, (found,), 0, 0.0, 0.0, time.monotonic_ns())


class Listener:
    """A subscriber on a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        self.indices: list[int] = []
        self.lost = 0
        self._subscriber = Subscriber(endpoint, hwm=0)
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        self.indices.extend(message.index for message in self._subscriber)
        self.lost = self._subscriber.lost
        self._subscriber.close()

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join(HANG_S)


def wait_while_it_moves(pipeline: Pipeline, accepted: Sequence[int]) -> bool:
    """Wait for the end; False if nothing happened for a long time."""
    seen, since_s = -1, time.monotonic()
    while not pipeline.wait(0.2):
        if len(accepted) != seen:
            seen, since_s = len(accepted), time.monotonic()
        if time.monotonic() - since_s > HANG_S:
            return False
    return True


def lines_of(path: Path) -> list[int]:
    """Indices of the frames in a mask file."""
    return [json.loads(line)["index"] for line in path.read_text().splitlines()]


def pictures_of(path: Path) -> int:
    """Frames in a video."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def left_open() -> list[str]:
    """Threads and open files of this process, by name."""
    names = [f"thread {thread.name}" for thread in threading.enumerate()]
    counted: Counter[str] = Counter(names)
    for entry in Path("/proc/self/fd").iterdir():
        try:
            counted[f"file {str(entry.readlink()).split(':')[0]}"] += 1
        except OSError:  # the one that lists the others
            continue
    return [f"{name} #{number}" for name, count in counted.items() for number in range(count)]


def problems_of(outcome: Outcome) -> list[str]:
    """Everything that is not as it must be."""
    accepted = outcome.accepted
    problems = [] if outcome.ended else [f"it hung after frame {accepted[-1:]}"]
    if outcome.error is not None:
        problems.append(f"it failed: {outcome.error!r}")
    if not all(np.diff(accepted) > 0):
        problems.append("frames were worked on out of order")
    if outcome.captured != len(accepted) + outcome.dropped:
        problems.append(f"{outcome.captured} captured, {len(accepted)} accepted, {outcome.dropped} dropped")
    for name, indices in outcome.published.items():
        if indices != accepted:
            missing, extra = set(accepted) - set(indices), len(indices) - len(set(indices))
            problems.append(f"{name}: {len(missing)} frames missing, {extra} twice")
    if outcome.pictures != len(accepted):
        problems.append(f"video: {outcome.pictures} pictures for {len(accepted)} frames")
    return problems


def show(options: argparse.Namespace, outcome: Outcome, problems: Sequence[str]) -> None:
    """The figures."""
    config = parse_chaos(spec_of(options, options.faults))
    kinds = Counter(fault.do for fault in plan(config))
    print(f"faults {sum(kinds.values())}: {', '.join(f'{kind} {n}' for kind, n in sorted(kinds.items()))}")
    print(
        f"{outcome.captured} frames captured, {outcome.dropped} dropped for lack of time, "
        f"{len(outcome.accepted)} accepted, in {outcome.seconds:.1f} s"
    )
    if outcome.status is not None:
        print("; ".join(outcome.status.counts.notes()))
    for name, indices in outcome.published.items():
        print(f"{name}: {len(indices)} frames")
    print(f"video: {outcome.pictures} frames")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    print(
        "\n".join(f"WRONG: {problem}" for problem in problems)
        or "all published once and in order, nothing left"
    )


if __name__ == "__main__":
    sys.exit(main())
