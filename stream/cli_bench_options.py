"""What may be written after `maskstream bench`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskstream.model.errors import ConfigError

BENCH_EXAMPLES = """\
figures:
  frame     a whole frame with one object, beside what the peers that are installed need for one
  objects   a whole frame with many objects beside one with few
  engines   image encoder and mask decoder, engine beside engine
  stages    decoding, encoding, tracking, run-length code, drawing, writing
  live      a camera of 30 frames/s: what is published and encoded, how late, how old
  streams   more and more such cameras at once, on one set of networks: how many it sustains
  memory    a run at 1080p with the most objects: how much at most, and whether it grows

examples:
  maskstream bench
  maskstream bench frame --runs 20 --json
  maskstream bench engines --engines torch openvino onnxruntime --sizes 512 --plot engines.png

Contenders take turns, run for run: on a busy machine ratios say more than milliseconds.
"""
FIGURES = ("frame", "objects", "engines", "stages", "live", "streams", "memory")


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What to measure, and where to put it."""

    figures: tuple[str, ...]
    sizes: tuple[int, ...]
    engine: str
    engines: tuple[str, ...]  # of the figure of that name; none: those that are installed
    objects: tuple[int, ...]
    runs: int
    seconds: float
    live_size: int | None
    frames: int
    weights: str | None
    threads: int | None
    streams: tuple[int, ...]
    plot: Path | None
    report: Path | None
    as_json: bool
    command: str  # as it was typed

    def __post_init__(self) -> None:
        unknown = set(self.figures) - set(FIGURES)
        if unknown:
            raise ConfigError(f"no figure {min(unknown)!r}; there are: {', '.join(FIGURES)}")
        for name, values in (("sizes", self.sizes), ("objects", self.objects), ("streams", self.streams)):
            if min(values) < 1:
                raise ConfigError(f"--{name} must be at least 1, got {min(values)}")
        for name, value, least in (
            ("runs", self.runs, 2),
            ("seconds", self.seconds, 1),
            ("frames", self.frames, 8),
        ):
            if value < least:
                raise ConfigError(f"--{name} must be at least {least}, got {value:g}")


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    """All options."""
    add = parser.add_argument
    add("figures", nargs="*", metavar="FIGURE", help=f"{', '.join(FIGURES)}; all, if none is named")
    add(
        "--sizes",
        type=int,
        nargs="+",
        default=[1024, 512],
        metavar="PX",
        help="long sides of the model input",
    )
    add("--engine", default="auto", metavar="NAME", help="for all but engines, as for run")
    add("--engines", nargs="+", default=[], metavar="NAME", help="for engines; those that are installed")
    add("--objects", type=int, nargs="+", default=[1, 10], metavar="N", help="numbers of objects")
    add("--runs", type=int, default=12, metavar="N", help="of each piece of work, after a warm-up")
    add("--seconds", type=float, default=12, metavar="S", help="of each live stream")
    add(
        "--streams",
        type=int,
        nargs="+",
        default=[1, 2, 4, 8, 16, 32],
        metavar="N",
        help="at once, until it is too many",
    )
    add("--live-size", type=int, metavar="PX", help="model input of live; the preset's, if not given")
    add("--frames", type=int, default=300, metavar="N", help="of the run whose memory is watched")
    add("--weights", metavar="PATH|NAME", help="see maskstream weights list")
    add("--threads", type=int, metavar="N", help="CPU threads for the networks; one per core")
    add("--plot", type=Path, metavar="FILE.png", help="the durations as a picture")
    add("--report", type=Path, metavar="FILE.md", help="the table, with what it was measured on, as Markdown")
    add("--json", action="store_true", help="print one JSON object")


def bench_request(options: argparse.Namespace, arguments: Sequence[str]) -> BenchRequest:
    """The request, and the line it came from.

    Raises:
        ConfigError: an option is out of range.
    """
    return BenchRequest(
        figures=tuple(options.figures) or FIGURES,
        sizes=tuple(options.sizes),
        engine=options.engine,
        engines=tuple(options.engines),
        objects=tuple(options.objects),
        runs=options.runs,
        seconds=options.seconds,
        live_size=options.live_size,
        frames=options.frames,
        weights=options.weights,
        threads=options.threads,
        streams=tuple(sorted(options.streams)),
        plot=options.plot,
        report=options.report,
        as_json=options.json,
        command=shlex.join(["maskstream", *arguments]),
    )
