"""Prompts as a person writes them: `ID:KIND=VALUE[@TIME]`.

    1:box=10,20,110,220          a box x0,y0,x1,y1
    1:point=50%,50%              a point on the object; numbers are px, or % of the picture's width and height
    1:negative=15,25             a point beside it
    2:mask=cup.png               a picture of the object: all its non-zero pixels, or, in an indexed PNG that
                                 uses index 2, the pixels with that index
    3:box=5,5,60,60@0:01:30      from this time on: seconds, M:SS or H:MM:SS after the stream's first frame

Prompts of one object at one time join: points add up, and may refine a box.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from maskstream.model.errors import PromptError
from maskstream.model.types import BoolMask, Prompt

from .prompt_mask import read_mask

_SHAPES = {
    "box": "x0,y0,x1,y1",
    "point": "x,y",
    "negative": "x,y",
    "mask": "file.png",
}
_HOW = "write ID:KIND=VALUE[@TIME], such as 1:box=10,20,110,220 or 2:point=50%,50%@1.5"
_TIME = re.compile(r"(?:(?:(?P<h>\d+):)?(?P<m>\d+):)?(?P<s>\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True, slots=True)
class ScheduledPrompt:
    """A prompt and when it takes effect."""

    time_s: float  # media time after the stream's first frame
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Length:
    """A coordinate: px, or percent of the picture's side."""

    value: float
    is_percent: bool = False

    def px(self, side_px: int) -> float:
        """Its value in a picture whose side is `side_px` long."""
        return self.value * side_px / 100 if self.is_percent else self.value


@dataclass(frozen=True, slots=True)
class PromptPart:
    """One spec, understood but not yet fitted to a picture."""

    spec: str
    object_id: int
    kind: str  # a key of _SHAPES
    lengths: tuple[Length, ...]  # x, y, x, y; empty for a mask
    path: Path | None  # the mask's file
    time_s: float

    def xy_px(self, picture_hw: tuple[int, int]) -> list[float]:
        """The coordinates in px, x and y by turns."""
        sides = (picture_hw[1], picture_hw[0])
        return [length.px(sides[i % 2]) for i, length in enumerate(self.lengths)]


def parse_prompts(specs: Iterable[str]) -> tuple[PromptPart, ...]:
    """Understand specs, before any picture is known.

    Raises:
        PromptError: a spec is malformed; the message quotes it and says what is right.
    """
    return tuple(_parse(spec) for spec in specs)


def schedule_prompts(parts: Sequence[PromptPart], picture_hw: tuple[int, int]) -> tuple[ScheduledPrompt, ...]:
    """Prompts for a picture of `picture_hw`, by time, then object id; masks are read from their files.

    Raises:
        PromptError: a prompt is contradictory, empty, or reaches outside the picture; a mask cannot be read.
    """
    groups: dict[tuple[float, int], list[PromptPart]] = {}
    for part in parts:
        groups.setdefault((part.time_s, part.object_id), []).append(part)
    try:
        scheduled = tuple(
            ScheduledPrompt(time_s, _join(groups[time_s, object_id], picture_hw))
            for time_s, object_id in sorted(groups)
        )
        for item in scheduled:
            item.prompt.check_inside(picture_hw)
    except PromptError as error:
        size = f"the picture is {picture_hw[1]}x{picture_hw[0]} px"
        raise PromptError(str(error) if size in str(error) else f"{error}; {size}") from error
    return scheduled


def parse_time_s(text: str) -> float:
    """Seconds, M:SS or H:MM:SS, with decimals, as seconds.

    Raises:
        ValueError: it is none of these.
    """
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a time: write seconds, M:SS or H:MM:SS")
    return 3600.0 * int(match["h"] or 0) + 60.0 * int(match["m"] or 0) + float(match["s"])


def _parse(spec: str) -> PromptPart:
    match = re.fullmatch(r"([^:=]*):([^:=]*)=(.*)", spec.strip(), re.DOTALL)
    if not match:
        raise PromptError(f"prompt '{spec}' is malformed: {_HOW}")
    id_text, kind, rest = match.groups()
    if kind not in _SHAPES:
        raise PromptError(f"prompt '{spec}': unknown kind '{kind}', {_nearest(kind)}")
    value, time_s = _split_time(spec, kind, rest)
    if kind == "mask":
        return PromptPart(spec, _parse_id(spec, id_text), kind, (), Path(value).expanduser(), time_s)
    return PromptPart(spec, _parse_id(spec, id_text), kind, _parse_lengths(spec, kind, value), None, time_s)


def _nearest(kind: str) -> str:
    close = difflib.get_close_matches(kind, _SHAPES, 1)
    return f"did you mean '{close[0]}'?" if close else f"known kinds are {', '.join(_SHAPES)}"


def _parse_id(spec: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise PromptError(f"prompt '{spec}': the object id must be a whole number in 1..65535, got '{text}'")
    return int(text)


def _split_time(spec: str, kind: str, rest: str) -> tuple[str, float]:
    value, at, time_text = rest.rpartition("@")
    if not at:
        return rest, 0.0
    try:
        return value, parse_time_s(time_text)
    except ValueError as error:
        if kind == "mask":  # an @ in a file's name
            return rest, 0.0
        raise PromptError(f"prompt '{spec}': {error}") from None


def _parse_lengths(spec: str, kind: str, text: str) -> tuple[Length, ...]:
    try:
        lengths = tuple(_parse_length(number) for number in text.split(","))
    except ValueError:
        lengths = ()
    if len(lengths) != len(_SHAPES[kind].split(",")):
        raise PromptError(f"prompt '{spec}': {kind} needs numbers {_SHAPES[kind]}, got '{text}'")
    return lengths


def _parse_length(text: str) -> Length:
    text = text.strip()
    return Length(float(text.removesuffix("%")), text.endswith("%"))


def _join(parts: Sequence[PromptPart], picture_hw: tuple[int, int]) -> Prompt:
    """One prompt of all parts of one object at one time."""
    _check_joinable(parts)
    kinds = {part.kind: part for part in parts}
    points = [part for part in parts if part.kind in ("point", "negative")]
    box, mask = kinds.get("box"), kinds.get("mask")
    return Prompt(
        parts[0].object_id,
        points_xy=np.array([part.xy_px(picture_hw) for part in points], np.float32).reshape(-1, 2),
        point_labels=np.array([part.kind == "point" for part in points], np.int32),
        box_xyxy=np.array(box.xy_px(picture_hw), np.float32) if box else None,
        mask=_read_mask(mask) if mask else None,
    )


def _check_joinable(parts: Sequence[PromptPart]) -> None:
    kinds = [part.kind for part in parts]
    both = " and ".join(f"'{part.spec}'" for part in parts)
    for kind in ("box", "mask"):
        if kinds.count(kind) > 1:
            raise PromptError(
                f"{both} give object {parts[0].object_id} two of {kind}: keep one, or use other ids"
            )
    if "mask" in kinds and len(kinds) > 1:
        raise PromptError(f"{both}: a mask already says all about object {parts[0].object_id}: give it alone")
    if set(kinds) == {"negative"}:
        raise PromptError(
            f"{both}: object {parts[0].object_id} needs a point or a box beside negative points"
        )


def _read_mask(part: PromptPart) -> BoolMask | None:
    if part.path is None:
        return None
    try:
        return read_mask(part.path, part.object_id)
    except PromptError as error:
        raise PromptError(f"prompt '{part.spec}': {error}") from error
