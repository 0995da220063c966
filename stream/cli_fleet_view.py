"""What a person at a terminal sees of several streams: a line for each while they run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from .display import live_line
from .fleet import StreamRun


class FleetView:
    """Shows how each stream is getting on, on lines rewritten in place, where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._shown = console.is_terminal

    def __enter__(self) -> FleetView:
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def update(self, streams: Sequence[StreamRun]) -> None:
        """Show these; meant to be called a few times a second."""
        if self._shown:
            lines = (Text(stream_line(stream), no_wrap=True, overflow="ellipsis") for stream in streams)
            self._live.update(Group(*lines), refresh=True)


def stream_line(stream: StreamRun) -> str:
    """`door: 29.8 frames/s | latency ...`, or how it ended."""
    if stream.error is not None:
        return f"{stream.name}: {stream.error}"
    if stream.run is None:
        return f"{stream.name}: {'stopped' if stream.is_over else 'opening'}"
    if stream.is_over:
        return f"{stream.name}: ended"
    return f"{stream.name}: {live_line(stream.run.pipeline.report(), stream.run.tally.objects())}"
