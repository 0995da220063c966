"""The figures that a benchmark can make, each as rows. Processes do the work, see bench_process.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from .bench_process import ChildProcess, ContenderProcess, in_turns
from .bench_rows import Row, durations
from .bench_tasks import Task, installed_peers

WARM_UP = 2  # runs of each, that do not count
LIVE_SIZES = ((640, 360), (854, 480))  # of the pictures, px
LIVE_RATE = 30  # frames per second

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """How much is to be measured."""

    sizes: Sequence[int]  # long sides of the model input, px
    engine: str  # of all figures but:
    engines: Sequence[str]
    objects: Sequence[int]
    runs: int
    seconds: float  # of each live stream
    live_size: int | None  # its model input's long side, px; None: the preset's
    frames: int  # of the run whose memory is watched
    weights: str | None
    threads: int | None
    streams: Sequence[int] = (1, 2, 4, 8, 16, 32)  # how many at once, until it is too many


def frame_rows(settings: BenchSettings, notify: Notify) -> Iterator[Row]:
    """A whole frame of one object, encoded and propagated, beside what peers need for a frame and a box."""
    tasks = [Task(who=peer, weights=settings.weights, threads=settings.threads) for peer in installed_peers()]
    tasks += [_task(settings, size) for size in settings.sizes]
    yield from _against(settings, tasks, "frame", "frame", "a frame with 1 object", notify)


def objects_rows(settings: BenchSettings, notify: Notify) -> Iterator[Row]:
    """A whole frame with many objects beside one with few."""
    for size in settings.sizes:
        tasks = [replace(_task(settings, size), objects=objects) for objects in settings.objects]
        rows = list(_against(settings, tasks, "objects", "frame", f"a frame at {size} px", notify))
        yield from rows
        for row, objects in zip(rows[1:], settings.objects[1:], strict=True):
            what = f"{objects} objects against {settings.objects[0]} at {size} px"
            yield Row("objects", what, row.who, 1 / (row.times_faster or 1.0), "x", row.runs)


def engines_rows(settings: BenchSettings, notify: Notify) -> Iterator[Row]:
    """The networks by themselves, engine beside engine."""
    for size in settings.sizes:
        tasks = [replace(_task(settings, size), engine=engine) for engine in settings.engines]
        works = ["encode", *(f"decode {objects}" for objects in settings.objects)]
        with _contenders(tasks, notify) as contenders:
            for work in works:
                notify(f"{work}, {size} px ...")
                what = f"{work}{' objects' if work != 'encode' else ''} at {size} px"
                yield from _rows("engines", what, contenders, work, settings.runs)


def stages_rows(settings: BenchSettings, notify: Notify) -> Iterator[Row]:
    """Every stage of a run on a video file."""
    for size in settings.sizes:
        for objects in settings.objects:
            notify(f"stages at {size} px, {objects} objects ...")
            arguments = {
                "size": size,
                "engine": settings.engine,
                "width": 1280,
                "height": 720,
                "objects": objects,
                "runs": settings.runs,
                "weights": settings.weights,
            }
            for stage, ms in _done("stages", arguments).items():
                yield durations("stages", f"{stage}, {objects} objects", f"{size} px", ms)


def live_rows(settings: BenchSettings, notify: Notify) -> Iterator[Row]:
    """The live preset: how often it publishes and encodes, how late, and how old its evidence is."""
    for width, height in LIVE_SIZES:
        notify(f"a live stream of {width}x{height} ...")
        arguments = {
            "width": width,
            "height": height,
            "rate": LIVE_RATE,
            "seconds": settings.seconds,
            "objects": 1,
            "overrides": {"model": _live_model(settings)},
        }
        record = _done("live", arguments)
        what, who, runs = f"{width}x{height}", f"preset rtsp, {record['size']} px", len(record["gaps_ms"])
        yield Row("live", f"{what}: published", who, record["published_fps"], "/s", runs)
        yield Row("live", f"{what}: encoded", who, record["encoded_fps"], "/s", runs)
        yield Row("live", f"{what}: dropped", who, record["dropped"], "frames", runs)
        for name, key in (
            ("between two", "gaps_ms"),
            ("latency", "latencies_ms"),
            ("age of evidence", "ages_ms"),
        ):
            yield durations("live", f"{what}: {name}", who, record[key])
        for how, share in sorted(record["how"].items()):
            yield Row("live", f"{what}: {how}", who, 100 * share, "%", runs)


def streams_rows(settings: BenchSettings, notify: Notify) -> Iterator[Row]:
    """More and more live streams on one set of networks, until they are too many for this machine."""
    (width, height), sustained = LIVE_SIZES[0], 0
    for streams in settings.streams:
        notify(f"live streams of {width}x{height} at once: {streams} ...")
        arguments = {
            "streams": streams,
            "width": width,
            "height": height,
            "rate": LIVE_RATE,
            "seconds": settings.seconds,
            "overrides": {"model": _live_model(settings)},
        }
        record = _done("streams", arguments)
        what, who = f"{streams} of {width}x{height}", f"preset rtsp, {record['size']} px"
        runs = record["results"]
        yield Row(
            "streams", f"{what}: published by the slowest", who, min(record["published_fps"]), "/s", runs
        )
        yield Row("streams", f"{what}: encoded of each, mean", who, _mean(record["encoded_fps"]), "/s", runs)
        yield Row("streams", f"{what}: encoded of the least", who, min(record["encoded_fps"]), "/s", runs)
        yield Row("streams", f"{what}: dropped, all", who, record["dropped"], "frames", runs)
        yield Row("streams", f"{what}: held", who, 100 * record["held"], "%", runs)
        yield durations("streams", f"{what}: latency", who, record["latencies_ms"])
        yield durations("streams", f"{what}: age of evidence", who, record["ages_ms"])
        encoded = f"{min(record['encoded_fps']):.1f} encoded frames/s or more for each"
        if record["shortcoming"] is not None:
            notify(f"{streams} at once are not sustained: {record['shortcoming']}; {encoded}")
            break
        notify(f"{streams} at once are sustained, {encoded}")
        sustained = streams
    what = f"{LIVE_RATE}/s, {width}x{height}: sustained at once, of {_listed(settings.streams)}"
    yield Row("streams", what, "preset rtsp", sustained, "streams", len(settings.streams))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def memory_rows(settings: BenchSettings, notify: Notify) -> Iterator[Row]:
    """Memory of a run at 1080p with the most objects: at most, and how much it grew over its second half."""
    size, objects = min(settings.sizes), max(settings.objects)
    notify(f"memory over {settings.frames} frames ...")
    arguments = {
        "width": 1920,
        "height": 1080,
        "objects": objects,
        "frames": settings.frames,
        "size": size,
        "engine": settings.engine,
        "weights": settings.weights,
    }
    record = _done("memory", arguments)
    what, who = f"1920x1080, {objects} objects, {settings.frames} frames", f"{size} px"
    yield Row("memory", f"{what}: at most", who, record["peak_mib"], "MiB", settings.frames)
    half, end = record["quarters_mib"][1], record["quarters_mib"][-1]
    yield Row("memory", f"{what}: grown over the second half", who, end - half, "MiB", settings.frames)
    yield Row("memory", f"{what}: throughput", who, record["fps"], "/s", settings.frames)


FIGURES: dict[str, Callable[[BenchSettings, Notify], Iterator[Row]]] = {
    "frame": frame_rows,
    "objects": objects_rows,
    "engines": engines_rows,
    "stages": stages_rows,
    "live": live_rows,
    "streams": streams_rows,
    "memory": memory_rows,
}


def _live_model(settings: BenchSettings) -> dict[str, Any]:
    model = {
        "weights": settings.weights,
        "threads": settings.threads,
        "engine": settings.engine,
        "size": settings.live_size,
    }
    return {key: value for key, value in model.items() if value is not None}


def _task(settings: BenchSettings, size: int) -> Task:
    return Task(engine=settings.engine, size=size, weights=settings.weights, threads=settings.threads)


def _against(
    settings: BenchSettings, tasks: Sequence[Task], figure: str, work: str, what: str, notify: Notify
) -> Iterator[Row]:
    with _contenders(tasks, notify) as contenders:
        notify(f"{what} ...")
        yield from _rows(figure, what, contenders, work, settings.runs)


@contextmanager
def _contenders(tasks: Sequence[Task], notify: Notify) -> Iterator[list[ContenderProcess]]:
    """Contenders that are ready, for as long as the `with` lasts."""
    with ExitStack() as stack:
        ready = []
        for task in tasks:
            notify(f"loading {task.label(task.engine if task.who == 'maskstream' else task.who)} ...")
            ready.append(stack.enter_context(ContenderProcess(task)))
        yield ready


def _rows(
    figure: str, what: str, contenders: Sequence[ContenderProcess], work: str, runs: int
) -> Iterator[Row]:
    took = in_turns(contenders, work, runs, WARM_UP)
    for place, (contender, ms) in enumerate(zip(contenders, took, strict=True)):
        yield durations(figure, what, contender.task.label(contender.name), ms, took[0] if place else None)


def _done(job: str, arguments: dict[str, Any]) -> Any:
    with ChildProcess(job, arguments) as process:
        return process.answer()
