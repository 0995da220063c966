"""Would an output destroy what the run reads, or another output? Asked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskstream.model.errors import SinkError

from .mask_sink import LINES, MANIFEST, PICTURES
from .zmq_endpoint import full_endpoint


def check_places(specs: Sequence[str], inputs: Sequence[Path]) -> None:
    """See that each sink has a place of its own, and that none of them is an input's.

    Args:
        specs: `KIND=TARGET` of all sinks.
        inputs: files and folders that the run reads.

    Raises:
        SinkError: two sinks write to one place, or one would overwrite an input.
    """
    places: dict[Path | str, str] = {}
    for spec in specs:
        place = place_of(spec)
        if place in places:
            raise SinkError(f"{places[place]} and {spec} write to one place; give each its own")
        places[place] = spec
        if isinstance(place, Path):
            _check_inputs(spec, place, inputs)


def place_of(spec: str) -> Path | str:
    """Where a sink writes: the full path of a file or folder, or an endpoint."""
    kind, _, target = spec.partition("=")
    if kind == "zmq":
        return full_endpoint(target.partition("?")[0])
    if kind == "masks":
        target = target.partition("?")[0]
    return Path(target).expanduser().resolve()


def _check_inputs(spec: str, place: Path, inputs: Sequence[Path]) -> None:
    is_folder, is_there = spec.startswith("masks="), place.exists()
    for path in inputs:
        is_same = is_there and path.exists() and place.samefile(path)
        if is_same or (is_folder and _is_replaced(path.resolve(), place)):
            raise SinkError(f"{spec} would overwrite {path}, which this run reads; choose another place")


def _is_replaced(path: Path, folder: Path) -> bool:
    """Whether `path` is among the mask files that a run into `folder` replaces."""
    return (folder / PICTURES) in path.parents or path in (folder / LINES, folder / MANIFEST)
