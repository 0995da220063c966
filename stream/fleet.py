"""Several streams in one process, on one set of networks. What befalls one of them is its own affair.

with Fleet(load_streams("cameras.yaml")) as fleet:
    fleet.wait()
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from .config import Config
from .fleet_config import StreamSetup, check_streams
from .health import Roster
from .logs_run import log_end, log_start
from .lookout import make_metrics
from .runner import Inputs, OnResult, Run, prepare
from .stopping import stop_and_wait
from .summary import RunSummary
from .types import Frame, FrameResult

Notify = Callable[[str], None]  # takes one plain sentence for the user
Progress = Callable[[str, int, int | None], None]  # what is being fetched, bytes so far, bytes in all

_POLL_S = 0.05  # how often a waiting caller looks whether all have ended


class Networks(Protocol):
    """What streams share; see `fleet_networks.SharedNetworks`."""

    def segmenter(self, name: str, config: Config, inputs: Inputs) -> Callable[[Frame], FrameResult]:
        """A segmenter for a new stream; any thread."""

    def leave(self, name: str) -> None:
        """A stream has ended; any thread."""

    def close(self) -> None:
        """All have ended."""


class StreamRun:
    """One stream of several: opened, run and ended in threads of its own.

    Args:
        setup: its name and what to run.
        networks: shared with the others.
        roster: where it is listed for metrics and health.
        notify: takes sentences for the user, from any thread.
        on_result: called with each result in the stream's own thread for that; it must be quick.
    """

    def __init__(
        self,
        setup: StreamSetup,
        networks: Networks,
        roster: Roster,
        notify: Notify,
        on_result: OnResult | None = None,
    ) -> None:
        self.name, self.config = setup.name, setup.config
        self.run: Run | None = None  # from the moment it is open
        self.error: BaseException | None = None  # what it ended with
        self._networks, self._roster, self._notify = networks, roster, notify
        self._on_result = on_result
        self._lock = threading.Lock()
        self._is_stopped = False
        self._over = threading.Event()
        # A daemon, so that a camera that never answers cannot keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._conduct, name=f"stream {self.name}", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, however."""
        return self._over.is_set()

    @property
    def was_stopped(self) -> bool:
        """Whether somebody wanted it to end."""
        return self._is_stopped

    def start(self) -> None:
        """Begin to open it. Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End early; what is in flight is still written. Returns at once."""
        self._end(lambda run: run.pipeline.stop())

    def hurry(self, within_s: float) -> None:
        """See `Pipeline.hurry`; called in a signal's handler."""
        if self.run is not None:
            self.run.pipeline.hurry(within_s)

    def abort(self) -> None:
        """End now. Returns at once."""
        self._end(lambda run: run.pipeline.abort())

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, at most `timeout_s`; True if it has come."""
        return self._over.wait(timeout_s)

    def summary(self) -> RunSummary | None:
        """What happened; None where it was never open."""
        return None if self.run is None else self.run.summary(stopped=self._is_stopped)

    def _end(self, how: Callable[[Run], None]) -> None:
        with self._lock:
            if self.is_over:
                return
            self._is_stopped, run = True, self.run
        if run is None:
            self._over.set()  # opening may go on for long, and nobody waits for it any more
        else:
            how(run)

    def _conduct(self) -> None:
        try:
            run = prepare(
                self.config,
                on_result=self._on_result,
                notify=lambda sentence: self._notify(f"{self.name}: {sentence}"),
                source_id=self.name,
                load_segmenter=lambda config, inputs: self._networks.segmenter(self.name, config, inputs),
                roster=self._roster,
            )
            self._run(run)
        except BaseException as error:  # the caller decides what it means: the others go on
            self.error = error
            self._roster.missed(self.name)
        finally:
            self._networks.leave(self.name)
            self._over.set()

    def _run(self, run: Run) -> None:
        try:
            with self._lock:
                if self._is_stopped:
                    return
                self.run = run
            log_start(run, self.config)
            run.pipeline.start()
            run.pipeline.wait()
        finally:
            run.pipeline.close()
            if self.run is not None:
                log_end(run.summary(stopped=self._is_stopped))
        if run.pipeline.error is not None:
            raise run.pipeline.error


class Fleet:
    """Runs several streams to their ends. One that cannot be opened, fails or ends leaves the others alone.

    Args:
        setups: the streams, see load_streams().
        networks: shared by all; loaded as the streams say, if not given.
        notify: takes sentences for the user, from any thread; the log, if not given.
        progress: takes what is being fetched, bytes so far, and bytes in all.
        on_result: called with each result, whose frame names its stream, in a thread of that stream.

    Raises:
        InputError: something cannot be done as asked, whatever becomes of the sources; nothing was written.
    """

    def __init__(
        self,
        setups: Sequence[StreamSetup],
        *,
        networks: Networks | None = None,
        notify: Notify | None = None,
        progress: Progress | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        notify = notify or _log_sentence
        check_streams(setups)
        self._metrics = make_metrics(setups[0].config)
        if self._metrics is not None:
            self._metrics.check()
        roster = Roster() if self._metrics is None else self._metrics.roster
        for setup in setups:
            roster.expect(setup.name)
        self._networks = networks or _shared_networks(setups, notify, progress)
        self.streams = tuple(StreamRun(setup, self._networks, roster, notify, on_result) for setup in setups)

    def start(self) -> None:
        """Begin all. Returns at once.

        Raises:
            ConfigError: metrics cannot be served where they should.
        """
        if self._metrics is not None:
            self._metrics.open()
        for stream in self.streams:
            stream.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all have ended, at most `timeout_s`; True if so. Raises none of their errors."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for stream in self.streams:
            while not stream.wait(_POLL_S):  # in small steps, so that Ctrl-C is heard
                if deadline is not None and time.monotonic() >= deadline:
                    return False
        return True

    def stop(self) -> None:
        """End all early; what is in flight is still written. Returns at once."""
        for stream in self.streams:
            stream.stop()

    def hurry(self, within_s: float) -> None:
        """See `Pipeline.hurry`; called in a signal's handler."""
        for stream in self.streams:
            stream.hurry(within_s)

    def abort(self) -> None:
        """End all now. Returns at once."""
        for stream in self.streams:
            stream.abort()

    def close(self) -> None:
        """Stop and wait; a Ctrl-C meanwhile aborts. May be called twice."""
        try:
            stop_and_wait(self)
        finally:
            if self._metrics is not None:
                self._metrics.close()
            self._networks.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def errors(self) -> dict[str, BaseException]:
        """What streams ended with, by name; those that ended well are not in it."""
        return {stream.name: stream.error for stream in self.streams if stream.error is not None}


def _shared_networks(setups: Sequence[StreamSetup], notify: Notify, progress: Progress | None) -> Networks:
    # Here and not above: torch takes a second to import, which a typing error should not cost.
    from .fleet_networks import find_networks

    return find_networks(setups[0].config.model, len(setups), notify, progress)


def _log_sentence(sentence: str) -> None:
    import logging

    logging.getLogger("maskstream").warning(sentence)
