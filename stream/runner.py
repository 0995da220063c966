"""Builds the pipeline that a Config describes: first everything that can be refused, then what takes time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from maskstream.model.errors import ConfigError, PromptError

from .agenda import Agenda
from .commands import Command, Show
from .config import Config, ModelConfig, QueueConfig
from .lookout import Lookout
from .pipeline import FILE_PLAN, LIVE_PLAN, Pipeline, QueuePlan
from .prompts import PromptPart, parse_prompts, schedule_prompts
from .queues import Overflow
from .spec_options import path, split_options
from .summary import RunSummary, Tally, summarise
from .types import Frame, FrameResult, StreamInfo

if TYPE_CHECKING:
    from maskstream.model.predictor import Predictor
    from maskstream.model.weights import Notify, Progress

    from .control_server import ControlServer
    from .fleet_gate import Turn
    from .health import Roster
    from .run_controls import RunControls
    from .sinks import Sink
    from .source_base import BaseSource

OnResult = Callable[[FrameResult], None]
LoadSegmenter = Callable[[Config, "Inputs"], Callable[[Frame], FrameResult]]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a run was asked for, open and checked. Nothing has been written, no network loaded."""

    source: BaseSource
    sinks: tuple[Sink, ...]
    agenda: Agenda
    control: ControlServer | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A pipeline ready to start, and what counts its results."""

    info: StreamInfo
    pipeline: Pipeline
    tally: Tally
    inputs: Inputs
    controls: RunControls

    def summary(self, stopped: bool = False) -> RunSummary:
        """What happened; `stopped` says that somebody wanted it to end."""
        odd = self.inputs.source.status().counts.notes()
        return summarise(
            self.info,
            self.tally,
            self.pipeline.report(),
            error=self.pipeline.error,
            stopped=stopped or self.controls.was_shut_down,
            schedule=self.inputs.agenda.schedule,
            notes=(*odd, *self.inputs.agenda.refusals),
        )


def prepare(
    config: Config,
    *,
    extra_sinks: Sequence[Sink] = (),
    extra_commands: Sequence[Command] = (),
    steered: bool = False,
    on_result: OnResult | None = None,
    notify: Notify | None = None,
    progress: Progress | None = None,
    source_id: str | None = None,
    load_segmenter: LoadSegmenter | None = None,
    roster: Roster | None = None,
) -> Run:
    """Check everything, load the networks, join the parts.

    Args:
        config: what to run.
        extra_sinks: beside those of the config.
        extra_commands: beside the prompts of the config.
        steered: objects may come later by way of `Run.inputs.agenda`, so that none need be shown now.
        on_result: called with each result in the segmenter's thread.
        notify: takes sentences about weights and connections, from any thread; the log, if not given.
        progress: takes what is being fetched, bytes so far, and bytes in all.
        source_id: the stream's name in messages; derived from the source, if not given.
        load_segmenter: where the networks are not this run's own.
        roster: where the run is listed for metrics and health; None: it serves its own, if asked for.

    Raises:
        InputError: something cannot be done as asked.
    """
    lookout = Lookout(config, roster)
    with ExitStack() as undo:
        undo.callback(lookout.close)
        lookout.open()
        inputs = open_inputs(config, extra_commands, steered=steered, notify=notify, source_id=source_id)
        undo.callback(inputs.source.close)
        inputs.source.standby()
        if load_segmenter is None:
            segmenter = _load_segmenter(config, inputs, notify, progress)
        else:
            segmenter = load_segmenter(config, inputs)
        undo.pop_all()
    tally = Tally()

    def count(result: FrameResult) -> None:
        tally.add(result)
        controls.saw(result)
        if on_result:
            on_result(result)

    info, extra_names = inputs.source.info, [type(sink).__name__ for sink in extra_sinks]
    pipeline = Pipeline(
        inputs.source,
        segmenter,
        (*inputs.sinks, *extra_sinks),
        plan=queue_plan(config.queue, info.is_live),
        on_result=count,
        sink_names=(*config.sink_specs, *extra_names),
    )
    lookout.join(info.source_id, pipeline, tally, leave_out=extra_names)
    from .run_controls import RunControls  # not above: see check_sinks about OpenCV

    controls = RunControls(info, inputs.agenda, pipeline)
    pipeline.accompany(None, controls.close)
    if inputs.control is not None:
        pipeline.accompany(partial(inputs.control.open, controls), inputs.control.close)
    return Run(info, pipeline, tally, inputs, controls)


def open_inputs(
    config: Config,
    extra_commands: Sequence[Command] = (),
    *,
    steered: bool = False,
    notify: Notify | None = None,
    source_id: str | None = None,
) -> Inputs:
    """Open the source and see that prompts and outputs fit it. Cheap checks first, the network last.

    Raises:
        InputError: something cannot be done as asked.
    """
    parts, sinks, control = check_request(config, is_steered=steered or bool(extra_commands))
    source = open_source_of(config, notify, source_id)
    try:
        picture_hw = (source.info.height_px, source.info.width_px)
        for command in extra_commands:
            if isinstance(command, Show):
                command.prompt.check_inside(picture_hw)
        agenda = Agenda(schedule_prompts(parts, picture_hw, extra_commands))
    except BaseException:
        source.close()
        raise
    return Inputs(source, sinks, agenda, control)


def check_request(
    config: Config, *, is_steered: bool = False
) -> tuple[tuple[PromptPart, ...], tuple[Sink, ...], ControlServer | None]:
    """What can be seen before the source is open: prompts, sinks and where the run is steered, checked.

    Args:
        config: what to run.
        is_steered: objects are shown by other means, so that no prompt is needed.

    Raises:
        InputError: something cannot be done as asked.
    """
    if config.source is None:
        raise ConfigError("no source: give --source FILE, URL or camera number, or `source:` in the YAML")
    parts = parse_prompts(config.prompt_specs)
    control = None if config.control is None else make_control(config.control)
    if not parts and not is_steered and control is None:
        raise PromptError("no prompt: say what to track, for example --prompt 1:box=100,80,300,400")
    masks = [part.path for part in parts if part.path]
    return parts, check_sinks(config.sink_specs, str(config.source), masks), control


def queue_plan(queue: QueueConfig, is_live: bool) -> QueuePlan:
    """What suits the source, overridden by what the config says."""
    plan = LIVE_PLAN if is_live else FILE_PLAN
    return QueuePlan(
        queue.capacity or plan.capacity,
        queue.sink_capacity or plan.sink_capacity,
        Overflow(queue.overflow) if queue.overflow else plan.overflow,
    )


def run(config: Config, on_result: OnResult | None = None) -> RunSummary:
    """Run a Config from beginning to end.

    Raises:
        InputError: something cannot be done as asked; nothing was written.
        StreamBrokenError: the source failed in the middle; what came before it was written.
    """
    ready = prepare(config, on_result=on_result)
    with ready.pipeline as pipeline:
        pipeline.join()
    return ready.summary()


def open_source_of(config: Config, notify: Notify | None = None, source_id: str | None = None) -> BaseSource:
    """The source, open.

    Raises:
        SourceError: it cannot be opened.
    """
    from .sources import open_source

    return open_source(
        str(config.source),
        source_id=source_id,
        connect_timeout_s=config.connect_timeout_s,
        read_timeout_s=config.read_timeout_s,
        max_frames=config.max_frames,
        realtime=config.realtime,
        picture_rate=config.picture_rate,
        options={key: str(value) for key, value in config.source_options.items()},
        max_staleness_ms=config.max_staleness_ms,
        reconnect=config.reconnect,
        notify=notify,
    )


def check_sinks(specs: Sequence[str], source: str, masks: Sequence[Path]) -> tuple[Sink, ...]:
    """The sinks, which will be able to write, and not over what the run reads; creates nothing.

    Raises:
        InputError: they cannot be made as asked.
    """
    # First of all, for it loads FFmpeg before OpenCV: opencv-python, the one with windows, has an X library
    # with which FFmpeg, if loaded later, crashes when it captures a screen.
    from .sources import files_of

    inputs = [*files_of(source), *masks]
    from .places import check_places
    from .sinks import make_sink

    sinks = tuple(make_sink(spec) for spec in specs)
    check_places(specs, inputs)
    for sink in sinks:
        sink.check()
    return sinks


def make_control(spec: str) -> ControlServer:
    """Where the run is to be steered; not open yet.

    Raises:
        InputError: it cannot be there.
    """
    from .control_server import ControlServer

    endpoint, options = split_options("control", spec, {"key": path, "clients": path})
    control = ControlServer(endpoint, **options)  # type: ignore[arg-type]
    control.check()
    return control


def _load_segmenter(
    config: Config,
    inputs: Inputs,
    notify: Notify | None,
    progress: Progress | None,
) -> Callable[[Frame], FrameResult]:
    # Here and not above: torch takes a second to import, which a typing error should not cost.
    from maskstream.model.predictor import resolve_device
    from maskstream.model.weights import resolve

    resolve_device(config.model.device)  # before a download, so that a typing error costs nothing
    weights = resolve(config.model.weights, progress, notify)
    predictor = load_networks(config.model, weights, inputs.source.info, notify)
    return make_segmenter(config, inputs, predictor)


def load_networks(model: ModelConfig, weights: Path, info: StreamInfo, notify: Notify | None) -> Predictor:
    """The networks, ready for a stream's pictures.

    Raises:
        InputError: they cannot be run as asked.
    """
    from maskstream.model.predictor import load_predictor, resolve_device

    return load_predictor(
        weights,
        resolve_device(model.device),
        model.size,
        engine=model.engine,
        threads=model.threads,
        original_hw=(info.height_px, info.width_px),
        notify=notify,
    )


def make_segmenter(
    config: Config, inputs: Inputs, predictor: Predictor, turn: Turn | None = None
) -> Callable[[Frame], FrameResult]:
    """What finds the objects of one stream.

    Args:
        config: what to run.
        inputs: of the stream.
        predictor: the networks.
        turn: waited for before a frame is worked on, where other streams use the networks too.
    """
    from maskstream.model.tracker_choice import make_tracker
    from maskstream.model.tracker_settings import TrackerSettings

    from .fleet_gate import InTurn
    from .ladder_live import live_ladder
    from .segmenter import Segmenter

    info = inputs.source.info
    hw = (info.height_px, info.width_px)
    settings = TrackerSettings(interaction=config.interaction, ask_every=config.decode_every)
    if info.is_live and config.ladder:
        return live_ladder(predictor, inputs.agenda, info.frame_rate, settings, turn or nullcontext, hw)
    segmenter = Segmenter(predictor, make_tracker(predictor, settings), inputs.agenda)
    segmenter.prepare(hw)
    return segmenter if turn is None else InTurn(segmenter, turn)
