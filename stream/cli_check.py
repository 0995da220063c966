"""`maskstream run --check`: is all in place? Says what would run, or what is wrong, as the run would."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from .config import Config, ModelConfig
from .console import EXIT_OK, paper
from .fleet_config import StreamSetup, check_streams
from .lookout import make_metrics
from .prompts import PromptPart, schedule_prompts
from .runner import check_request, open_source_of
from .types import StreamInfo
from .urls import redact

Facts = dict[str, Any]  # plain values


def check_command(setups: Sequence[StreamSetup], *, as_json: bool) -> int:
    """Check, then print what would run.

    Raises:
        InputError: something cannot be done as asked.
    """
    facts = check(setups)
    if as_json:
        sys.stdout.write(json.dumps({"ok": True, **facts}) + "\n")
    else:
        paper().print(_table(facts))
    return EXIT_OK


def check(setups: Sequence[StreamSetup]) -> Facts:
    """What would run. Files are opened, and closed again; no network is asked, no camera switched on.

    Raises:
        InputError: something cannot be done as asked.
    """
    shared = setups[0].config
    if len(setups) > 1:
        check_streams(setups)
    streams = [_stream(setup) for setup in setups]
    metrics = make_metrics(shared)
    if metrics is not None:
        metrics.check()
    return {
        "streams": streams,
        "model": _model(shared.model),
        "metrics": None if metrics is None else str(metrics.address),
    }


def _stream(setup: StreamSetup) -> Facts:
    config = setup.config
    parts, _, _ = check_request(config)
    info = _look_at(config)
    if info is not None:
        _check_prompts(parts, info)
    return {
        **({"name": setup.name} if setup.name else {}),
        "source": redact(str(config.source)),
        "picture": "known when it is connected" if info is None else _picture(info),
        "prompts": list(map(str, config.prompt_specs)),
        "sinks": list(config.sink_specs),
        "control": config.control,
    }


def _look_at(config: Config) -> StreamInfo | None:
    """What is known of a source that can be looked at without disturbing anybody."""
    from .sources import check_spec

    if not check_spec(str(config.source)):
        return None
    with open_source_of(config) as source:
        return source.info


def _check_prompts(parts: Sequence[PromptPart], info: StreamInfo) -> None:
    schedule_prompts(parts, (info.height_px, info.width_px))


def _picture(info: StreamInfo) -> str:
    rate = f", {float(info.frame_rate):.4g} frames/s" if info.frame_rate else ""
    return f"{info.width_px}x{info.height_px} px{rate}{', live' if info.is_live else ''}"


def _model(model: ModelConfig) -> Facts:
    # Here and not above: torch takes a second to import, which a typing error should not cost.
    from maskstream.model.checkpoint import load_model
    from maskstream.model.engine_choice import choose_engine
    from maskstream.model.predictor import resolve_device
    from maskstream.model.weights import find

    device = resolve_device(model.device)
    engine = choose_engine(model.engine, device)
    weights = find(model.weights, notify=lambda sentence: None)
    if weights is not None:
        load_model(weights)
    named = model.weights or "the first that can be had"
    return {
        "weights": f"{named}: would be fetched" if weights is None else str(weights),
        "device": str(device),
        "engine": engine,
        "size": model.size,
    }


def _table(facts: Facts) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(name, value)
    return table


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    for stream in facts["streams"]:
        for name, value in stream.items():
            for text in value if isinstance(value, list) else [value]:
                if text is not None:
                    yield name.removesuffix("s") if isinstance(value, list) else name, str(text)
    model = facts["model"]
    yield "networks", f"{model['engine']} on {model['device']}, size {model['size']} px"
    yield "weights", model["weights"]
    if facts["metrics"] is not None:
        yield "metrics", f"http://{facts['metrics']}/metrics"
    yield "all is in place", "nothing was started"
