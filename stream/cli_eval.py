"""`maskstream eval`: scores videos and pictures whose truth is known, and prints what came out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .cli_eval_options import EvalRequest
from .cli_eval_tables import eval_view
from .console import EXIT_OK, paper, say
from .costs import Realtime
from .display import download_view
from .doctor import stamp
from .evaluate import Job, OnFrames, evaluate
from .evaluate_calibration import fitted_table, promises_of
from .evaluate_data import LabelledSequence, find_sequences
from .evaluate_networks import Networks, choose_networks
from .evaluate_output import EvaluationFolder, json_bytes
from .evaluate_report import realtime_record, video_record
from .evaluate_scores import SequenceScores
from .evaluate_stills import Still, find_stills, score_still, stills_record
from .mask_sink import write_whole
from .records import Record
from .targets import check_file


def eval_command(request: EvalRequest) -> int:
    """Score what was asked for, show how it is getting on, print the figures; the exit code."""
    sequences, stills = _find(request)
    folder = _checked_outputs(request)
    screen = Console(stderr=True)
    networks = _choose_networks(request, screen)
    settings = _settings(request, networks)
    if folder:
        folder.begin(settings, [sequence.name for sequence in sequences])
    record: Record = {}
    if sequences:
        record.update(_videos(request, sequences, networks, folder, screen))
    if stills:
        record.update(_stills(stills, networks, folder, screen))
    record.update(settings)
    if folder:
        folder.finish(record)
    _print(record, request)
    return EXIT_OK


def _choose_networks(request: EvalRequest, screen: Console) -> Networks:
    with download_view(screen) as progress:
        return choose_networks(request.model, progress, lambda sentence: say(f"note: {sentence}"))


def _find(request: EvalRequest) -> tuple[list[LabelledSequence], list[Still]]:
    sequences = request.dataset and find_sequences(
        request.dataset,
        names_file=request.sequences,
        resolution=request.resolution,
        max_frames=request.max_frames,
    )
    stills = request.stills and find_stills(request.stills, request.max_frames)
    return sequences or [], stills or []


def _checked_outputs(request: EvalRequest) -> EvaluationFolder | None:
    if request.fit_quality:
        check_file(request.fit_quality)
    if request.out is None:
        return None
    folder = EvaluationFolder(request.out)
    folder.check()
    return folder


def _settings(request: EvalRequest, networks: Networks) -> Record:
    return {
        "command": request.command,
        "seed": request.seed,
        "max_frames": request.max_frames,
        "workers": request.workers,
        **networks.record(),
        **stamp(),
    }


def _videos(
    request: EvalRequest,
    sequences: Sequence[LabelledSequence],
    networks: Networks,
    folder: EvaluationFolder | None,
    screen: Console,
) -> Record:
    jobs = [
        Job(sequence, request.seed, folder.predictions_of(sequence.name) if folder else None)
        for sequence in sequences
    ]
    realtime = _realtime(request, networks, sequences[0])
    frames = sum(len(sequence.pictures) for sequence in sequences)
    with _progress(screen, "frames", frames) as advance:
        scores = list(
            evaluate(
                jobs,
                networks.segmenters(request.workers, realtime),
                workers=request.workers,
                on_frames=advance,
            )
        )
    if folder:
        folder.write_video(sequences, scores)
    if request.fit_quality:
        _write_table(request.fit_quality, scores, request)
    record = video_record(scores)
    return record if realtime is None else {**record, "realtime": realtime_record(scores, realtime)}


def _realtime(request: EvalRequest, networks: Networks, sequence: LabelledSequence) -> Realtime | None:
    """What a live stream is taken for, if one is; its costs are measured before other work disturbs them."""
    if request.realtime is None:
        return None
    if request.costs is not None:
        return Realtime(request.realtime, request.costs)
    return Realtime(request.realtime, networks.measure_costs(sequence, request.realtime), are_measured=True)


def _write_table(path: Path, scores: Sequence[SequenceScores], request: EvalRequest) -> None:
    promises = promises_of(scores)
    if not promises:
        say("note: no masks to learn quality from, so no table is written")
        return
    origin = {"masks": len(promises), "sequences": len(scores), "command": request.command}
    write_whole(path, json_bytes({**asdict(fitted_table(promises)), **origin}))


def _stills(
    stills: Sequence[Still], networks: Networks, folder: EvaluationFolder | None, screen: Console
) -> Record:
    encode = networks.stills()
    scores = []
    with _progress(screen, "pictures", len(stills)) as advance:
        for still in stills:
            scores += score_still(still, encode)
            advance(1)
    if folder:
        folder.write_stills(scores)
    return stills_record(scores)


@contextmanager
def _progress(screen: Console, what: str, total: int) -> Iterator[OnFrames]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _print(record: Record, request: EvalRequest) -> None:
    if request.as_json:
        sys.stdout.write(json.dumps(record, allow_nan=False) + "\n")
        return
    paper().print(eval_view(record))
    if request.out:
        paper().print(f"wrote {request.out}", soft_wrap=True)
