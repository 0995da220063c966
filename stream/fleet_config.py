"""Several streams of one run: each has settings of its own on top of those that all share.

A file lists them under `streams:`; on the command line, `--source` is given several times. In outputs and
control endpoints that are given for all, `{name}` and `{number}` stand for each stream's own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maskstream.model.errors import ConfigError, InputError

from .config import Config, find_config, read_config
from .settings import SettingError, override
from .yaml_lines import KeyPath, YamlLines, dotted, read_yaml

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
_SHARED = ("model", "metrics", "streams")  # keys that no single stream has


@dataclass(frozen=True, slots=True)
class StreamSetup:
    """One stream: what it is called, and what to run. A run's only stream may have no name."""

    name: str
    config: Config


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is said of one stream alone."""

    values: Mapping[str, Any]
    key_path: KeyPath = ()
    yaml: YamlLines = field(default_factory=lambda: YamlLines("command line"))


def load_streams(
    name: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    sources: Sequence[str | int] = (),
) -> tuple[StreamSetup, ...]:
    """The streams that a file or preset, or several `sources`, describe.

    Args:
        name: a path ending in .yaml or .yml, or a preset's name; None for the defaults alone.
        overrides: as for load_config(), for all streams: they win over what the file says.
        sources: take the place of the file's source, or of its streams.

    Raises:
        ConfigError: a file cannot be read or is not YAML, a key is unknown, a value does not fit, or two
            streams have one name.
    """
    base, entries = _read(name)
    if sources:
        entries = [_Entry({"source": source}) for source in sources]
    if not entries or len(sources) == 1:
        return (StreamSetup("", _overridden(_joined(base, entries), overrides)),)
    names = _names(entries)
    configs = (_overridden(_joined(base, [entry]), overrides) for entry in entries)
    return tuple(
        StreamSetup(own, _filled_in(config, own, number))
        for number, (own, config) in enumerate(zip(names, configs, strict=True), 1)
    )


def check_streams(setups: Sequence[StreamSetup]) -> None:
    """See what can be seen before any source is open: each stream by itself, and that all keep apart.

    Raises:
        InputError: something cannot be done as asked; names the stream.
    """
    from .runner import check_request

    for setup in setups:
        with _told_of(setup.name):
            check_request(setup.config)
    _check_apart(setups)


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """What is wrong is told with the stream's name."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"stream {name}: {error}") from error


def _read(name: str | Path | None) -> tuple[Config, list[_Entry]]:
    """What a file says of all streams, and of each."""
    if name is None:
        return Config(), []
    yaml = read_yaml(find_config(name))
    tree = dict(yaml.tree) if isinstance(yaml.tree, Mapping) else yaml.tree
    listed = tree.pop("streams", None) if isinstance(tree, dict) else None
    base = read_config(yaml, tree)
    if listed is None:
        return base, []
    if not isinstance(listed, list) or not listed:
        raise yaml.error(("streams",), "expected a list with an entry for each stream")
    if base.source is not None:
        raise yaml.error(("source",), "give `source` or `streams`, not both")
    return base, [_entry(values, ("streams", place), yaml) for place, values in enumerate(listed)]


def _entry(values: object, key_path: KeyPath, yaml: YamlLines) -> _Entry:
    if not isinstance(values, Mapping):
        raise yaml.error(key_path, "expected settings as 'key: value'")
    for key in _SHARED:
        if key in values:
            raise yaml.error((*key_path, key), "one for all streams: write it above `streams`")
    name = values.get("name")
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise yaml.error(
            (*key_path, "name"), f"must be letters, digits, '.', '_' and '-', at most 64, got {name!r}"
        )
    if values.get("source") is None:
        raise yaml.error(key_path, "needs the key 'source'")
    return _Entry(values, key_path, yaml)


def _joined(base: Config, entries: Sequence[_Entry]) -> Config:
    for entry in entries:
        values = {key: value for key, value in entry.values.items() if key != "name"}
        base = read_config(entry.yaml, values, base, entry.key_path)
    return base


def _overridden(config: Config, overrides: Mapping[str, Any] | None) -> Config:
    try:
        return override(config, overrides or {})
    except SettingError as error:
        raise ConfigError(f"{dotted(error.key_path)}: {error.message}") from error


def _names(entries: Sequence[_Entry]) -> list[str]:
    """Given ones as they are, the others after their sources."""
    given = [entry.values.get("name") for entry in entries]
    names: list[str] = []
    for entry, own in zip(entries, given, strict=True):
        if own in names:
            raise entry.yaml.error((*entry.key_path, "name"), f"{own!r} is another stream's name")
        taken = [*names, *(name for name in given if name)]
        names.append(own or _unused(name_of(str(entry.values["source"])), taken))
    return names


def _unused(name: str, taken: Sequence[str]) -> str:
    number, text = 1, name
    while text in taken:
        number += 1
        text = f"{name}-{number}"
    return text


def name_of(source: str) -> str:
    """A short name for a source: a file's without its ending, a server's host."""
    host = urlsplit(source).hostname if "://" in source and not source.startswith("file:") else None
    text = host or (Path(source).stem if re.search(r"[\w*]", source) else "")
    text = re.sub(r"[^\w.-]+", "-", text.partition(":")[0]).strip("-.")[:40]
    return text if _NAME.fullmatch(text) else f"stream-{text}".rstrip("-")


def _filled_in(config: Config, name: str, number: int) -> Config:
    """With a stream's own name and number in its outputs."""

    def fill(text: str) -> str:
        return text.replace("{name}", name).replace("{number}", str(number))

    control = None if config.control is None else fill(config.control)
    return dataclasses.replace(config, sinks=tuple(map(fill, config.sink_specs)), control=control)


def _check_apart(setups: Sequence[StreamSetup]) -> None:
    """No stream writes to where another one writes, or is steered, or reads from."""
    from .places import check_places, place_of
    from .sources import files_of

    inputs = [path for setup in setups for path in files_of(str(setup.config.source))]
    owners: dict[object, str] = {}
    for setup in setups:
        with _told_of(setup.name):
            check_places(setup.config.sink_specs, inputs)
        places: list[object] = [place_of(spec) for spec in setup.config.sink_specs]
        places += [setup.config.control] if setup.config.control else []
        for place in places:
            if place in owners:
                raise ConfigError(
                    f"streams {owners[place]} and {setup.name} would both use {place}; "
                    "give each its own, or write {name} or {number} in it"
                )
        owners |= dict.fromkeys(places, setup.name)
