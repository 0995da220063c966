"""Four cameras in one process, one of them dead and one that stalls: do the healthy two lose anything by it?

The cameras are GStreamer's RTSP servers. First the healthy two run alone, then for as long beside one whose
server is killed after a second and one whose server stops answering again and again. A stand-in of a fixed
time takes the networks' place: four streams of theirs are more than two cores can do, with or without faults.
Lost is what the stream did not deliver (gaps in its PTS), what the queue dropped, and what came late.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

from maskstream.stream.pipeline import Pipeline
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.source_status import SourceStatus
from maskstream.stream.sources import open_source
from maskstream.stream.types import Frame, FrameResult
from rtsp_process import RtspProcess

WORK_S = 0.005  # of the stand-in, per frame
FRAME_S = 1 / 25  # of the servers' streams
LATE_MS = 200.0
SETTLE_S = 2.0  # a new connection begins with a second's worth of frames at once
STALLS_S = (4.0, 3.0)  # frozen, then not
RECONNECT = ReconnectConfig(stall_after_s=1.0)


@dataclass(frozen=True)
class Figures:
    """What one camera gave."""

    frames: int
    missing: int  # by gaps in the PTS
    dropped: int  # by the queue
    late: int  # results later than LATE_MS
    p99_ms: float  # capture to result
    status: SourceStatus | None

    @property
    def lost(self) -> int:
        """All that a consumer did not get in time."""
        return self.missing + self.dropped + self.late


class Watch:
    """One camera's pipeline, and what comes out of it."""

    def __init__(self, url: str) -> None:
        self._results: list[tuple[float, float]] = []  # media time in s, latency in ms
        self._dropped_before = 0
        source = open_source(url, read_timeout_s=2.0, reconnect=RECONNECT, notify=lambda note: None)
        source.standby()
        self._pipeline = Pipeline(source, self._stand_in)

    def __enter__(self) -> "Watch":
        self._pipeline.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipeline.close()

    def begin(self) -> None:
        """Count from here: what a camera sends while others are being connected is not part of it."""
        self._dropped_before = self._pipeline.report().dropped
        self._results.clear()

    def figures(self) -> Figures:
        """Since the beginning."""
        times_s, latencies_ms = zip(*self._results, strict=True) if self._results else ((), ())
        steps = [round((later - earlier) / FRAME_S) for earlier, later in pairwise(times_s)]
        dropped = self._pipeline.report().dropped - self._dropped_before
        p99_ms = statistics.quantiles(latencies_ms, n=100)[98] if len(latencies_ms) > 1 else 0.0
        late = sum(latency > LATE_MS for latency in latencies_ms)
        missing = max(0, sum(step - 1 for step in steps) - dropped)
        return Figures(len(times_s), missing, dropped, late, p99_ms, self._pipeline.source_status())

    def _stand_in(self, frame: Frame) -> FrameResult:
        time.sleep(WORK_S)
        result = FrameResult(frame, (), 0, 0.0, 0.0, time.monotonic_ns())
        self._results.append((frame.time_s, result.latency_ms))
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Both runs and their figures; 1 if the healthy lost more beside the others."""
    options = parse(arguments)
    with ExitStack() as stack:
        cameras = [stack.enter_context(RtspProcess()) for _ in range(4)]
        alone = watch([camera.url for camera in cameras[:2]], options.seconds, lambda: None)
        together = watch(
            [camera.url for camera in cameras], options.seconds, lambda: misbehave(cameras[2], cameras[3])
        )
    show("alone", alone, ["healthy 1", "healthy 2"])
    show("together", together, ["healthy 1", "healthy 2", "dead", "stalling"])
    before, beside = (sum(one.lost for one in figures[:2]) for figures in (alone, together))
    print(f"the healthy two lost {before} frames alone and {beside} beside the other two")
    return 0 if beside <= before and all(one.frames > 0 for one in together) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """For how long."""
    parser = argparse.ArgumentParser(prog="scripts/check_neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two runs (60)")
    return parser.parse_args(arguments)


def watch(
    urls: Sequence[str], seconds: float, misbehave: Callable[[], Callable[[], None] | None]
) -> list[Figures]:
    """All cameras at once, for a time."""
    with ExitStack() as stack:
        watches = [stack.enter_context(Watch(url)) for url in urls]
        time.sleep(SETTLE_S)
        for one in watches:
            one.begin()
        stop = misbehave()
        time.sleep(seconds)
        figures = [one.figures() for one in watches]
        if stop is not None:
            stop()
    return figures


def misbehave(dead: RtspProcess, stalling: RtspProcess) -> Callable[[], None]:
    """Kill one after a second, freeze the other again and again; gives what ends that."""
    done = threading.Event()

    def go_on() -> None:
        done.wait(1.0)
        dead.kill()
        while not done.is_set():
            stalling.freeze()
            done.wait(STALLS_S[0])
            stalling.thaw()
            done.wait(STALLS_S[1])

    thread = threading.Thread(target=go_on)
    thread.start()

    def end() -> None:
        done.set()
        thread.join()

    return end


def show(name: str, figures: Sequence[Figures], cameras: Sequence[str]) -> None:
    """A line for each camera."""
    for camera, one in zip(cameras, figures, strict=True):
        line = (
            f"{name:<9}{camera:<11}{one.frames:>6} frames, {one.missing} missing, {one.dropped} dropped, "
            f"{one.late} late, p99 {one.p99_ms:.0f} ms"
        )
        if one.status is not None:
            counts = one.status.counts
            line += f"; {one.status.state.value}, {counts.stalls} stalls, {counts.reconnects} reconnects"
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
