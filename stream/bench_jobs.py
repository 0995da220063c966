"""What a process of the benchmark does at one go: stages by themselves, a live stream, a long run."""

from __future__ import annotations

import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from maskstream.model.device_time import Moment
from maskstream.model.engines import WatchedEngine
from maskstream.model.predictor import load_predictor
from maskstream.model.tracker_choice import make_tracker
from maskstream.model.weights import resolve

from .agenda import Agenda
from .bench_scene import BenchScene, live_spec
from .commands import Show
from .config import load_config
from .overlay import annotate
from .records import frame_record
from .runner import prepare, run
from .segmenter import Segmenter
from .sources import open_source
from .summary import Tally
from .synthetic import SyntheticSource
from .types import FrameResult, StreamInfo
from .video_sink import VideoSink

WARM_UP_S = 2.0  # of a live stream, that do not count
WARM_UP = 3  # frames, likewise

Durations = dict[str, list[float]]  # ms, by stage


def time_stages(
    size: int, engine: str, width: int, height: int, objects: int, runs: int, weights: str | None
) -> Durations:
    """Every stage of a run on a video file, one after the other: what each takes by itself."""
    scene = BenchScene(width, height, objects)
    predictor = load_predictor(resolve(weights), "auto", size, engine=engine, original_hw=(height, width))
    predictor.engine = watched = WatchedEngine(predictor.engine, predictor.device)
    segmenter = Segmenter(predictor, make_tracker(predictor), Agenda([Show(each) for each in scene.masks]))
    took: Durations = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.mp4"
        results = _write_video(scene, path, WARM_UP + runs, took)
        with open_source(str(path)) as source:
            for _ in results:
                with _timed(took, "decode the video"):
                    frame = next(source)
                with _timed(took, "preprocess (part of encode)"):
                    predictor.preprocess(frame.image)
                    Moment(predictor.device).wait()
                result = segmenter(frame)
                took.setdefault("encode", []).append(result.encode_ms)
                took.setdefault("track", []).append(result.track_ms)
                decode_ms = watched.decoded_ms()
                took.setdefault("decode (part of track)", []).append(decode_ms)
                took.setdefault("propagate (track less decode)", []).append(result.track_ms - decode_ms)
                with _timed(took, "run-length code"):
                    frame_record(result)
                with _timed(took, "draw"):
                    annotate(frame.image, result.objects, frame.time_s)
    return {stage: ms[WARM_UP:] for stage, ms in took.items()}


def watch_live(
    width: int, height: int, rate: int, seconds: float, objects: int, overrides: dict[str, Any]
) -> dict[str, Any]:
    """A live stream through the whole pipeline, published on ZeroMQ; the preset `rtsp`, overridden."""
    cv2.setNumThreads(1)  # as a live run has it
    frames = round((WARM_UP_S + seconds) * rate)
    spec = live_spec(width, height, objects, frames)
    config = load_config(
        "rtsp", {**overrides, "source": spec, "sinks": [f"zmq=tcp://127.0.0.1:{_free_port()}"]}
    )
    with SyntheticSource.from_spec(spec) as source:
        prompts = [Show(prompt) for prompt in source.prompts()]
    published: list[tuple[float, FrameResult]] = []
    tally, counted = Tally(), round(WARM_UP_S * rate)

    def note(result: FrameResult) -> None:
        published.append((time.monotonic(), result))
        if len(published) > counted:
            tally.add(result)

    ready = prepare(config, extra_commands=prompts, on_result=note)
    with ready.pipeline as pipeline:
        pipeline.join()
    return _live_record(published[counted:], tally, pipeline.report().dropped, config.model.size)


def _live_record(
    published: list[tuple[float, FrameResult]], tally: Tally, dropped: int, size: int
) -> dict[str, Any]:
    times = [at for at, _ in published]
    results = [result for _, result in published]
    span_s = times[-1] - times[0]
    found = [one for result in results for one in result.objects]
    hows = Counter(one.how.value for one in found)
    return {
        "size": size,
        "published_fps": (len(times) - 1) / span_s,
        "encoded_fps": tally.encoded / span_s,
        "dropped": dropped,
        "gaps_ms": (1e3 * np.diff(times)).tolist(),
        "latencies_ms": [result.latency_ms for result in results],
        "ages_ms": [one.age_ms for one in found],
        "how": {how: count / len(found) for how, count in hows.items()},
    }


def watch_memory(
    width: int, height: int, objects: int, frames: int, size: int, engine: str, weights: str | None
) -> dict[str, Any]:
    """Memory of a long run with masks and video written: at each quarter, and at most, in MiB."""
    spec = f"synthetic:scene=drift,objects={objects},width={width},height={height},frames={frames}"
    with SyntheticSource.from_spec(spec) as source:
        prompts = [
            f"{prompt.object_id}:box={','.join(map(str, np.asarray(prompt.box_xyxy).tolist()))}"
            for prompt in source.prompts()
        ]
    quarters = [max(1, frames * quarter // 4) - 1 for quarter in (1, 2, 3, 4)]
    resident: list[float] = []

    def note(result: FrameResult) -> None:
        if result.frame.index in quarters:
            resident.append(_status_mib("VmRSS"))

    with tempfile.TemporaryDirectory() as folder:
        model = {"size": size, "engine": engine, "weights": weights}
        sinks = [f"masks={folder}/masks", f"video={folder}/overlay.mp4"]
        config = load_config(None, {"source": spec, "prompts": prompts, "sinks": sinks, "model": model})
        summary = run(config, note)
    return {"quarters_mib": resident, "peak_mib": _status_mib("VmHWM"), "fps": summary.fps}


def _write_video(scene: BenchScene, path: Path, frames: int, took: Durations) -> range:
    """A video file to decode; drawing is none of it, for there is nothing to draw."""
    sink = VideoSink(path)
    image = scene.image(0)
    first = scene.frame(0)
    info = StreamInfo("bench", image.shape[1], image.shape[0], first.time_base, 1 / first.time_base, False)
    sink.open(info)
    for index in range(frames):
        with _timed(took, "write the video"):
            sink.write(FrameResult(scene.frame(index), (), 0, 0.0, 0.0, 0))
    sink.close()
    return range(frames)


@contextmanager
def _timed(took: Durations, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    took.setdefault(stage, []).append(1e3 * (time.perf_counter() - started))


def _status_mib(key: str) -> float:
    """A line of this process's status, such as VmHWM, in MiB; 0 where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
