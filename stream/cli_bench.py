"""`maskstream bench`: measures, and shows what came out as a table, JSON, a picture and a page."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

import cv2
from rich.table import Table

from .bench_figures import FIGURES, BenchSettings
from .bench_plot import plot_rows
from .bench_rows import Row
from .cli_bench_options import BenchRequest
from .console import EXIT_OK, paper, say
from .doctor import stamp
from .mask_sink import write_whole
from .records import Record
from .targets import check_file

_COLUMNS = ("figure", "what", "who", "median", "", "p95", "p99", "times faster", "runs")


def bench_command(request: BenchRequest) -> int:
    """Measure what was asked for; the exit code.

    Raises:
        InputError: something cannot be done as asked.
        MaskstreamError: a process of the benchmark failed.
    """
    for path in (request.plot, request.report):
        if path:
            check_file(path)
    settings = _settings(request)
    load = list(os.getloadavg()) if hasattr(os, "getloadavg") else []  # before the work: others' load
    rows: list[Row] = []
    for figure in request.figures:
        rows += FIGURES[figure](settings, say)
    record: Record = {
        "command": request.command,
        **stamp(),
        "load_average": load,
        "rows": [asdict(row) for row in rows],
    }
    if request.plot:
        _, png = cv2.imencode(".png", cv2.cvtColor(plot_rows(rows), cv2.COLOR_RGB2BGR))
        write_whole(request.plot, bytes(png))
    if request.report:
        write_whole(request.report, markdown(record, rows).encode())
    if request.as_json:
        sys.stdout.write(json.dumps(record) + "\n")
    else:
        paper().print(_table(rows))
    return EXIT_OK


def _settings(request: BenchRequest) -> BenchSettings:
    from maskstream.model.engine_choice import choose_engine, engines_for
    from maskstream.model.predictor import resolve_device
    from maskstream.model.weights import resolve

    weights = resolve(request.weights, notify=lambda sentence: say(f"note: {sentence}"))
    device = resolve_device("auto")
    installed = [name for name in engines_for(device) if name != "openvino-bf16"]
    choose_engine(request.engine, device)
    engines = [choose_engine(name, device) for name in request.engines] or installed
    return BenchSettings(
        request.sizes,
        request.engine,
        engines,
        request.objects,
        request.runs,
        request.seconds,
        request.live_size,
        request.frames,
        str(weights),
        request.threads,
        request.streams,
    )


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("figure", "what", "who", "") else "right")
    before = ""
    for row in rows:
        table.add_row(row.figure if row.figure != before else "", *_cells(row))
        before = row.figure
    return table


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (row.p95, row.p99, row.times_faster)
    shown = [
        "" if number is None else f"{number:.{digits}f}"
        for number, digits in zip(numbers, (1, 1, 2), strict=True)
    ]
    value = f"{row.value:.{0 if row.unit in ('frames', 'streams') else 1}f}"
    return row.what, row.who, value, row.unit, *shown, str(row.runs)


def markdown(record: Record, rows: Sequence[Row]) -> str:
    """The table as a page, with what it was measured on."""
    facts = [
        f"| {name} | {value} |"
        for topic in ("machine", "packages", "compute")
        for name, value in record[topic].items()
    ]
    load = " ".join(f"{value:.1f}" for value in record["load_average"])
    facts.append(f"| load average before | {load} |")
    head = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    body = ["| " + " | ".join((row.figure, *_cells(row))) + " |" for row in rows]
    lines = [f"`{record['command']}`", "", *head, *body, "", "| measured on | |", "|---|---|", *facts]
    return "\n".join(lines) + "\n"
