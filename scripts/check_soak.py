"""A live run for an hour: does memory or delay grow, when subscribers stall and die again and again?

The camera is a real RTSP server; `maskstream run` watches it; three subscribers, each a process of its own,
take the messages. One takes all of them. One is stopped in the middle of what it does, connection open, for
most of the time. One is killed again and again, and a new one takes its place. Printed is a JSON object from
time to time, so that a run that is broken off says something too, and one with the verdict at the end.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check_reconnect import free_port
from clock_process import ClockCamera
from proc_watch import ProcessState, look_at

SUBSCRIBER = Path(__file__).with_name("soak_subscriber.py")
STAND_IN = Path(__file__).with_name("stand_in_run.py")
MEMORY_GOAL, LATENCY_GOAL = 1.02, 1.20  # at the end, of what it was after the warm-up
STARTS_WITHIN_S = 180.0
STOPS_WITHIN_S = 20.0
NO_NEWS_S = 60.0  # without a frame at the subscriber that takes all
BINS = 12  # of the time after the warm-up, for the memory


@dataclass(frozen=True)
class Plan:
    """Lengths in s; shorter than usual where the whole is."""

    total_s: float
    warm_s: float
    window_s: float  # first and last part of the rest, which are compared
    cycle_s: float  # one subscriber's stall, another one's death
    sample_s: float
    line_s: float

    @classmethod
    def of(cls, minutes: float) -> "Plan":
        """For a whole of so many minutes."""
        total_s = minutes * 60
        return cls(
            total_s,
            warm_s=min(300, total_s / 6),
            window_s=min(600, total_s / 3),
            cycle_s=min(360, total_s / 5),
            sample_s=min(5, total_s / 60),
            line_s=min(60, total_s / 6),
        )


@dataclass
class Record:
    """Everything that was seen; times in s since the start."""

    samples: list[tuple[float, ProcessState]] = field(default_factory=list)  # of the run
    latencies: list[tuple[float, float]] = field(default_factory=list)  # s, ms; of who takes all
    objects: int = 0
    tracked: int = 0


class Listener:
    """A subscriber's process, and a thread that takes what it says."""

    def __init__(self, endpoint: str, started_s: float, record: Record | None = None) -> None:
        self.frames = self.lost = 0
        self.heard_s = time.monotonic()
        self._record, self._started_s = record, started_s
        command = [sys.executable, str(SUBSCRIBER), endpoint]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):  # else it was killed in the middle of it
                self._take(json.loads(line))

    def _take(self, news: dict[str, Any]) -> None:
        self.frames += len(news["ms"])
        self.lost = news["lost"]
        if news["ms"]:
            self.heard_s = time.monotonic()
        if self._record is not None:
            now_s = time.monotonic() - self._started_s
            self._record.latencies += [(now_s, latency_ms) for latency_ms in news["ms"]]
            self._record.objects += news["objects"]
            self._record.tracked += news["tracked"]

    def send(self, number: signal.Signals) -> None:
        """Stop it in the middle, or let it go on."""
        self.process.send_signal(number)

    def close(self) -> None:
        """End it the hard way. May be called twice."""
        self.process.kill()
        self.process.wait()
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Soak:
    """One run with its camera and subscribers."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self.plan = Plan.of(options.minutes)
        self.record = Record()
        self._stack, self._options = stack, options
        size_wh = options.width, options.width * 9 // 16 // 2 * 2
        self._camera = ClockCamera(options.objects, size_wh, options.fps)
        stack.callback(self._camera.close)
        self._endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.process = self._start_run()
        stack.callback(self._kill)
        self.started_s = time.monotonic()
        self.steady = self._listener(self.record)
        self.stalling, self.dying = self._listener(), self._listener()
        self.deaths = self.stalls = 0
        self._dead_frames = self._dead_lost = 0  # of those that died
        self._is_stalled = self._is_dead = False

    def _start_run(self) -> "subprocess.Popen[str]":
        options = self._options
        program = [str(Path(sys.executable).with_name("maskstream"))]
        if options.stand_in:
            program = [sys.executable, str(STAND_IN)]
        command = [*program, "run", "rtsp", "--json", "--source", self._camera.url]
        command += ["--sink", f"zmq={self._endpoint}"]
        command += [part for prompt in self._camera.prompts for part in ("--prompt", prompt)]
        command += ["--size", str(options.model), "--engine", options.engine]
        if options.threads:
            command += ["--threads", str(options.threads)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def _listener(self, record: Record | None = None) -> Listener:
        listener = Listener(self._endpoint, self.started_s, record)
        self._stack.callback(listener.close)
        return listener

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_for_masks(self) -> None:
        """Until the first messages are here; then things may move, and time counts."""
        until_s = time.monotonic() + STARTS_WITHIN_S
        while not self.steady.frames:
            if self.process.poll() is not None or time.monotonic() > until_s:
                sys.exit("the run did not start")
            time.sleep(0.1)
        self._camera.move()
        self.started_s = self.steady._started_s = time.monotonic()
        self.record.latencies.clear()

    def now_s(self) -> float:
        """Since the first messages."""
        return time.monotonic() - self.started_s

    def sample(self) -> None:
        """Look at the run."""
        self.record.samples.append((self.now_s(), look_at(self.process.pid)))

    def disturb(self) -> None:
        """Stall one, kill or replace the other, as it is time for."""
        phase = self.now_s() % self.plan.cycle_s / self.plan.cycle_s
        if self._is_stalled != (phase > 0.2):  # it lives for a fifth of the time
            self._is_stalled = not self._is_stalled
            self.stalls += self._is_stalled
            self.stalling.send(signal.SIGSTOP if self._is_stalled else signal.SIGCONT)
        if self._is_dead != (phase > 0.8):  # it is dead for a fifth of the time
            self._is_dead = not self._is_dead
            if self._is_dead:
                self.deaths += 1
                self.dying.close()
                self._dead_frames += self.dying.frames
                self._dead_lost += self.dying.lost
            else:
                self.dying = self._listener()

    def is_well(self) -> bool:
        """Whether the run lives and messages flow."""
        return self.process.poll() is None and time.monotonic() - self.steady.heard_s < NO_NEWS_S

    def stop(self) -> tuple[dict[str, Any], int, float]:
        """End the run: its own summary, exit code, and how long it took in s."""
        self.stalling.send(signal.SIGCONT)
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            stdout, _ = self.process.communicate(timeout=STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            return {}, 0, STOPS_WITHIN_S
        return json.loads(stdout or "{}"), self.process.returncode, time.monotonic() - began_s

    def news(self, since_s: float) -> dict[str, Any]:
        """What happened since then, for a line."""
        states = [(at_s, state) for at_s, state in self.record.samples if at_s >= since_s]
        latencies = [latency_ms for at_s, latency_ms in self.record.latencies if at_s >= since_s]
        (began_s, before), (ended_s, last) = states[0], states[-1]
        return {
            "minute": round(self.now_s() / 60, 2),
            "resident_mib": round(statistics.median(state.resident_mib for _, state in states), 1),
            "cpu_cores": round((last.cpu_s - before.cpu_s) / max(1e-9, ended_s - began_s), 3),
            "threads": last.threads,
            "files": last.files,
            "frames": len(latencies),
            **percentiles(latencies),
            "lost": [self.steady.lost, self.stalling.lost, self.dying.lost],
            "load_average": round(os.getloadavg()[0], 2),
        }

    def subscribers(self) -> dict[str, Any]:
        """What each got."""
        return {
            "all": {"frames": self.steady.frames, "lost": self.steady.lost},
            "stalls": {"frames": self.stalling.frames, "lost": self.stalling.lost, "times": self.stalls},
            "dies": {
                "frames": self.dying.frames + self._dead_frames,
                "lost": self.dying.lost + self._dead_lost,
                "times": self.deaths,
            },
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, print lines and the verdict; 1 if a goal was missed."""
    options = parse(arguments)
    lines: list[dict[str, Any]] = []
    with ExitStack() as stack:
        soak = Soak(options, stack)
        soak.wait_for_masks()
        is_well = watch(soak, lines)
        ending = soak.stop() if is_well else ({}, soak.process.poll() or 0, 0.0)
        verdict = judge(soak.plan, soak.record, ending, is_well=is_well)
        verdict["subscribers"] = soak.subscribers()
    print(json.dumps(verdict), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"verdict": verdict, "lines": lines}, indent=1) + "\n")
    return 0 if verdict["passed"] else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """For how long, and how much of everything."""
    parser = argparse.ArgumentParser(prog="scripts/check_soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="after the first masks (60)")
    parser.add_argument("--fps", type=int, default=10, help="the camera's pictures per second (10)")
    parser.add_argument("--objects", type=int, default=5, help="followed (5)")
    parser.add_argument("--width", type=int, default=640, help="of the camera's picture, px (640)")
    parser.add_argument("--model", type=int, default=256, help="model input, px (256)")
    parser.add_argument("--engine", default="auto", help="what runs the networks: auto, torch or openvino")
    parser.add_argument("--threads", type=int, help="CPU threads for the networks; one per core")
    parser.add_argument("--stand-in", action="store_true", help="in the place of the networks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all lines and the verdict go here too")
    return parser.parse_args(arguments)


def watch(soak: Soak, lines: list[dict[str, Any]]) -> bool:
    """Sample and disturb until the time is over; False where the run did not live so long."""
    told_s = 0.0
    soak.sample()
    while (now_s := soak.now_s()) < soak.plan.total_s:
        soak.disturb()
        if not soak.is_well():
            return False
        time.sleep(min(soak.plan.sample_s, soak.plan.total_s - now_s))
        soak.sample()
        if soak.now_s() >= told_s + soak.plan.line_s:
            lines.append(soak.news(told_s))
            print(json.dumps(lines[-1]), flush=True)
            told_s = soak.now_s()
    return True


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float]:
    """The middle and the slow end of latencies."""
    if len(latencies_ms) < 2:
        return {"p50_ms": 0.0, "p99_ms": 0.0}
    ranks = statistics.quantiles(latencies_ms, n=100)
    return {"p50_ms": round(ranks[49], 1), "p99_ms": round(ranks[98], 1)}


