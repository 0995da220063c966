"""A result as plain data: the same names in messages and in mask files."""

from __future__ import annotations

import math
from typing import Any

from maskstream.model.types import ObjectMask

from . import rle
from .types import FrameResult

Record = dict[str, Any]


def frame_record(result: FrameResult) -> Record:
    """Everything found on one frame, as numbers, strings, lists and RLE bytes."""
    frame = result.frame
    return {
        "index": frame.index,
        "pts": frame.pts,
        "captured_unix_ns": frame.captured_unix_ns,
        "dropped": result.dropped,
        "latency_ms": _number(result.latency_ms),
        "encode_ms": _number(result.encode_ms),
        "track_ms": _number(result.track_ms),
        "objects": [object_record(found) for found in result.objects],
    }


def object_record(found: ObjectMask) -> Record:
    """One object, its mask as COCO RLE."""
    return {
        "id": found.object_id,
        "state": found.state.value,
        "quality": _number(found.quality),
        "predicted_iou": _number(found.predicted_iou),
        "stability_score": _number(found.stability_score),
        "box_xyxy": [int(edge) for edge in found.box_xyxy],
        "area_px": found.area_px,
        "how": found.how.value,
        "age_ms": _number(found.age_ms),
        "rle": rle.encode(found.mask),
    }


def _number(value: float) -> float | None:
    """Rounded to what is meaningful; None for what JSON cannot say."""
    return round(float(value), 4) if math.isfinite(value) else None
