"""How long encoding an image, and decoding all prompts of a tracker's frame, takes: engine beside engine.

The engines take turns, run for run, so that whatever else the machine does hits them alike: on a busy machine
the ratios say more than the milliseconds. Each engine is compared with torch float32 before it is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from maskstream.model.checkpoint import load_model
from maskstream.model.engine_choice import make_engine
from maskstream.model.engines import Engine, TorchEngine
from maskstream.model.errors import MaskstreamError
from maskstream.model.mask_decoder import ALL_MASKS
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.prompt_encoder import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT
from maskstream.model.self_check import check_engine
from maskstream.model.tiny_vit import EMBEDDING_DIM, PATCH_PX
from maskstream.model.weights import resolve
from maskstream.stream.doctor import stamp
from rich.console import Console
from rich.table import Table

ENGINES = ("torch", "openvino", "openvino-bf16")
Work = Callable[[Engine], object]
Hw = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One engine at one piece of work."""

    work: str
    engine: str
    runs: int
    median_ms: float
    p95_ms: float
    least_ms: float
    cpu_ms: float  # median processor time, all cores together
    times_faster: float  # than the first engine: median of the paired runs' ratios


def main() -> int:
    """Time what was asked for: a table on stdout, and JSON where wanted."""
    options = _options()
    try:
        model = load_model(resolve(options.weights))
        engines = [_engine(name, model, options.threads) for name in options.engines]
    except MaskstreamError as error:
        print(f"bench_engines: {error}", file=sys.stderr)
        return 2
    works = [pair for hw in options.sizes for pair in _works(hw, options.objects)]
    rows = [row for name, work in works for row in _time(name, work, engines, options.runs)]
    Console(width=120).print(_table(rows))
    if options.json:
        record = {"stamp": stamp(), "threads": options.threads, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", metavar="PATH|NAME")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES[:2]))
    sizes = [(576, 1024), (432, 768), (288, 512)]
    parser.add_argument(
        "--sizes", nargs="+", type=_hw, default=sizes, metavar="WxH", help="of the model input"
    )
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 2, 10], metavar="N")
    parser.add_argument("--runs", type=int, default=20, help="of each engine at each piece of work")
    parser.add_argument("--threads", type=int, help="CPU threads; one per core, if not given")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def _hw(text: str) -> Hw:
    width, height = map(int, text.split("x"))
    return height, width


def _engine(name: str, model: MobileSam, threads: int | None) -> Engine:
    engine = make_engine(model, name, threads=threads, notify=_say)
    check_engine(engine, TorchEngine(model))
    return engine


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _works(input_hw: Hw, objects: Sequence[int]) -> Iterator[tuple[str, Work]]:
    """Encoding an image of this size; decoding N objects on it, each by two prompts, as the tracker does."""
    noise, (height, width) = torch.Generator().manual_seed(0), input_hw
    size = f"{width}x{height}"
    pixels = torch.randn(1, 3, height, width, generator=noise)
    yield f"encode {size}", lambda engine: engine.encode(pixels)
    features = torch.randn(1, EMBEDDING_DIM, height // PATCH_PX, width // PATCH_PX, generator=noise) / 4
    for count in objects:
        prompts = 2 * count
        box = torch.tensor([[0.2 * width, 0.2 * height], [0.7 * width, 0.8 * height]])
        batch = (
            features,
            box.expand(prompts, -1, -1),
            torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]).expand(prompts, -1),
            4 * torch.randn(prompts, 1, height // 4, width // 4, generator=noise),
            torch.arange(prompts) % 2 == 0,  # every other one comes with mask logits
            ALL_MASKS,
        )
        yield f"decode {size}, {count} objects", lambda engine, batch=batch: engine.decode(*batch)


def _time(name: str, work: Work, engines: Sequence[Engine], runs: int) -> Iterator[Row]:
    _say(f"{name} ...")
    for engine in engines:
        work(engine)  # builds, allocates
    took = np.array([[_run(work, engine) for engine in engines] for _ in range(runs)])  # (runs, engines, 2)
    ms, cpu_ms = 1e3 * took[..., 0], 1e3 * took[..., 1]
    for i, engine in enumerate(engines):
        yield Row(
            name,
            engine.name,
            runs,
            median_ms=float(np.median(ms[:, i])),
            p95_ms=float(np.percentile(ms[:, i], 95)),
            least_ms=float(ms[:, i].min()),
            cpu_ms=float(np.median(cpu_ms[:, i])),
            times_faster=float(np.median(ms[:, 0] / ms[:, i])),
        )


def _run(work: Work, engine: Engine) -> tuple[float, float]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work(engine)
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None)
    for column in ("work", "engine", "median ms", "p95", "least", "CPU ms", "x faster"):
        table.add_column(column, justify="left" if column in ("work", "engine") else "right")
    for row in rows:
        figures = (row.median_ms, row.p95_ms, row.least_ms, row.cpu_ms)
        table.add_row(row.work, row.engine, *(f"{x:.1f}" for x in figures), f"{row.times_faster:.2f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
