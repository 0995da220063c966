"""Every setting of a run, its default and its bounds. YAML files and the command line only override these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from maskstream.model.errors import ConfigError

from .recovery_settings import ReconnectConfig
from .settings import AtLeast, MultipleOf, Placed, SettingError, Settings, build, nearest, override
from .watchdog_settings import WatchdogConfig
from .yaml_lines import KeyPath, YamlLines, dotted, read_yaml

Engine = Literal[
    "auto", "torch", "openvino", "openvino-bf16", "onnxruntime", "cuda", "cuda-fp16", "cuda-bf16"
]

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class ModelConfig(Settings):
    """Which networks, where they run, and at what size."""

    weights: str | None = (
        None  # a name of `maskstream weights list`, or a file; None: the first that can be had
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Long side of the model input, px: smaller is faster and coarser. 1024 is what SAM was trained with.
    size: Annotated[int, MultipleOf(16, 64, 2048)] = 1024
    # auto: the quickest exact one for the device; bf16: quicker on CPUs that have it, masks differ a little.
    engine: Engine = "auto"
    threads: Annotated[int, AtLeast(1)] | None = None  # CPU threads for the networks; None: one per core


@dataclass(frozen=True, slots=True)
class QueueConfig(Settings):
    """How much may wait between the stages; None: what suits the source (pipeline.FILE_PLAN, LIVE_PLAN)."""

    capacity: Annotated[int, AtLeast(1)] | None = None  # frames before the segmenter
    sink_capacity: Annotated[int, AtLeast(1)] | None = None  # results before each sink
    overflow: Literal["block", "drop-oldest"] | None = None  # None: files block, live streams drop


@dataclass(frozen=True, slots=True)
class PromptConfig(Settings):
    """A prompt spelt out, or what becomes of its object; the same as specs, see prompts.py."""

    id: Annotated[int, AtLeast(1)]
    box: tuple[float | str, ...] | None = None  # x0, y0, x1, y1: px, or texts such as "50%"
    point: tuple[float | str, ...] | None = None  # x, y
    points: tuple[tuple[float | str, ...], ...] = ()
    negative: tuple[tuple[float | str, ...], ...] = ()
    mask: str | None = None  # a picture's path
    remove: bool = False  # no longer followed
    rename: Annotated[int, AtLeast(1)] | None = None  # followed on under this id
    time: Annotated[float, AtLeast(0)] | str = 0.0  # seconds, or text such as "0:01:30"

    def specs(self) -> tuple[str, ...]:
        """The same as specs; none if it says nothing."""
        verbs = ["remove"] * self.remove + [f"rename={self.rename}"] * (self.rename is not None)
        points = self.points if self.point is None else (self.point, *self.points)
        named = [("box", self.box)] if self.box is not None else []
        named += [("point", point) for point in points] + [("negative", point) for point in self.negative]
        values = [(kind, ",".join(map(str, numbers))) for kind, numbers in named]
        values += [("mask", self.mask)] if self.mask is not None else []
        whats = [*verbs, *(f"{kind}={value}" for kind, value in values)]
        return tuple(f"{self.id}:{what}@{self.time}" for what in whats)


@dataclass(frozen=True, slots=True)
class SinkConfig(Settings):
    """Sinks spelt out; the same as specs `video=PATH`, `masks=DIR`, ..., see sinks.py."""

    video: str | None = None
    zmq: str | None = None
    masks: str | None = None
    preview: str | None = None

    def specs(self) -> tuple[str, ...]:
        """The same as specs."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return tuple(f"{name}={value}" for name, value in values if value is not None)


