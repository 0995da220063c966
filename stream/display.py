"""What a person at a terminal sees: progress on files, a live line on streams, a table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from .pipeline import PipelineReport
from .summary import ObjectSummary, RunSummary, clock_text
from .types import StreamInfo

if TYPE_CHECKING:
    from maskstream.model.weights import Progress as OnProgress


class LiveView:
    """Shows how a run is getting on, on one line that is rewritten in place.

    A progress bar with the time left for what has an end; a line of figures for what has none; nothing at
    all where the console is no terminal.
    """

    def __init__(self, info: StreamInfo, console: Console) -> None:
        self._bar = _progress_bar(console, info) if info.frame_count and not info.is_live else None
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._shown = console.is_terminal

    def __enter__(self) -> LiveView:
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def update(self, report: PipelineReport, objects: Sequence[ObjectSummary]) -> None:
        """Show these figures; meant to be called a few times a second."""
        if not self._shown:
            return
        line: RenderableType = Text(live_line(report, objects), no_wrap=True, overflow="ellipsis")
        if self._bar:
            self._bar.update(TaskID(0), completed=report.segmented, fps=report.segmenter.recent_fps)
            line = self._bar.get_renderable()
        self._live.update(line, refresh=True)


def _progress_bar(console: Console, info: StreamInfo) -> Progress:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} frames/s, left"),
        TimeRemainingColumn(),
        console=console,
    )
    bar.add_task(info.source_id, total=info.frame_count, fps=0.0)
    return bar


def live_line(report: PipelineReport, objects: Sequence[ObjectSummary]) -> str:
    """`29.8 frames/s | latency p50 41 ms, p95 66 ms | dropped 12 (3 %) | object 1 tracked, 2 lost`."""
    stage = report.segmenter
    parts = [
        f"{stage.recent_fps:.1f} frames/s",
        f"latency p50 {stage.latency_p50_ms:.0f} ms, p95 {stage.latency_p95_ms:.0f} ms",
        f"dropped {report.dropped} ({_percent(report.dropped, report.captured)})",
    ]
    states = ", ".join(f"{found.object_id} {found.last_state}" for found in objects)
    return " | ".join([*parts, f"object {states}"] if states else parts)


def summary_view(summary: RunSummary) -> RenderableType:
    """What happened, in a few lines and a table of the objects."""
    whose = "" if summary.source_id in summary.reason else f"{summary.source_id}: "
    lines = [whose + summary.reason, _figures(summary)]
    lines += [f"wrote {sink.name}: {sink.written} frames" + _lost(sink.dropped) for sink in summary.sinks]
    lines += [f"note: {note}" for note in summary.notes]
    tables = [_objects_table(summary)] if summary.objects else []
    return Group(*(Text(line, overflow="fold") for line in lines), *tables)


def _figures(summary: RunSummary) -> str:
    text = f"{summary.frames} frames, {clock_text(summary.media_s)} of video, at {summary.fps:.1f} frames/s"
    if summary.is_live:  # a file's frames wait in a queue on purpose: their latency says nothing
        latency = f"p50 {summary.latency_p50_ms:.0f} ms, p95 {summary.latency_p95_ms:.0f} ms"
        text += f", {summary.fresh_fps:.1f} of them encoded; {summary.dropped} dropped; latency {latency}"
    return text


def _lost(dropped: int) -> str:
    return f", {dropped} dropped because this output is too slow" if dropped else ""


def _objects_table(summary: RunSummary) -> Table:
    table = Table("object", "frames", "tracked", "mean quality", "at the end")
    for found in summary.objects:
        share, quality = f"{found.tracked_share:.1%}", f"{found.mean_quality:.2f}"
        table.add_row(str(found.object_id), str(found.frames), share, quality, found.last_state)
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:.0f} %"


@contextmanager
def download_view(console: Console) -> Iterator[OnProgress]:
    """A bar for each file that is fetched, where someone looks."""
    columns = (
        TextColumn("fetching {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show
