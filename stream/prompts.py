"""Prompts as a person writes them: `ID:KIND=VALUE[@TIME]`, and what may follow: `ID:remove@TIME`.

    1:box=10,20,110,220          a box x0,y0,x1,y1
    1:point=50%,50%              a point on the object; numbers are px, or % of the picture's width and height
    1:negative=15,25             a point beside it
    2:mask=cup.png               a picture of the object: all its non-zero pixels, or, in an indexed PNG that
                                 uses index 2, the pixels with that index
    3:box=5,5,60,60@0:01:30      from this time on: seconds, M:SS or H:MM:SS after the stream's first frame
    3:remove@0:02:00             no longer followed
    2:rename=7@0:02:30           followed on under another id

Prompts of one object at one time join: points add up, and may refine a box. All else at one time is done in
the order in which it is written.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from maskstream.model.errors import PromptError
from maskstream.model.types import BoolMask, Prompt

from .commands import Command, Remove, Rename, Show, check_schedule
from .prompt_mask import read_mask
from .settings import Placed

_SHAPES = {
    "box": "x0,y0,x1,y1",
    "point": "x,y",
    "negative": "x,y",
    "mask": "file.png",
}
_VERBS = ("remove", "rename")
_KINDS = (*_SHAPES, *_VERBS)
_HOW = "write ID:KIND=VALUE[@TIME], such as 1:box=10,20,110,220 or 2:point=50%,50%@1.5"
_TIME = re.compile(r"(?:(?:(?P<h>\d+):)?(?P<m>\d+):)?(?P<s>\d+(?:\.\d*)?|\.\d+)")


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
    kind: str  # one of _KINDS
    time_s: float | None  # media time after the first frame; None where none is written
    lengths: tuple[Length, ...] = ()  # x, y, x, y of a box or a point
    path: Path | None = None  # the mask's file
    new_id: int | None = None  # what it is renamed to

    @property
    def start_s(self) -> float:
        """When it takes effect in a schedule."""
        return self.time_s or 0.0

    def xy_px(self, picture_hw: tuple[int, int]) -> list[float]:
        """The coordinates in px, x and y by turns."""
        sides = (picture_hw[1], picture_hw[0])
        return [length.px(sides[i % 2]) for i, length in enumerate(self.lengths)]


def parse_prompts(specs: Iterable[str]) -> tuple[PromptPart, ...]:
    """Understand specs, before any picture is known.

    Raises:
        PromptError: a spec is malformed; the message quotes it and says what is right, and where it is from.
    """
    parts = []
    for spec in specs:
        with _blamed_on(spec):
            parts.append(_parse(spec))
    return tuple(parts)


def schedule_prompts(
    parts: Sequence[PromptPart], picture_hw: tuple[int, int], others: Sequence[Command] = ()
) -> tuple[Command, ...]:
    """Commands for a picture of `picture_hw`, by time, then as written; masks are read from their files.

    Args:
        parts: what was written.
        picture_hw: the picture's height and width, px; should it change, prompts go with it.
        others: commands that belong to the schedule too.

    Raises:
        PromptError: a prompt is contradictory, empty, or reaches outside the picture; a mask cannot be read;
            what is removed or renamed was not shown before.
    """
    plan = [("", command) for command in others]
    for group in _groups(parts):
        with _blamed_on(group[0].spec):
            plan.append((group[0].spec, _command(group, picture_hw)))
    plan.sort(key=lambda entry: entry[1].time_s or 0.0)
    schedule: list[Command] = []
    for spec, command in plan:
        schedule.append(replace(command, picture_hw=command.picture_hw or picture_hw))
        with _blamed_on(spec):
            check_schedule(schedule)
    return tuple(schedule)


def show_command(specs: Sequence[str], picture_hw: tuple[int, int]) -> Show:
    """The command that shows one object to a run: by the time that is written, or else at once.

    Raises:
        PromptError: as parse_prompts() and schedule_prompts(); or they are not about one object at one time.
    """
    parts = parse_prompts(specs)
    groups = list(_groups(parts))
    if len(groups) != 1 or parts[0].kind in _VERBS:
        raise PromptError(f"{' '.join(map(repr, specs))}: show one object at one time, by box, point or mask")
    prompt = _fitted(parts, picture_hw, is_new=False)
    return Show(prompt, time_s=parts[0].time_s, picture_hw=picture_hw)


def _groups(parts: Sequence[PromptPart]) -> Iterable[list[PromptPart]]:
    """Parts that make one command: all that show one object at one time, or one verb."""
    groups: dict[tuple[float, int, str | int], list[PromptPart]] = {}
    for i, part in enumerate(parts):
        what = i if part.kind in _VERBS else "show"
        groups.setdefault((part.start_s, part.object_id, what), []).append(part)
    return groups.values()


def _command(group: Sequence[PromptPart], picture_hw: tuple[int, int]) -> Command:
    first = group[0]
    if first.kind == "remove":
        return Remove(first.object_id, time_s=first.start_s)
    if first.new_id is not None:
        return Rename(first.object_id, first.new_id, time_s=first.start_s)
    return Show(_fitted(group, picture_hw), time_s=first.start_s)


def _fitted(group: Sequence[PromptPart], picture_hw: tuple[int, int], *, is_new: bool = True) -> Prompt:
    """One prompt of its parts; negative points are enough for an object that is not new."""
    try:
        _check_joinable(group, is_new)
        prompt = _join(group, picture_hw)
        prompt.check_inside(picture_hw)
    except PromptError as error:
        size = f"the picture is {picture_hw[1]}x{picture_hw[0]} px"
        raise PromptError(str(error) if size in str(error) else f"{error}; {size}") from error
    return prompt


@contextmanager
def _blamed_on(spec: str) -> Iterator[None]:
    """Complaints begin with the line of the file that the spec is from, if it is from one."""
    try:
        yield
    except PromptError as error:
        if not isinstance(spec, Placed):
            raise
        raise PromptError(f"{spec.place}: {error}") from error


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
    match = re.fullmatch(r"([^:=]*):([^:=@]*)(?:=(.*)|(@.*)?)", spec.strip(), re.DOTALL)
    if not match or (match[3] is None and match[2] in (*_SHAPES, "rename")):
        raise PromptError(f"prompt '{spec}' is malformed: {_HOW}")
    id_text, kind = match[1], match[2]
    if kind not in _KINDS:
        raise PromptError(f"prompt '{spec}': unknown kind '{kind}', {_nearest(kind)}")
    if kind == "remove" and match[3] is not None:
        raise PromptError(f"prompt '{spec}': to remove takes no value: write {id_text}:remove@TIME")
    value, time_s = _split_time(spec, kind, match[4] or "" if match[3] is None else match[3])
    part = PromptPart(spec, _parse_id(spec, id_text), kind, time_s)
    match kind:
        case "mask":
            return replace(part, path=Path(value).expanduser())
        case "remove":
            return part
        case "rename":
            return replace(part, new_id=_parse_id(spec, value))
    return replace(part, lengths=_parse_lengths(spec, kind, value))


def _nearest(kind: str) -> str:
    close = difflib.get_close_matches(kind, _KINDS, 1)
    return f"did you mean '{close[0]}'?" if close else f"known kinds are {', '.join(_KINDS)}"


def _parse_id(spec: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise PromptError(f"prompt '{spec}': the object id must be a whole number in 1..65535, got '{text}'")
    return int(text)


def _split_time(spec: str, kind: str, rest: str) -> tuple[str, float | None]:
    value, at, time_text = rest.rpartition("@")
    if not at:
        return rest, None
    try:
        return value, parse_time_s(time_text)
    except ValueError as error:
        if kind == "mask":  # an @ in a file's name
            return rest, None
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


def _check_joinable(parts: Sequence[PromptPart], is_new: bool) -> None:
    kinds = [part.kind for part in parts]
    both = " and ".join(f"'{part.spec}'" for part in parts)
    for kind in ("box", "mask"):
        if kinds.count(kind) > 1:
            raise PromptError(
                f"{both} give object {parts[0].object_id} two of {kind}: keep one, or use other ids"
            )
    if "mask" in kinds and len(kinds) > 1:
        raise PromptError(f"{both}: a mask already says all about object {parts[0].object_id}: give it alone")
    if is_new and set(kinds) == {"negative"}:
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
