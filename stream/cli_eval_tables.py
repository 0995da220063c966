"""An evaluation's figures as tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .records import Record

_FIGURES = {
    "J": "J",
    "F": "F",
    "J&F": "JF",
    "J recall": "J_recall",
    "J decay": "J_decay",
    "F recall": "F_recall",
    "F decay": "F_decay",
}


def eval_view(record: Record) -> RenderableType:
    """Tables of what was scored, the overall figures last."""
    parts: list[RenderableType] = []
    if "JF" in record:
        parts += [_sequences_table(record), *(Text(line) for line in _video_lines(record))]
        parts += [_reliability_table(record)] if record["reliability"] else []
    if "stills" in record:
        parts.append(_stills_table(record))
    weights = record["weights"]
    parts.append(
        Text(
            f"{weights['name']} ({weights['sha256'][:12]}), {record['size']} px, "
            f"on {record['device']} with {record['engine']}"
        )
    )
    return Group(*parts)


def _sequences_table(record: Record) -> Table:
    table = Table(*("sequence", "frames", *_FIGURES, "encode ms", "track ms"))
    for sequence in record["sequences"]:
        _add_row(table, sequence["name"], sequence)
        if len(sequence["objects"]) > 1:
            for found in sequence["objects"]:
                _add_row(table, f"  object {found['id']}", found)
    table.add_section()
    _add_row(table, f"mean of {record['objects']} objects", record)
    return table


def _add_row(table: Table, name: str, figures: Record) -> None:
    times = [_number(figures[key], ".1f") if key in figures else "" for key in ("encode_ms", "track_ms")]
    frames = str(figures.get("frames", ""))
    table.add_row(name, frames, *(f"{figures[key]:.3f}" for key in _FIGURES.values()), *times)


def _video_lines(record: Record) -> Iterator[str]:
    if "realtime" in record:
        yield from _realtime_lines(record["realtime"])
    yield f"seeded by {record['seed']}; {_number(record['fps'], '.2f')} frames/s without reading and scoring"
    yield (
        f"empty masks: {_percent(record['absent_empty'])} of {record['absent_frames']} frames without the "
        f"object, {_percent(record['falsely_empty'])} of {record['present_frames']} frames with it"
    )
    yield (
        f"quality: expected calibration error {_number(record['ECE'], '.3f')}; refitted, each sequence by "
        f"the others: {_number(record['ECE_refit'], '.3f')}"
    )


def _realtime_lines(realtime: Record) -> Iterator[str]:
    hows = ", ".join(f"{_percent(share)} {how}" for how, share in realtime["how"].items())
    costs = ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in realtime["costs_ms"].items())
    origin = "measured" if realtime["costs_are_measured"] else "given"
    yield f"as a live stream of {realtime['rate']:g} frames/s; costs {origin}: {costs}"
    ages = [_number(realtime[key], ".0f") for key in ("age_p50_ms", "age_p95_ms")]
    yield f"{realtime['fresh_fps']:.1f} frames/s encoded; {hows}; age p50 {ages[0]} ms, p95 {ages[1]} ms"


def _reliability_table(record: Record) -> Table:
    table = Table("quality", "masks", "promised", "kept", "refitted: masks", "promised", "kept")
    refit = record["reliability_refit"] or [None] * len(record["reliability"])
    for shipped, again in zip(record["reliability"], refit, strict=True):
        low, high = shipped["quality"]
        table.add_row(f"{low:.1f}-{high:.1f}", *_promise(shipped), *_promise(again))
    return table


def _promise(part: Record | None) -> tuple[str, str, str]:
    if part is None:
        return "", "", ""
    return str(part["masks"]), _number(part["mean_quality"], ".3f"), _number(part["good_share"], ".3f")


def _stills_table(record: Record) -> Table:
    table = Table("things", "number", "box mIoU", "click mIoU")
    stills = record["stills"]
    for name, figures in stills["by_size"].items():
        table.add_row(name, str(figures["instances"]), *_ious(figures))
    table.add_section()
    table.add_row(f"all, on {stills['pictures']} pictures", str(stills["instances"]), *_ious(record))
    return table


def _ious(figures: Record) -> tuple[str, str]:
    return _number(figures["box_mIoU"], ".3f"), _number(figures["click_mIoU"], ".3f")


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)
