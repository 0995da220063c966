"""What may be written after `maskstream eval`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskstream.model.errors import ConfigError

from .config import ModelConfig
from .costs import EXAMPLE, Costs, parse_costs

EVAL_EXAMPLES = """\
datasets:  JPEGImages/480p/SEQUENCE/*.jpg with Annotations/480p/SEQUENCE/*.png: DAVIS layout, any objects
stills:    images/*/X.jpg with outlines in labels/*/X.txt: YOLO-seg layout, such as coco128-seg
scores:    J, F and J&F as DAVIS defines them; docs/evaluation.md explains every figure

examples:
  maskstream eval DAVIS --sequences DAVIS/ImageSets/2017/val.txt --out scores
  maskstream eval DAVIS --seed box --size 512 --json
  maskstream eval --stills coco128-seg
  maskstream eval DAVIS --realtime 24 --size 448

exit codes: 0 all was scored; 1 it broke off; 2 it could not be started; 130 stopped by Ctrl-C
"""
_LEAST_FRAMES = 3
_LOWEST_RATE, _HIGHEST_RATE = 1, 1000


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """What to score, how, and where to."""

    dataset: Path | None
    stills: Path | None
    sequences: Path | None  # a list of names
    resolution: str | None  # the folder below JPEGImages
    max_frames: int | None  # of each sequence; with stills: pictures
    seed: Literal["mask", "box", "click"]
    model: ModelConfig
    workers: int
    out: Path | None
    fit_quality: Path | None
    realtime: float | None  # frames per second
    costs: Costs | None  # None: they are measured
    as_json: bool
    command: str  # as it was typed

    def __post_init__(self) -> None:
        if self.dataset is None and self.stills is None:
            raise ConfigError("nothing to score: name a DATASET in DAVIS layout, or give --stills DIR")
        if self.dataset is None and self.fit_quality:
            raise ConfigError("--fit-quality learns from tracked masks: name a DATASET in DAVIS layout")
        if self.dataset is None and self.realtime is not None:
            raise ConfigError("--realtime plays videos: name a DATASET in DAVIS layout")
        if self.realtime is None and self.costs is not None:
            raise ConfigError("--costs are those of a live stream: say how fast it comes, --realtime 24")
        if self.realtime is not None and not _LOWEST_RATE <= self.realtime <= _HIGHEST_RATE:
            bounds = f"{_LOWEST_RATE}..{_HIGHEST_RATE} frames/s"
            raise ConfigError(f"--realtime must be in {bounds}, got {self.realtime:g}")
        if self.workers < 1:
            raise ConfigError(f"--workers must be at least 1, got {self.workers}")
        if self.max_frames is not None and self.max_frames < _LEAST_FRAMES:
            raise ConfigError(f"--max-frames must be at least {_LEAST_FRAMES}, got {self.max_frames}")


def add_eval_options(parser: argparse.ArgumentParser) -> None:
    """All options but those of the networks, each with the name of its field in EvalRequest."""
    parser.add_argument("dataset", nargs="?", type=Path, metavar="DATASET", help="videos in DAVIS layout")
    parser.add_argument(
        "--stills", type=Path, metavar="DIR", help="pictures with outlines, in YOLO-seg layout"
    )
    parser.add_argument("--sequences", type=Path, metavar="FILE", help="names of the sequences, one a line")
    parser.add_argument("--resolution", metavar="NAME", help="the folder below JPEGImages, such as 480p")
    parser.add_argument(
        "--seed", choices=("mask", "box", "click"), default="mask", help="how each object is shown"
    )
    parser.add_argument(
        "--max-frames", type=int, metavar="N", help="only the first N frames of each sequence"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="sequences scored side by side")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="figures, masks as PNG, plots, the worst frames"
    )
    parser.add_argument(
        "--fit-quality", type=Path, metavar="FILE.json", help="write a table that calibrates quality"
    )
    parser.add_argument(
        "--realtime", type=float, metavar="FPS", help="score what a live stream of that rate would get"
    )
    parser.add_argument(
        "--costs",
        metavar="STAGE=MS,...",
        help=f"what its stages take, such as {EXAMPLE}; measured at the start, if not given",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")


def eval_request(options: argparse.Namespace, model: ModelConfig, arguments: Sequence[str]) -> EvalRequest:
    """The request, and the line it came from.

    Raises:
        ConfigError: options do not go together or are out of range.
    """
    elsewhere = {"model", "as_json", "command", "costs"}
    given = {name: getattr(options, name) for name in EvalRequest.__slots__ if name not in elsewhere}
    command = shlex.join(["maskstream", *arguments])
    costs = None if options.costs is None else parse_costs(options.costs)
    return EvalRequest(**given, model=model, costs=costs, as_json=options.json, command=command)
