"""`maskstream run`: conducts a run at a terminal, from the first check to the exit code."""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from maskstream.model.errors import MaskstreamError
from rich.console import Console

from .config import Config
from .console import EXIT_BROKEN, EXIT_OK, paper
from .display import LiveView, download_view, summary_view
from .logs import log_event, note
from .logs_run import log_end, log_start
from .runner import Run, prepare
from .stopping import Stoppable

log = logging.getLogger("maskstream")

_REDRAW_S = 0.25
_LOOK_S = 0.05  # how often it is looked whether a signal came
_DRAIN_S = 1.2  # after one: how long what is in flight may take to be written
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is a terminal that was closed; Windows has none
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Interrupts:
    """Takes Ctrl-C, SIGTERM and SIGHUP while a pipeline runs: the first one stops it, the second aborts it.

    The handlers only count, and tell how long what is to come may take. What a signal means is done between
    two looks at the pipeline, where no lock of its own is held. A third one gets the default treatment.

    Args:
        hurry: called in the handler of the first one, with the time in s until all should have ended.
    """

    def __init__(self, hurry: Callable[[float], None] | None = None) -> None:
        self._hurry = hurry
        self.count = 0
        self.signal_number = 0
        self._applied = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            is_ignored = signal.getsignal(number) is signal.SIG_IGN  # by nohup, for instance
            if number == signal.SIGINT or not is_ignored:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def apply(self, pipeline: Stoppable) -> None:
        """Pass on what has come so far."""
        if self.count == self._applied:
            return
        self._applied = self.count
        if self.count == 1:
            note("stopping; what is in flight is still written (once more: stop at once)")
            pipeline.stop()
        else:
            pipeline.abort()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.signal_number = number
        if self.count == 1 and self._hurry is not None:
            self._hurry(_DRAIN_S)
        if self.count > 2:
            raise KeyboardInterrupt


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps from live runs what would make them late once in a while."""
    import cv2  # it is loaded by now

    cv2.setNumThreads(1)  # helpers would wait for cores that the networks keep busy
    gc.freeze()  # to look through all that PyTorch is made of takes a third of a second
    try:
        yield
    finally:
        gc.unfreeze()


def run_command(config: Config, *, as_json: bool, is_quiet: bool = False) -> int:
    """Run a Config, show how it is getting on unless quiet, say what happened; the exit code."""
    screen = Console(stderr=True, quiet=is_quiet)
    with download_view(screen) as progress:
        run = prepare(config, notify=note, progress=progress)
    if not config.sinks:
        note("no --sink given, so the masks are computed and go nowhere")
    log_start(run, config)
    with undisturbed() if run.info.is_live else nullcontext():
        interrupts = _conduct(run, screen)
    summary = run.summary(stopped=interrupts.count > 0)
    log_end(summary)
    if as_json:
        sys.stdout.write(json.dumps(summary.as_dict()) + "\n")
    else:
        paper().print(summary_view(summary))
    return _exit_code(run.pipeline.error, interrupts)


def _conduct(run: Run, screen: Console) -> Interrupts:
    """Let it run to its end, whatever that is."""
    with Interrupts(run.pipeline.hurry) as interrupts, LiveView(run.info, screen) as view:
        run.pipeline.start()
        drawn_s = 0.0
        try:
            while not run.pipeline.wait(_LOOK_S):
                interrupts.apply(run.pipeline)
                if time.monotonic() >= drawn_s + _REDRAW_S:
                    drawn_s = time.monotonic()
                    view.update(run.pipeline.report(), run.tally.objects())
        finally:
            run.pipeline.close()
    return interrupts


def _exit_code(error: BaseException | None, interrupts: Interrupts) -> int:
    if error is not None:
        if not isinstance(error, MaskstreamError):
            raise error  # a defect: its traceback is what a bug report needs
        log_event(log, logging.ERROR, "error", str(error))
        return EXIT_BROKEN
    return 128 + interrupts.signal_number if interrupts.count else EXIT_OK
