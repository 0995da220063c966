"""Ends runs at random moments: is every file whole, and every process gone in time?

Each run writes a video, masks as JSON Lines and as pictures, and messages on ZeroMQ; its source is a video
file, a live scene, a camera that breaks off and is connected again, or one that is not there. At a moment
drawn by a seed, from before Python has started to well into writing, it gets SIGTERM or Ctrl-C. Then the
video must be decodable to its end, every line and every picture of masks readable, as many of them as frames
in the video, and no process left. Most runs have a stand-in for the networks, which take long to load.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

import av
from check_reconnect import free_port
from maskstream.stream.client import Subscriber
from maskstream.stream.synthetic import SyntheticSettings, SyntheticSource
from PIL import Image

SCRIPTS = Path(__file__).parent
STAND_IN = SCRIPTS / "stand_in_run.py"
GOAL_S, HANG_S = 2.0, 20.0
SPAN_S, NETWORKS_SPAN_S = 5.0, 20.0  # moments are drawn from so long
CLIP = SyntheticSettings(frames=600, width=480, height=270, fps=Fraction(25))
LIVE = f"synthetic:live=1,frames=100000,width={CLIP.width},height={CLIP.height},fps={CLIP.fps}"
BREAKING = f"chaos:{LIVE}?seed=3&every=10&faults=disconnect,stall"
SOURCES = ("file", "file", "file", "live", "live", "breaking", "breaking", "absent")
SIGNALS = (signal.SIGTERM, signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
BOX = "1:box=20%,20%,60%,80%"


@dataclass(frozen=True)
class Case:
    """One run, and how it is ended."""

    number: int
    source: str
    is_heard: bool  # somebody subscribes
    has_networks: bool
    signal: signal.Signals
    moment_s: float

    def __str__(self) -> str:
        networks = "networks" if self.has_networks else "stand-in"
        heard = "heard" if self.is_heard else "alone"
        moment = f"{self.signal.name} at {self.moment_s:.2f} s"
        return f"{self.number:>4} {self.source:<8} {heard} {networks} {moment}"


@dataclass(frozen=True)
class Outcome:
    """What was left of one run."""

    phase: str  # when the signal came: `writing`, or `starting`: no frame was written yet
    code: int
    gone_s: float
    frames: int
    problems: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """All runs, a line for each that was not as it should be, the figures; 1 if there was one."""
    options = parse(arguments)
    outcomes = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_clip(folder / "clip.mp4")
        for case in draw(options):
            outcome = run(case, folder, options)
            outcomes.append(outcome)
            if outcome.problems or options.verbose:
                words = "; ".join(outcome.problems) or f"{outcome.frames} frames"
                how = f"{outcome.phase}, exit code {outcome.code}, gone after {outcome.gone_s:.2f} s"
                print(f"{case}: {how}: {words}", flush=True)
    return report(outcomes)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """How many, and of which kind."""
    parser = argparse.ArgumentParser(prog="scripts/check_stop", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="in all (200)")
    parser.add_argument("--networks", type=int, default=20, help="of these, with the real networks (20)")
    parser.add_argument("--size", type=int, default=256, help="the networks' input, px (256)")
    parser.add_argument("--engine", default="auto", help="what runs the networks: auto, torch or openvino")
    parser.add_argument("--seed", type=int, default=0, help="decides everything")
    parser.add_argument("--verbose", action="store_true", help="a line for each run")
    return parser.parse_args(arguments)


def draw(options: argparse.Namespace) -> list[Case]:
    """All runs; those with the networks are spread among them."""
    rng = Random(options.seed)
    with_networks = set(rng.sample(range(options.runs), min(options.networks, options.runs)))
    cases = []
    for number in range(options.runs):
        has_networks = number in with_networks
        source, is_heard, kind = rng.choice(SOURCES), rng.random() < 0.5, rng.choice(SIGNALS)
        moment_s = rng.uniform(0, NETWORKS_SPAN_S if has_networks else SPAN_S)
        cases.append(Case(number, source, is_heard, has_networks, kind, moment_s))
    return cases


def make_clip(path: Path) -> None:
    """A video file of moving shapes."""
    source = SyntheticSource(CLIP)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=CLIP.fps, options={"preset": "ultrafast"})
        stream.width, stream.height = CLIP.width, CLIP.height
        for frame in source:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))


def run(case: Case, folder: Path, options: argparse.Namespace) -> Outcome:
    """One run: begin it, end it, look at what is left."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        if case.is_heard:
            stack.enter_context(Subscriber(endpoint))  # messages wait in it
        errors = stack.enter_context((out / "errors.txt").open("w+"))
        process = subprocess.Popen(
            command(case, folder, endpoint, options), stdout=errors, stderr=errors, start_new_session=True
        )
        stack.callback(kill_all, process.pid)
        try:
            process.wait(case.moment_s)
        except subprocess.TimeoutExpired:
            phase = phase_of(out)
        else:
            phase = "ended before"
        began_s = time.monotonic()
        process.send_signal(case.signal)
        try:
            process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            return Outcome(phase, 0, HANG_S, 0, ("it hung",))
        gone_s = time.monotonic() - began_s
        frames, problems = look_at(out)
        problems += problems_of(case, process.returncode, gone_s, (out / "errors.txt").read_text(), phase)
        if is_there(process.pid):
            problems.append("it left a process behind")
    return Outcome(phase, process.returncode, gone_s, frames, tuple(problems))


