"""The values that flow through the pipeline: a stream's facts, its frames, and what was found on each."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from maskstream.model.types import ObjectMask, RgbImage


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known of a stream before its first frame."""

    source_id: str  # short, safe to print: never holds a password
    width_px: int
    height_px: int
    time_base: Fraction  # seconds per tick of PTS
    frame_rate: Fraction | None  # average; None where the stream does not say
    is_live: bool  # live streams drop the oldest frame, files block and lose nothing
    frame_count: int | None = None  # an estimate for progress, files only


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture with its true time."""

    image: RgbImage  # (H, W, 3) uint8 RGB, C-contiguous, read-only
    index: int  # 0, 1, 2, ... in capture order; a drop leaves a gap
    pts: int  # media clock in ticks of time_base
    time_base: Fraction
    captured_ns: int  # monotonic clock, for latency only
    captured_unix_ns: int  # wall clock, for people and other machines
    source_id: str
    stretch: int = 0  # another number than the last frame's: the stream broke off between the two

    def __post_init__(self) -> None:
        image = self.image
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        if not image.flags.c_contiguous:
            raise ValueError("image must be C-contiguous")
        image.setflags(write=False)

    @property
    def time_s(self) -> float:
        """Media time in seconds."""
        return float(self.pts * self.time_base)

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class FrameResult:
    """A frame and the objects found on it, in order of object_id."""

    frame: Frame
    objects: tuple[ObjectMask, ...]
    dropped: int  # frames the source queue has dropped so far
    encode_ms: float  # image encoder
    track_ms: float  # everything after it: flow, prompts, mask decoder, masks
    done_ns: int  # monotonic clock

    def __post_init__(self) -> None:
        for found in self.objects:
            if found.mask.shape != self.frame.image.shape[:2]:
                raise ValueError(
                    f"mask of object {found.object_id} must be {self.frame.hw} as its frame is, "
                    f"got {found.mask.shape}"
                )

    @property
    def latency_ms(self) -> float:
        """Capture to result, in ms."""
        return (self.done_ns - self.frame.captured_ns) / 1e6
