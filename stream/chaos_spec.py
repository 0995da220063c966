"""`chaos:SOURCE?seed=1&faults=stall,drop` or `chaos:SCRIPT.yaml` as settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from maskstream.model.errors import SourceError

from .chaos_plan import KINDS, ChaosConfig
from .settings import SettingError, build, nearest
from .yaml_lines import dotted, read_yaml

_OF_THE_SOURCE: dict[str, Callable[[str], object]] = {"seed": int, "pace": str, "refusals": int}
_OF_THE_FAULTS: dict[str, Callable[[str], object]] = {
    "faults": lambda text: KINDS if text == "all" else tuple(filter(None, text.split(","))),
    "every": float,
    "count": int,
    "longest_stall_s": float,
}


def parse_chaos(spec: str) -> ChaosConfig:
    """What a `chaos:` source is asked to do; with neither script nor options, all kinds of faults at random.

    Raises:
        SourceError: an option is unknown or has a wrong value; no source is named.
        ConfigError: the script cannot be read, or something in it is wrong.
    """
    text, options = _split(spec.removeprefix("chaos:"))
    if text.endswith((".yaml", ".yml")):
        return _from_script(Path(text), options)
    if not text:
        raise SourceError("chaos: names no source; for example chaos:clip.mp4?seed=1&faults=stall,drop")
    values = {key: value for key, value in options.items() if key in _OF_THE_SOURCE}
    drawn = {key: value for key, value in options.items() if key in _OF_THE_FAULTS}
    if "faults" in drawn:
        drawn["kinds"] = drawn.pop("faults")
    return _built({"source": text, **values, "random": drawn})


def _split(text: str) -> tuple[str, dict[str, Any]]:
    """The source and the options behind its last `?`; a `?` with other things behind it is the source's."""
    source, mark, query = text.rpartition("?")
    pairs = parse_qsl(query, keep_blank_values=True) if mark else []
    known = {**_OF_THE_SOURCE, **_OF_THE_FAULTS}
    if not pairs or ("://" in source and not any(key in known for key, _ in pairs)):
        return text, {}
    options: dict[str, Any] = {}
    for key, value in pairs:
        if key not in known:
            raise SourceError(f"chaos: unknown option '{key}', {nearest(key, list(known))}")
        try:
            options[key] = known[key](value)
        except ValueError:
            raise SourceError(f"chaos: {key} must be a number, got '{value}'") from None
    return source, options


def _from_script(path: Path, options: dict[str, Any]) -> ChaosConfig:
    odd = [key for key in options if key not in _OF_THE_SOURCE]
    if odd:
        raise SourceError(f"chaos: {odd[0]} belongs into {path}; beside it go seed, pace and refusals")
    yaml = read_yaml(path)
    try:
        return replace(build(ChaosConfig, {} if yaml.tree is None else yaml.tree), **options)
    except SettingError as error:
        raise yaml.error(error.key_path, error.message) from error


def _built(values: dict[str, Any]) -> ChaosConfig:
    try:
        return build(ChaosConfig, values)
    except SettingError as error:
        key = dotted(error.key_path).removeprefix("random.")
        raise SourceError(f"chaos: {key}: {error.message}") from None
