"""What a consumer gets: one dataclass for each kind of message; docs/wire.md says more of each field."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

from maskstream.model.types import BoolMask, MaskOrigin, TrackState

from . import rle
from .source_status import SourceState
from .wire_fields import WireError


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What every message says."""

    source: str
    run: str  # another one after every start of the publisher, which begins anew with sequence 0
    sequence: int  # frame messages that were sent before this message
    published_unix_ns: int


@dataclass(frozen=True, slots=True)
class ObjectMessage:
    """One object on one frame."""

    object_id: int
    state: TrackState
    how: MaskOrigin
    quality: float | None  # 0..1; None where the sender had no number
    predicted_iou: float | None
    stability_score: float | None
    box_xyxy: tuple[int, int, int, int]  # half-open px, zeros for an empty mask
    area_px: int
    age_ms: float | None
    rle: rle.Rle

    def mask(self) -> BoolMask:
        """The mask (H, W) bool; decoded anew by each call.

        Raises:
            WireError: its run-length code is damaged.
        """
        try:
            return rle.decode(self.rle)
        except ValueError as error:
            raise WireError(f"the mask of object {self.object_id} is damaged: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMessage(Head):
    """One video frame's objects."""

    index: int  # the frame's, in capture order: a gap is a frame that was dropped
    pts: int
    time_base: Fraction  # seconds per tick of pts
    stretch: int  # another number than the last frame's: the stream broke off between the two
    captured_unix_ns: int
    width_px: int
    height_px: int
    dropped: int  # frames dropped before this one since the start
    latency_ms: float | None  # capture to result
    encode_ms: float | None
    track_ms: float | None
    objects: tuple[ObjectMessage, ...]

    @property
    def time_s(self) -> float:
        """Media time in seconds."""
        return float(self.pts * self.time_base)

    @property
    def age_s(self) -> float:
        """Since it was captured, in s; between machines as good as their clocks agree."""
        return (time.time_ns() - self.captured_unix_ns) / 1e9


@dataclass(frozen=True, slots=True)
class LastSeen:
    """One object on the last frame that was published, without its mask."""

    object_id: int
    state: TrackState
    quality: float | None
    box_xyxy: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the stream is doing while no frame comes."""

    state: SourceState
    since_unix_ns: int | None  # when that state began
    paused: bool  # by control: frames are not looked at
    reason: str | None  # what went wrong last, one line
    heartbeat_s: float  # a message comes at least this often
    index: int | None = None  # of the last frame that was published, as the four below
    pts: int | None = None
    time_base: Fraction
    captured_unix_ns: int | None = None
    objects: tuple[LastSeen, ...] = ()
    width_px: int
    height_px: int
    is_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusMessage(Head):
    """A sign of life."""

    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMessage(Head):
    """The last message of a stream."""

    state: SourceState | None  # ENDED, or FAILED; None where the sender does not say
    reason: str | None  # why it failed
