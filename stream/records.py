"""A result as plain data: the same names in messages and in mask files."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from maskstream.model.types import ObjectMask

from . import rle
from .types import FrameResult

Record = dict[str, Any]


class MaskCode(NamedTuple):
    """A mask as it is written and sent."""

    code: rle.Rle
    area_px: int


def frame_record(result: FrameResult) -> Record:
    """Everything found on one frame, as numbers, strings, lists and RLE bytes."""
    frame = result.frame
    return {
        "index": frame.index,
        "pts": frame.pts,
        "captured_unix_ns": frame.captured_unix_ns,
        "stretch": frame.stretch,
        "dropped": result.dropped,
        "latency_ms": rounded(result.latency_ms),
        "encode_ms": rounded(result.encode_ms),
        "track_ms": rounded(result.track_ms),
        "objects": [
            object_record(found, coded)
            for found, coded in zip(result.objects, mask_codes(result), strict=True)
        ],
    }


def object_record(found: ObjectMask, coded: MaskCode) -> Record:
    """One object, its mask as COCO RLE."""
    return {
        "id": found.object_id,
        "state": found.state.value,
        "quality": rounded(found.quality),
        "predicted_iou": rounded(found.predicted_iou),
        "stability_score": rounded(found.stability_score),
        "box_xyxy": found.box_xyxy.tolist(),
        "area_px": coded.area_px,
        "how": found.how.value,
        "age_ms": rounded(found.age_ms),
        "rle": dict(coded.code),
    }


def mask_codes(result: FrameResult) -> tuple[MaskCode, ...]:
    """The masks of a result's objects, coded once for all sinks; any thread."""
    with _lock:
        entry = _entries.setdefault(result, _Entry())
    with entry.lock:
        if entry.codes is None:
            entry.codes = tuple(_coded(found) for found in result.objects)
        return entry.codes


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()  # sinks have threads of their own
        self.codes: tuple[MaskCode, ...] | None = None


_lock = threading.Lock()
_entries: WeakKeyDictionary[FrameResult, _Entry] = WeakKeyDictionary()  # gone with their results


def _coded(found: ObjectMask) -> MaskCode:
    runs = rle.runs_of_mask(found.mask, found.box_xyxy)
    return MaskCode(rle.encode_runs(runs, found.mask.shape), int(runs[1::2].sum()))


def rounded(value: float) -> float | None:
    """To what is meaningful; None for what JSON cannot say."""
    return round(float(value), 4) if math.isfinite(value) else None
