"""What is benchmarked on: moving shapes at any size, made ready before the clock runs."""

from __future__ import annotations

from fractions import Fraction

from maskstream.model.types import Prompt, RgbImage

from .synthetic import SyntheticSettings, SyntheticSource
from .types import Frame

FRAMES = 16  # in memory; played forth and back, so that nothing ever jumps


class BenchScene:
    """Frames in memory, with a prompt for each object on the first."""

    def __init__(self, width: int, height: int, objects: int) -> None:
        settings = SyntheticSettings("drift", objects, FRAMES, width, height, Fraction(30))
        with SyntheticSource(settings) as source:
            self._frames = list(source)
            self.boxes: list[Prompt] = source.prompts(0, "box")
            self.masks: list[Prompt] = source.prompts(0, "mask")
        self._turn = 2 * (FRAMES - 1)

    def frame(self, index: int) -> Frame:
        """Frame 0, 1, ... of an endless stream, at 30 frames per second."""
        place = index % self._turn
        image = self._frames[min(place, self._turn - place)].image
        return Frame(image, index, index, Fraction(1, 30), 0, 0, "bench")

    def image(self, index: int) -> RgbImage:
        """Its picture (H, W, 3)."""
        return self.frame(index).image


def live_spec(width: int, height: int, objects: int, frames: int) -> str:
    """The same as a live source."""
    return f"synthetic:scene=drift,objects={objects},width={width},height={height},frames={frames},live=1"
