"""What the stages of a live stream take. Nothing heavy is imported here: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from maskstream.model.errors import ConfigError

EXAMPLE = "encode=80,track=30,flow=4,move=1"


@dataclass(frozen=True, slots=True)
class Costs:
    """What each stage takes, in ms, while the others are at work too.

    Raises:
        ConfigError: a stage takes no time at all, or longer than makes sense.
    """

    encode: float  # image encoder
    track: float  # from there to the masks of an encoded frame
    flow: float  # from one frame to the next
    move: float  # all masks along it

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < 1e5:
                raise ConfigError(f"--costs: {field.name} must be above 0 and below 100000 ms, got {value:g}")


@dataclass(frozen=True, slots=True)
class Realtime:
    """How fast frames come, and what their stages cost."""

    rate: float  # frames per second
    costs: Costs
    are_measured: bool = False  # the costs, here and now; or they were given


def parse_costs(text: str) -> Costs:
    """`encode=80,track=30,flow=4,move=1`, in ms, in any order.

    Raises:
        ConfigError: one is missing, unknown, no number or out of range.
    """
    names = [field.name for field in fields(Costs)]
    try:
        values = {name.strip(): float(number) for name, number in (_pair(part) for part in text.split(","))}
    except ValueError:
        values = {}
    if sorted(values) != sorted(names):
        raise ConfigError(f"--costs {text}: give {', '.join(names)}, each in ms, such as {EXAMPLE}")
    return Costs(**values)


def _pair(text: str) -> tuple[str, str]:
    name, number = text.split("=")
    return name, number
