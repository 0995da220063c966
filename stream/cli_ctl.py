"""`maskstream ctl`: steers a run from a terminal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from maskstream.model.errors import ConfigError, PromptError
from maskstream.model.types import Prompt
from rich.table import Table

from . import rle
from .console import EXIT_OK, paper
from .control_client import Controller
from .control_wire import Answer
from .keys import ClientKeys
from .prompts import parse_time_s, show_command


def ctl_command(options: argparse.Namespace) -> int:
    """Send one request, print its answer; the exit code.

    Raises:
        ControlError: it was refused, or not answered.
        InputError: it makes no sense.
    """
    keys = _keys(options)
    with Controller(options.endpoint, timeout_s=options.timeout, keys=keys) as controller:
        fields = _fields(options, controller)
        answer = controller.request(options.verb, fields, options.id)
    if options.json:
        sys.stdout.write(json.dumps(answer.values) + "\n")
    else:
        _show(options.verb, answer)
    return EXIT_OK


def _keys(options: argparse.Namespace) -> ClientKeys | None:
    if options.server_key is None and options.key is not None:
        raise ConfigError("--key needs --server-key, the public key of the run")
    return None if options.server_key is None else ClientKeys(options.server_key, options.key)


def _fields(options: argparse.Namespace, controller: Controller) -> dict[str, Any]:
    """What the request says beside its verb."""
    match options.verb:
        case "add" | "correct":
            return _prompt_fields(options, controller)
        case "remove":
            return {"object": options.object, **_when(options)}
        case "rename":
            return {"object": options.object, "new_object": options.new_object, **_when(options)}
        case "detections":
            boxes = [_box(text) for text in options.boxes]
            flags = {name: getattr(options, name) for name in ("least_iou", "refresh", "replace")}
            return {"boxes": boxes, **flags, **_when(options)}
    return {}


def _prompt_fields(options: argparse.Namespace, controller: Controller) -> dict[str, Any]:
    """A prompt fitted to the run's picture; masks are read here, and sent."""
    stream = controller.situation()
    shown = show_command(options.specs, (stream["height_px"], stream["width_px"]))
    when = _when(options)
    if shown.time_s is not None:
        if "pts" in when or "time_s" in when:
            raise PromptError("give the time once: as @TIME, --time or --pts")
        when["time_s"] = shown.time_s
    return {**_plain_prompt(shown.prompt), **when}


def _plain_prompt(prompt: Prompt) -> dict[str, Any]:
    points = prompt.points_xy.tolist()
    labels = prompt.point_labels.tolist()
    return {
        "object": prompt.object_id,
        "box": None if prompt.box_xyxy is None else prompt.box_xyxy.tolist(),
        "points": [point for point, label in zip(points, labels, strict=True) if label] or None,
        "negative": [point for point, label in zip(points, labels, strict=True) if not label] or None,
        "mask": None if prompt.mask is None else dict(rle.encode(prompt.mask)),
    }


def _when(options: argparse.Namespace) -> dict[str, Any]:
    when: dict[str, Any] = {"wait": False} if options.no_wait else {}
    if options.pts is not None:
        when["pts"] = options.pts
    if options.time is not None:
        try:
            when["time_s"] = parse_time_s(options.time)
        except ValueError as error:
            raise PromptError(f"--time: {error}") from None
    return when


def _box(text: str) -> list[float]:
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise PromptError(f"'{text}' is not a box: write x0,y0,x1,y1 in px")
    return numbers


def _show(verb: str, answer: Answer) -> None:
    """The answer for people."""
    out, values, effect = paper(), answer.values, answer.effect
    if effect is not None:
        objects = ", ".join(map(str, effect.object_ids)) or "none"
        out.print(f"from frame {effect.index} on (pts {effect.pts}), objects: {objects}")
    elif values.get("pending"):
        out.print(_pending_line(answer), soft_wrap=True)
    elif verb == "list":
        out.print(_stream_line(values))
        out.print(_objects_table(values["objects"]))
    elif verb == "metrics":
        for key, value in _flat(values):
            out.print(f"{key} {value}", soft_wrap=True)
    else:
        out.print("done")


def _pending_line(answer: Answer) -> str:
    if not answer.values.get("paused"):
        return "taken in"
    return (
        f"taken in as {answer.request_id}: it takes effect on the first frame after `maskstream ctl resume`; "
        f"what became of it tells `maskstream ctl --id {answer.request_id} ...`, with the same words"
    )


def _stream_line(values: dict[str, Any]) -> str:
    state = values["state"] + (", paused" if values["paused"] else "")
    where = (
        "before the first frame"
        if values["index"] is None
        else f"frame {values['index']}, pts {values['pts']}"
    )
    return f"{values['source']}  {values['width_px']}x{values['height_px']}  {state}  {where}"


def _objects_table(objects: list[dict[str, Any]]) -> Table:
    table = Table("object", "state", "quality", "box", box=None, header_style="bold")
    for found in objects:
        quality = "-" if found["quality"] is None else f"{found['quality']:.2f}"
        table.add_row(str(found["id"]), found["state"], quality, ",".join(map(str, found["box_xyxy"])))
    return table


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield from _flat({str(i): inner for i, inner in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
