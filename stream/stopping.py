"""How a run is ended from outside, be it one pipeline or several."""

from __future__ import annotations

from typing import Protocol


class Stoppable(Protocol):
    """A Pipeline, or several."""

    def stop(self) -> None:
        """End early, and write what is in flight. Returns at once."""

    def abort(self) -> None:
        """End now. Returns at once."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, at most so long; True if so."""
        ...


def stop_and_wait(run: Stoppable) -> None:
    """Stop a run and wait for its end; a Ctrl-C meanwhile aborts it."""
    run.stop()
    try:
        run.wait()
    except KeyboardInterrupt:
        run.abort()
        run.wait()
        raise
