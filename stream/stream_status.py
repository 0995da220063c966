"""How a stream is doing: its facts, its source's state, and what was on its last frame."""

from __future__ import annotations

from dataclasses import replace

from .records import rounded
from .source_status import SourceState, SourceStatus
from .types import FrameResult, StreamInfo
from .wire_messages import LastSeen, Status


def first_status(info: StreamInfo, heartbeat_s: float) -> Status:
    """Before the first frame."""
    return Status(
        state=SourceState.RUNNING,
        since_unix_ns=None,
        paused=False,
        reason=None,
        heartbeat_s=heartbeat_s,
        time_base=info.time_base,
        width_px=info.width_px,
        height_px=info.height_px,
        is_live=info.is_live,
    )


def with_last(status: Status, result: FrameResult) -> Status:
    """After a frame."""
    frame = result.frame
    objects = tuple(
        LastSeen(found.object_id, found.state, rounded(found.quality), tuple(found.box_xyxy.tolist()))
        for found in result.objects
    )
    return replace(
        status,
        index=frame.index,
        pts=frame.pts,
        time_base=frame.time_base,
        captured_unix_ns=frame.captured_unix_ns,
        height_px=frame.hw[0],
        width_px=frame.hw[1],
        objects=objects,
    )


def with_source(status: Status, source: SourceStatus | None, paused: bool) -> Status:
    """As the source says; None where it cannot tell."""
    if source is None:
        return replace(status, paused=paused)
    return replace(
        status,
        paused=paused,
        state=source.state,
        since_unix_ns=source.since_unix_ns,
        reason=source.last_error,
    )