def command(case: Case, folder: Path, endpoint: str, options: argparse.Namespace) -> list[str]:
    """The command line of a run."""
    source = {
        "file": str(folder / "clip.mp4"),
        "live": LIVE,
        "breaking": BREAKING,
        "absent": f"rtsp://127.0.0.1:{free_port()}/live",
    }[case.source]
    program = [str(Path(sys.executable).with_name("maskstream"))]
    if not case.has_networks:
        program = [sys.executable, str(STAND_IN)]
    sinks = (f"video={folder / 'out' / 'video.mp4'}", f"masks={folder / 'out' / 'masks'}", f"zmq={endpoint}")
    options_of_run = [
        "--source",
        source,
        "--prompt",
        BOX,
        "--size",
        str(options.size),
        "--engine",
        options.engine,
    ]
    return [*program, "run", *options_of_run, *(part for sink in sinks for part in ("--sink", sink))]


def phase_of(out: Path) -> str:
    """What a run has come to."""
    return "writing" if (out / "video.mp4").exists() else "starting"


def look_at(out: Path) -> tuple[int, list[str]]:
    """Frames in the video, and what is wrong with the files."""
    video, masks = out / "video.mp4", out / "masks"
    frames, problems = 0, []
    try:
        frames = pictures_of(video) if video.exists() else 0
    except av.FFmpegError as error:
        problems.append(f"the video cannot be read: {error}")
    try:
        lines = (masks / "masks.jsonl").read_text() if masks.exists() else ""
        count = len([json.loads(line) for line in lines.splitlines()])
        if lines and not lines.endswith("\n"):
            problems.append("the last line of masks is torn")
        pictures = sorted(masks.glob("png/*/*"))
        for picture in pictures:
            with Image.open(picture) as image:
                image.load()
        if not frames == count == len(pictures):
            problems.append(f"{frames} frames in the video, {count} lines, {len(pictures)} pictures of masks")
    except (OSError, ValueError) as error:
        problems.append(f"the masks cannot be read: {error}")
    return frames, problems


def pictures_of(path: Path) -> int:
    """Frames in a video, all decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def problems_of(case: Case, code: int, gone_s: float, errors: str, phase: str) -> list[str]:
    """What is wrong with how a run ended."""
    problems = [] if gone_s <= GOAL_S else [f"it took {gone_s:.2f} s"]
    # A signal that nobody has taken over yet ends a process by itself, which shells show as 128 + its number.
    wanted = {128 + case.signal, -case.signal} if phase != "ended before" else {0, 1}
    if (
        phase == "starting"
        and case.signal is signal.SIGINT
        and "Traceback" in errors
        and not is_of_ours(errors)
    ):
        return problems  # Python was still starting itself, and says so
    if code not in wanted:
        problems.append(f"exit code {code}")
    if "Traceback" in errors or "Error" in errors:
        problems.append(f"it said: {errors.strip().splitlines()[-1]}")
    return problems


def is_of_ours(traceback: str) -> bool:
    """Whether it has a line of the program."""
    return any(f'File "{SCRIPTS}' in line or "maskstream" in line for line in traceback.splitlines())


def kill_all(pid: int) -> None:
    """Whatever is left of a run."""
    if is_there(pid):
        os.killpg(pid, signal.SIGKILL)


def is_there(pid: int) -> bool:
    """Whether any process of a run is left."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def report(outcomes: Sequence[Outcome]) -> int:
    """The figures; 1 if anything was not as it should be."""
    phases = Counter(outcome.phase for outcome in outcomes)
    when = ", ".join(f"{phase} {count}" for phase, count in phases.most_common())
    print(f"{len(outcomes)} runs; the signal came while: {when}")
    print(f"exit codes: {dict(Counter(outcome.code for outcome in outcomes).most_common())}")
    for phase in phases:
        times_s = [outcome.gone_s for outcome in outcomes if outcome.phase == phase]
        slowest, middle = max(times_s), statistics.median(times_s)
        print(f"{phase}: gone after {middle:.2f} s (median), {slowest:.2f} s (slowest)")
    bad = sum(bool(outcome.problems) for outcome in outcomes)
    frames = sum(outcome.frames for outcome in outcomes)
    print(f"{frames} frames in all; {bad} runs not as they should be; load {os.getloadavg()[0]:.1f}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
