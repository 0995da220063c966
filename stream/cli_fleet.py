"""`maskstream run` with several streams: starts them, shows them, says what became of each; the exit code."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from maskstream.model.errors import MaskstreamError
from rich.console import Console

from .cli_fleet_view import FleetView
from .cli_run import Interrupts, undisturbed
from .console import EXIT_BROKEN, EXIT_INPUT, EXIT_OK, paper
from .display import download_view, summary_view
from .fleet import Fleet, StreamRun
from .fleet_config import StreamSetup
from .logs import log_event, note

log = logging.getLogger("maskstream")

_REDRAW_S = 0.25
_LOOK_S = 0.05  # how often it is looked whether a signal came


def fleet_command(setups: Sequence[StreamSetup], *, as_json: bool, is_quiet: bool = False) -> int:
    """Run several streams, show how they are getting on unless quiet, say what happened; the exit code."""
    screen = Console(stderr=True, quiet=is_quiet)
    with download_view(screen) as progress:
        fleet = Fleet(setups, notify=note, progress=progress)
    for setup in setups:
        if not setup.config.sinks:
            note(f"{setup.name}: no --sink given, so its masks are computed and go nowhere")
    with undisturbed():
        interrupts = _conduct(fleet, screen)
    _raise_defect(fleet)
    if as_json:
        records = {"streams": [_record(stream) for stream in fleet.streams]}
        sys.stdout.write(json.dumps(records) + "\n")
    else:
        for stream in fleet.streams:
            summary = stream.summary()
            paper().print(f"{stream.name}: never begun" if summary is None else summary_view(summary))
    return _exit_code(fleet, interrupts)


def _conduct(fleet: Fleet, screen: Console) -> Interrupts:
    """Let all run to their ends, whatever these are; who fails is named at once."""
    told: set[str] = set()
    with Interrupts(fleet.hurry) as interrupts, FleetView(screen) as view:
        fleet.start()
        drawn_s = 0.0
        try:
            while not fleet.wait(_LOOK_S):
                interrupts.apply(fleet)
                if time.monotonic() >= drawn_s + _REDRAW_S:
                    drawn_s = time.monotonic()
                    view.update(fleet.streams)
                    _tell_failures(fleet, told)
        finally:
            fleet.close()
    _tell_failures(fleet, told)
    return interrupts


def _tell_failures(fleet: Fleet, told: set[str]) -> None:
    for name, error in fleet.errors.items():
        if name not in told:
            told.add(name)
            log_event(log, logging.ERROR, "error", f"stream {name}: {error}", source=name)


def _raise_defect(fleet: Fleet) -> None:
    for error in fleet.errors.values():
        if not isinstance(error, MaskstreamError):
            raise error  # a defect: its traceback is what a bug report needs


def _record(stream: StreamRun) -> dict[str, Any]:
    summary = stream.summary()
    record: dict[str, Any] = {"name": stream.name}
    if stream.error is not None:
        record["error"] = str(stream.error)
    return record if summary is None else {**record, **summary.as_dict()}


def _exit_code(fleet: Fleet, interrupts: Interrupts) -> int:
    if fleet.errors:
        none_began = all(stream.run is None for stream in fleet.streams)
        return EXIT_INPUT if none_began else EXIT_BROKEN
    return 128 + interrupts.signal_number if interrupts.count else EXIT_OK
