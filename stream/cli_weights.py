"""`maskstream weights list | pull NAME | verify [NAME]`."""

from __future__ import annotations

from maskstream.model import weights
from maskstream.model.weights import WeightsState, WeightsStatus
from rich.console import Console
from rich.table import Table

from .console import EXIT_BROKEN, EXIT_OK, paper, say
from .display import download_view


def weights_command(action: str, name: str | None) -> int:
    """Do it and show the outcome; 1 where a file in the cache is altered."""
    if action == "pull":
        return _pull(str(name))
    statuses = weights.list_weights() if action == "list" else weights.verify(name)
    paper().print(_table(statuses, with_origin=action == "list"))
    altered = [status for status in statuses if status.state is WeightsState.ALTERED]
    for status in altered:
        say(f"{status.path} {status.flaw}; fetch it again: maskstream weights pull {status.known.name}")
    return EXIT_BROKEN if altered else EXIT_OK


def _pull(name: str) -> int:
    with download_view(Console(stderr=True)) as progress:
        path = weights.pull(name, progress, notify=say)
    paper().print(f"{name}: {path}", soft_wrap=True)
    return EXIT_OK


def _table(statuses: list[WeightsStatus], *, with_origin: bool) -> Table:
    table = Table(box=None, show_header=False)
    for column in range(3):
        table.add_column(overflow="fold", no_wrap=column < 2)
    for status in statuses:
        known, state = status.known, status.state.value + (", default" if status.is_default else "")
        table.add_row(known.name, state, str(status.path))
        if with_origin:
            table.add_row("", "", known.description)
            table.add_row("", "", f"licence {known.licence}; from {known.source}")
    return table
