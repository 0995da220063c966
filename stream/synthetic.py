"""Synthetic video whose masks are known exactly, for trying things out and for tests.

`synthetic:scene=drift,objects=3,frames=100,width=320,height=240,fps=30,seed=0,live=0`, each part optional.
Scenes: `drift` (bouncing off the walls), `crossing` (passing behind one another), `leaving` (out of the
picture and back), `cut` (to another place without the objects, and back), `jump` (cut to another place where
the objects are elsewhere), `still`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Self

import numpy as np
from maskstream.model.errors import SourceError
from maskstream.model.types import BoolMask, Prompt, box_of_mask

from .scenes import BackdropAt, Path, Scene, Thing, away, bounce, still, straight, switch
from .source_base import BaseSource, captured_now
from .types import Frame, StreamInfo

_LOWEST = {"objects": 1, "frames": 1, "width": 16, "height": 16, "fps": Fraction(1, 100)}
_OUTLINES = ("disc", "box", "diamond")


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """What a synthetic video is made from."""

    scene: str = "drift"
    objects: int = 3
    frames: int = 100
    width: int = 320  # px
    height: int = 240  # px
    fps: Fraction = Fraction(30)
    seed: int = 0
    live: bool = False  # frames come at their own pace and are dropped if not taken

    def __post_init__(self) -> None:
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if value < lowest:
                raise SourceError(f"synthetic: {name} must be at least {lowest}, got {value}")
        if self.scene not in SCENES:
            hint = _did_you_mean(self.scene, list(SCENES))
            raise SourceError(f"synthetic: unknown scene '{self.scene}'{hint}")

    @property
    def duration_s(self) -> float:
        """Length in s."""
        return self.time_s(self.frames)

    def time_s(self, index: int) -> float:
        """When frame `index` is shown, in s."""
        return float(index / self.fps)


class SyntheticSource(BaseSource):
    """Frames of a scene, with `truth` and `prompts` beside them."""

    def __init__(
        self,
        settings: SyntheticSettings | None = None,
        *,
        scene: Scene | None = None,
        source_id: str | None = None,
        max_frames: int | None = None,
        realtime: bool = False,
    ) -> None:
        """`scene` replaces the one that `settings` name; frames and fps still come from `settings`."""
        settings = settings or SyntheticSettings()
        self.scene = scene or SCENES[settings.scene](settings)
        self._settings = settings
        info = StreamInfo(
            source_id or "synthetic",
            self.scene.width_px,
            self.scene.height_px,
            time_base=1 / settings.fps,
            frame_rate=settings.fps,
            is_live=False,
            frame_count=settings.frames,
        )
        super().__init__(info, max_frames=max_frames, realtime=realtime or settings.live)

    @classmethod
    def from_spec(
        cls, spec: str, *, source_id: str | None = None, max_frames: int | None = None, realtime: bool = False
    ) -> Self:
        """From `synthetic:key=value,...`.

        Raises:
            SourceError: an unknown key, or a value that does not fit.
        """
        return cls(parse_settings(spec), source_id=source_id, max_frames=max_frames, realtime=realtime)

    def truth(self, index: int) -> dict[int, BoolMask]:
        """What is seen of each object on frame `index`: (H, W) bool by object id, all False when hidden."""
        return self.scene.masks_at(self._settings.time_s(index))

    def prompts(self, index: int = 0, kind: str = "box") -> list[Prompt]:
        """One prompt for each object seen on frame `index`: its `box`, a `point` inside, or its `mask`."""
        return [_prompt(object_id, mask, kind) for object_id, mask in self.truth(index).items() if mask.any()]

    def _frames(self) -> Iterator[Frame]:
        for index in range(self._settings.frames):
            yield captured_now(self.info, self.scene.image_at(self._settings.time_s(index)), index, pts=index)


def parse_settings(spec: str) -> SyntheticSettings:
    """Settings from `synthetic:key=value,...`.

    Raises:
        SourceError: an unknown key, or a value that does not fit.
    """
    known = {entry.name: entry.default for entry in fields(SyntheticSettings)}
    values: dict[str, object] = {}
    for part in filter(None, spec.partition(":")[2].split(",")):
        key, equals, text = part.partition("=")
        if key not in known:
            raise SourceError(f"synthetic: unknown key '{key}'{_did_you_mean(key, list(known))}")
        values[key] = _convert(key, text if equals else "", type(known[key]))
    return SyntheticSettings(**values)  # type: ignore[arg-type]


def _convert(key: str, text: str, kind: type) -> object:
    if kind is bool:
        if text in ("0", "1", "true", "false"):
            return text in ("1", "true")
        raise SourceError(f"synthetic: {key} must be 0 or 1, got '{text}'")
    try:
        return kind(text)
    except (ValueError, ZeroDivisionError):
        raise SourceError(f"synthetic: {key} must be a number, got '{text}'") from None


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def _prompt(object_id: int, mask: BoolMask, kind: str) -> Prompt:
    if kind == "mask":
        return Prompt(object_id, mask=mask)
    if kind == "box":
        return Prompt(object_id, box_xyxy=box_of_mask(mask).astype(np.float32))
    rows, columns = np.nonzero(mask)
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)  # a pixel that is inside
    return Prompt(object_id, points_xy=[[columns[middle], rows[middle]]], point_labels=[1])  # type: ignore[arg-type]


def _things(settings: SyntheticSettings, paths: list[Path]) -> tuple[Thing, ...]:
    side = _side(settings)
    return tuple(
        Thing(
            object_id=number + 1,
            path=path,
            size_wh=(side + 3 * (number % 3), side + 5 * ((number + 1) % 3)),
            outline=_OUTLINES[number % 3],
            seed=settings.seed,
        )
        for number, path in enumerate(paths)
    )


def _side(settings: SyntheticSettings) -> int:
    return max(6, min(settings.width, settings.height) // 5)


def _one_place(time_s: float) -> int:
    return 0


def _scene(settings: SyntheticSettings, paths: list[Path], backdrop_at: BackdropAt = _one_place) -> Scene:
    return Scene(settings.width, settings.height, _things(settings, paths), backdrop_at, settings.seed)


def _spots(settings: SyntheticSettings, seed: int) -> list[tuple[float, float]]:
    """A centre for each object, side by side, at heights that vary."""
    rng = np.random.default_rng(seed)
    step, margin = settings.width / settings.objects, _side(settings)
    heights = rng.uniform(margin, settings.height - margin, settings.objects)
    return [(step * (number + 0.5), float(heights[number])) for number in range(settings.objects)]


def _drifting(settings: SyntheticSettings, seed: int) -> list[Path]:
    rng = np.random.default_rng(seed)
    half = _side(settings) / 2 + 8
    room = (half, half, settings.width - half, settings.height - half)
    shape = (settings.objects, 2)
    velocities = rng.uniform(0.08, 0.2, shape) * rng.choice((-1, 1), shape) * settings.width  # px/s
    return [
        bounce(spot, (float(velocity[0]), float(velocity[1])), room)
        for spot, velocity in zip(_spots(settings, seed), velocities, strict=True)
    ]


def _drift(settings: SyntheticSettings) -> Scene:
    return _scene(settings, _drifting(settings, settings.seed))


def _still(settings: SyntheticSettings) -> Scene:
    return _scene(settings, [still(*spot) for spot in _spots(settings, settings.seed)])


def _crossing(settings: SyntheticSettings) -> Scene:
    """All go from one side to the other, every second one the other way, and meet in the middle."""
    width, height, side = settings.width, settings.height, _side(settings)
    gap = 1.5 * side  # those that go the same way follow one another
    speed = max(side, width - 2 * side - gap * ((settings.objects - 1) // 2)) / settings.duration_s  # px/s
    paths: list[Path] = []
    for number in range(settings.objects):
        y = height / 2 + (number - (settings.objects - 1) / 2) * side * 0.4
        start = side + gap * (number // 2)
        leftward = number % 2 == 1
        paths.append(
            straight((width - start if leftward else start, y), (-speed if leftward else speed, 0.0))
        )
    return _scene(settings, paths)


def _leaving(settings: SyntheticSettings) -> Scene:
    """Object 1 goes out on the right, stays away and comes back; the others drift."""
    x, y = _spots(settings, settings.seed)[0]
    far = settings.width + 2.0 * _side(settings)
    speed = 2 * (far - x) / settings.duration_s  # px/s: back where it was at the end
    out_and_back = bounce((x, y), (speed, 0.0), (0, 0, far, settings.height))
    return _scene(settings, [out_and_back, *_drifting(settings, settings.seed)[1:]])


def _cut(settings: SyntheticSettings) -> Scene:
    """From 40 % to 70 % of the frames another place is shown, without the objects."""
    start_s, end_s = (settings.time_s(round(share * settings.frames)) for share in (0.4, 0.7))
    paths = [away(path, start_s, end_s) for path in _drifting(settings, settings.seed)]
    return _scene(settings, paths, lambda time_s: int(start_s <= time_s < end_s))


def _jump(settings: SyntheticSettings) -> Scene:
    """Half-way the place changes and all objects are somewhere else at once."""
    half_s = settings.time_s(settings.frames // 2)
    before, after = _drifting(settings, settings.seed), _drifting(settings, settings.seed + 1)
    paths = [switch(old, new, half_s) for old, new in zip(before, reversed(after), strict=True)]
    return _scene(settings, paths, lambda time_s: int(time_s >= half_s))


SCENES: dict[str, Callable[[SyntheticSettings], Scene]] = {
    "drift": _drift,
    "still": _still,
    "crossing": _crossing,
    "leaving": _leaving,
    "cut": _cut,
    "jump": _jump,
}