@dataclass(frozen=True, slots=True)
class Config(Settings):
    """Everything `maskstream run` needs to know. Paths are relative to the current directory."""

    source: str | int | None = None  # file, URL, camera number, folder or glob of pictures, synthetic:
    prompts: tuple[str | PromptConfig, ...] = ()
    sinks: tuple[str | SinkConfig, ...] = ()
    control: str | None = None  # where the run is steered: tcp://127.0.0.1:5556, see docs/control.md
    metrics: str | None = None  # where metrics and health are served: 127.0.0.1:9464, see docs/operations.md
    source_options: dict[str, str | int | float] = field(
        default_factory=dict
    )  # FFmpeg's, {video_size: 1280x720}
    connect_timeout_s: Annotated[float, AtLeast(0.1)] = 10.0  # how long a stream may take to show a picture
    read_timeout_s: Annotated[float, AtLeast(0.1)] = (
        10.0  # how long it may then be silent before it is broken
    )
    max_staleness_ms: Annotated[float, AtLeast(0)] | None = 1000.0  # live: older packets are not decoded
    reconnect: ReconnectConfig = field(default_factory=ReconnectConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    realtime: bool = False  # play a recording at its own pace, as if it were live
    # exclusive: a pixel is of one object, and objects are background to each other (for look-alikes);
    # none: an object's masks do not depend on which others are followed
    interaction: Literal["none", "exclusive"] = "none"
    # the mask decoder redraws an object that it was sure of on every Nth frame only: many objects cost less,
    # and their outlines are a little less steady
    decode_every: Annotated[int, AtLeast(1)] = 1
    ladder: bool = True  # answer every frame of a live stream in time, by masks moved along if need be
    picture_rate: Annotated[float, AtLeast(0.001)] = 24.0  # frames per second of a folder of pictures
    max_frames: Annotated[int, AtLeast(1)] | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)

    @property
    def prompt_specs(self) -> tuple[str, ...]:
        """All prompts as `ID:KIND=VALUE@TIME`."""
        return _specs(self.prompts)

    @property
    def sink_specs(self) -> tuple[str, ...]:
        """All sinks as `KIND=TARGET`."""
        return _specs(self.sinks)


def _specs(items: tuple[str | PromptConfig, ...] | tuple[str | SinkConfig, ...]) -> tuple[str, ...]:
    return tuple(spec for item in items for spec in ((item,) if isinstance(item, str) else item.specs()))


def load_config(name: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The defaults, overridden by a YAML file or preset, overridden by `overrides`.

    Args:
        name: a path ending in .yaml or .yml, or a preset's name; None for the defaults alone.
        overrides: as the YAML would be, such as `{"model": {"size": 512}}`. A list replaces the file's list.

    Raises:
        ConfigError: a file cannot be read or is not YAML, a key is unknown, a value does not fit.
    """
    config = Config() if name is None else _read(find_config(name))
    try:
        return override(config, overrides or {})
    except SettingError as error:
        raise ConfigError(f"{dotted(error.key_path)}: {error.message}") from error


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    files = (Path(entry.name) for entry in resources.files("maskstream.configs").iterdir())
    return sorted(file.stem for file in files if file.suffix in _SUFFIXES)


def find_config(name: str | Path) -> Traversable:
    """A YAML file by its path, or a preset by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    path = Path(name)
    if path.suffix in _SUFFIXES:
        return path
    if str(name) in preset_names():
        return resources.files("maskstream.configs") / f"{name}.yaml"
    if path.exists():
        raise ConfigError(f"{name} is not a configuration (.yaml); if it is the video, write --source {name}")
    raise ConfigError(
        f"there is no preset '{name}', {nearest(str(name), preset_names())}; or give a .yaml file"
    )


def _read(path: Traversable) -> Config:
    yaml = read_yaml(path)
    if isinstance(yaml.tree, Mapping) and "streams" in yaml.tree:
        raise yaml.error(("streams",), "several streams: load them with fleet_config.load_streams()")
    return read_config(yaml, yaml.tree)


def read_config(
    yaml: YamlLines, values: object, base: Config | None = None, key_path: KeyPath = ()
) -> Config:
    """What a part of a YAML file says, on top of `base`.

    Raises:
        ConfigError: with file, line and key.
    """
    try:
        if base is not None and isinstance(values, Mapping):
            config = override(base, values, key_path)
        else:
            config = build(Config, {} if values is None else values, key_path)
        if not isinstance(values, Mapping) or "prompts" not in values:
            return config
        prompts = (
            spec
            for i, prompt in enumerate(config.prompts)
            for spec in _placed(prompt, (*key_path, "prompts", i), yaml)
        )
        return dataclasses.replace(config, prompts=tuple(prompts))
    except SettingError as error:
        raise yaml.error(error.key_path, error.message) from error


def _placed(prompt: str | PromptConfig, key_path: KeyPath, yaml: YamlLines) -> tuple[Placed, ...]:
    """A prompt's specs, which remember their line: much of what can be wrong shows only with the picture."""
    specs = (prompt,) if isinstance(prompt, str) else prompt.specs()
    if not specs:
        raise SettingError(key_path, "says nothing: give box, point, points, mask, remove or rename")
    return tuple(Placed(spec, yaml.place(key_path)) for spec in specs)
