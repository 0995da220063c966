"""Joins a run to those who look after it: the watchdog, the log of its states, metrics and health."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from .config import Config
from .health import Roster
from .logs_state import StateLog
from .pipeline import Pipeline
from .summary import Tally
from .watchdog import Patience, Watchdog

if TYPE_CHECKING:
    from .metrics_server import MetricsServer


class Lookout:
    """Whoever looks after one run. Open it first of all: that a source is waited for can be seen then.

    Args:
        config: of the run.
        roster: where the run is listed, if several have one; None: it is served as `config.metrics` says.

    Raises:
        ConfigError: the address for metrics is malformed.
    """

    def __init__(self, config: Config, roster: Roster | None = None) -> None:
        self._config = config
        self._server = make_metrics(config) if roster is None else None
        self._roster = self._server.roster if self._server is not None else roster

    def open(self) -> None:
        """Serve metrics, if they are this run's own.

        Raises:
            ConfigError: the address is in use.
        """
        if self._server is not None:
            self._server.open()

    def join(self, name: str, pipeline: Pipeline, tally: Tally, leave_out: Collection[str] = ()) -> None:
        """Look after this pipeline from its start to its close.

        Args:
            name: the stream's, without passwords.
            pipeline: not started yet.
            tally: of its results.
            leave_out: sinks that may take as long as they like for a frame.
        """
        watchdog = Watchdog(
            name,
            pipeline,
            patience_of(self._config),
            end=self._config.watchdog.end,
            leave_out=leave_out,
            also=[StateLog(name, pipeline).look],
        )
        pipeline.accompany(watchdog.open, watchdog.close)
        if self._roster is not None:
            self._roster.add(name, pipeline, tally, watchdog)
        pipeline.accompany(None, self.close)

    def close(self) -> None:
        """Serve no longer. May be called twice."""
        if self._server is not None:
            self._server.close()


def make_metrics(config: Config) -> MetricsServer | None:
    """The server that a config asks for.

    Raises:
        ConfigError: its address is malformed.
    """
    if config.metrics is None:
        return None
    from .metrics_server import MetricsServer  # not above: most runs need none

    return MetricsServer(config.metrics)


def patience_of(config: Config) -> Patience:
    """How long stages may take; a source has its own time-outs, and is stuck when they did not strike."""
    own_s = max(config.read_timeout_s, config.connect_timeout_s + config.reconnect.longest_delay_s)
    watchdog = config.watchdog
    return Patience(watchdog.after_s, watchdog.first_frame_s, own_s + watchdog.after_s)