def judge(
    plan: Plan, record: Record, ending: tuple[dict[str, Any], int, float], *, is_well: bool
) -> dict[str, Any]:
    """All figures, and for each goal whether it was reached."""
    summary, code, stopped_s = ending
    states = [(at_s, state) for at_s, state in record.samples if at_s >= plan.warm_s]
    verdict: dict[str, Any] = {"minutes": plan.total_s / 60, "lived": is_well}
    goals = {"lived": is_well, "stopped by SIGTERM": is_well and code == 128 + signal.SIGTERM}
    if len(states) >= 2:
        memory, delay = memory_figures(plan, states), latency_figures(plan, record.latencies)
        (began_s, first), (ended_s, last) = states[0], states[-1]
        cpu_s = (last.cpu_s - first.cpu_s) / (ended_s - began_s) * 60
        verdict |= {"memory": memory, "latency": delay, "cpu_s_per_minute": round(cpu_s, 1)}
        verdict["threads"] = [first.threads, last.threads]
        verdict["files"] = [first.files, last.files]
        goals["memory flat within 2 %"] = memory["growth"] <= MEMORY_GOAL
        goals["p99 within 20 %"] = 0 < delay["last"]["p99_ms"] <= LATENCY_GOAL * delay["first"]["p99_ms"]
        goals["no thread left"] = last.threads <= first.threads
        goals["no file left"] = last.files <= first.files + 1  # who died may have been away then
    verdict["tracked_share"] = round(record.tracked / max(1, record.objects), 3)
    verdict |= {"stopped_s": round(stopped_s, 2), "summary": summary, "goals": goals}
    return {**verdict, "passed": len(goals) == 6 and all(goals.values())}


def memory_figures(plan: Plan, states: Sequence[tuple[float, ProcessState]]) -> dict[str, Any]:
    """Resident memory in parts of the time, and the highest part against the first."""
    bins: list[list[float]] = [[] for _ in range(BINS)]
    for at_s, state in states:
        part = (at_s - plan.warm_s) / (plan.total_s - plan.warm_s)
        bins[min(BINS - 1, int(part * BINS))].append(state.resident_mib)
    medians = [round(statistics.median(one), 1) for one in bins if one]
    return {"median_mib": medians, "growth": round(max(medians) / medians[0], 4)}


def latency_figures(plan: Plan, latencies: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Capture to subscriber, in the first and last part after the warm-up."""
    until_s, from_s = plan.warm_s + plan.window_s, plan.total_s - plan.window_s
    return {
        "first": percentiles([one_ms for at_s, one_ms in latencies if plan.warm_s <= at_s < until_s]),
        "last": percentiles([one_ms for at_s, one_ms in latencies if at_s >= from_s]),
    }


if __name__ == "__main__":
    sys.exit(main())
