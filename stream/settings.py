"""Plain values into frozen dataclasses by their type hints; a mistake is told with its key and a way out."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from maskstream.model.errors import ConfigError

from .yaml_lines import KeyPath, dotted

C = TypeVar("C")


class Placed(str):
    """Text that knows where it was written, so that a complaint that comes later can point there."""

    place: str  # as in `run.yaml:12: prompts[1]`

    def __new__(cls, text: str, place: str = "") -> Placed:
        """The text, and `path:line: key` of where it stands."""
        self = super().__new__(cls, text)
        self.place = place
        return self


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A number's lower bound, as in `Annotated[int, AtLeast(1)]`."""

    minimum: float

    def complaint(self, value: float) -> str | None:
        """What is wrong with `value`."""
        return None if value >= self.minimum else f"must be at least {self.minimum:g}, got {value}"


@dataclass(frozen=True, slots=True)
class MultipleOf:
    """A whole number's steps and bounds, as in `Annotated[int, MultipleOf(16, 64, 2048)]`."""

    step: int
    minimum: int
    maximum: int

    def complaint(self, value: float) -> str | None:
        """What is wrong with `value`."""
        if self.minimum <= value <= self.maximum and not value % self.step:
            return None
        return f"must be a multiple of {self.step} from {self.minimum} to {self.maximum}, got {value}"


class SettingError(Exception):
    """A setting is unknown or has a wrong value; `key_path` says which."""

    def __init__(self, key_path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.key_path = key_path
        self.message = message


def build(kind: type[C], values: object, key_path: KeyPath = ()) -> C:
    """An instance of a dataclass from a mapping; what the mapping leaves out keeps its default.

    Raises:
        SettingError: a key is unknown or missing, or a value does not fit its type hint.
    """
    if not isinstance(values, Mapping):
        raise SettingError(key_path, f"expected settings as 'key: value', got {_shown(values)}")
    hints = _hints(kind, values, key_path)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        if not has_default and field.name not in values:
            raise SettingError(key_path, f"needs the key '{field.name}'")
    return kind(**{name: fit(hints[name], value, (*key_path, name)) for name, value in values.items()})


def override(instance: C, values: Mapping[str, object], key_path: KeyPath = ()) -> C:
    """A copy of a dataclass instance with the fields that `values` names replaced, nested ones one by one.

    Raises:
        SettingError: as build().
    """
    hints = _hints(type(instance), values, key_path)
    changes: dict[str, object] = {}
    for name, value in values.items():
        old, path = getattr(instance, name), (*key_path, name)
        if isinstance(old, Settings) and isinstance(value, Mapping):
            changes[name] = override(old, value, path)
        else:
            changes[name] = fit(hints[name], value, path)
    return dataclasses.replace(instance, **changes)  # type: ignore[type-var]


def _hints(kind: type, values: Mapping[str, object], key_path: KeyPath) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    for name in values:
        if name not in hints:
            raise SettingError((*key_path, name), f"unknown key, {nearest(name, list(hints))}")
    return hints


class Settings:
    """Base of frozen dataclasses whose fields are fitted to their type hints however they are made.

    Raises:
        ConfigError: a value does not fit; names the class and the field.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            try:
                object.__setattr__(self, name, fit(hint, getattr(self, name), (name,)))
            except SettingError as error:
                where = f"{type(self).__name__}.{dotted(error.key_path)}"
                raise ConfigError(f"{where}: {error.message}") from error


def nearest(name: str, names: Sequence[str]) -> str:
    """`did you mean 'capacity'?`, or the list of what there is."""
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"


def fit(hint: Any, value: object, key_path: KeyPath) -> Any:
    """`value` as the type hint wants it: a dataclass, Literal, union, tuple or dict of one type, plain type.

    Raises:
        SettingError: it does not fit.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        return _fit_bounded(get_args(hint)[0], get_args(hint)[1], value, key_path)
    if origin in (Union, types.UnionType):
        return _fit_union(get_args(hint), value, key_path)
    if origin is tuple:
        return _fit_tuple(get_args(hint)[0], value, key_path)
    if origin is dict:
        return _fit_dict(get_args(hint)[1], value, key_path)
    if dataclasses.is_dataclass(hint):
        return value if type(value) is hint else build(hint, value, key_path)  # type: ignore[arg-type]
    if hint is float and type(value) is int:
        return float(value)
    if not _is_plain(hint, value):
        raise SettingError(key_path, f"expected {_described(hint)}, got {_shown(value)}")
    return value


def _is_plain(hint: Any, value: object) -> bool:
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if isinstance(value, Placed):
        return hint is str
    return type(value) is hint and (not isinstance(value, float) or math.isfinite(value))


def _fit_bounded(hint: Any, bound: AtLeast | MultipleOf, value: object, key_path: KeyPath) -> Any:
    fitted = fit(hint, value, key_path)
    complaint = bound.complaint(fitted)
    if complaint:
        raise SettingError(key_path, complaint)
    return fitted


def _fit_union(choices: Sequence[Any], value: object, key_path: KeyPath) -> Any:
    if value is None and type(None) in choices:
        return None
    wanted = [choice for choice in choices if choice is not type(None)]
    if len(wanted) == 1:
        return fit(wanted[0], value, key_path)
    for choice in wanted:
        if isinstance(value, Mapping) and dataclasses.is_dataclass(choice):
            return fit(choice, value, key_path)  # the complaint about a key inside is the useful one
        try:
            return fit(choice, value, key_path)
        except SettingError:
            continue
    raise SettingError(key_path, f"expected {' or '.join(map(_described, wanted))}, got {_shown(value)}")


def _fit_tuple(hint: Any, value: object, key_path: KeyPath) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SettingError(key_path, f"expected a list, got {_shown(value)}")
    return tuple(fit(hint, item, (*key_path, i)) for i, item in enumerate(value))


def _fit_dict(hint: Any, value: object, key_path: KeyPath) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(key_path, f"expected settings as 'key: value', got {_shown(value)}")
    return {str(key): fit(hint, item, (*key_path, str(key))) for key, item in value.items()}


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is Annotated:
        return _described(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return "a list"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, "settings as 'key: value'")


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"the text '{value}'"
    if isinstance(value, Mapping):
        return "settings as 'key: value'"
    if isinstance(value, Sequence):
        return "a list"
    return "nothing" if value is None else str(value).lower()  # true and false as YAML writes them
