"""YAML as plain values that remember their lines, so that a complaint can point at one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from maskstream.model.errors import ConfigError

KeyPath = tuple[str | int, ...]  # ("queue", "capacity"), ("sinks", 0)


@dataclass(slots=True)
class YamlLines:
    """What a YAML file says, and where."""

    path: str
    tree: Any = None  # dicts with str keys, lists and scalars
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def error(self, key_path: KeyPath, message: str) -> ConfigError:
        """The error `path:line: key: message` for a key, or for the nearest key above it that has a line."""
        return ConfigError(f"{self.place(key_path)}: {message}")

    def place(self, key_path: KeyPath) -> str:
        """`path:line: key`, of a key or of the nearest key above it that has a line."""
        known = key_path
        while known not in self.lines and known:
            known = known[:-1]
        where = f"{self.path}:{self.lines.get(known, 1)}"
        return f"{where}: {dotted(key_path)}" if key_path else where


def dotted(key_path: KeyPath) -> str:
    """`("sinks", 0, "video")` as `sinks[0].video`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in key_path)
    return text.removeprefix(".")


def read_yaml(path: Traversable) -> YamlLines:
    """Read a file with the safe subset of YAML.

    Raises:
        ConfigError: it cannot be read, its syntax is wrong, or a key occurs twice; with file and line.
    """
    result = YamlLines(str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        result.tree = _plain(loader, node, (), result) if node else None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # the last two: no such date; an alias in itself
        raise ConfigError(_syntax_error(path, error)) from error
    return result


def _plain(loader: yaml.SafeLoader, node: yaml.Node, key_path: KeyPath, result: YamlLines) -> Any:
    result.lines.setdefault(key_path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(loader, node, key_path, result)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*key_path, i), result) for i, item in enumerate(node.value)]
    return loader.construct_object(node)


def _plain_mapping(
    loader: yaml.SafeLoader, node: yaml.MappingNode, key_path: KeyPath, result: YamlLines
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
        name = str(key) if isinstance(key, Hashable) else repr(key)
        result.lines[(*key_path, name)] = line = key_node.start_mark.line + 1
        if name in values:
            raise ConfigError(f"{result.path}:{line}: {dotted((*key_path, name))}: this key occurs twice")
        values[name] = _plain(loader, value_node, (*key_path, name), result)
    return values


def _syntax_error(path: Traversable, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    return f"{where}: this is not YAML: {' '.join(problem.split())}"
