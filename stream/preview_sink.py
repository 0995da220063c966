"""One picture of a whole run: its first, middle and last frame side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from maskstream.model.errors import SinkError
from maskstream.model.types import ObjectMask, RgbImage, box_of_mask

from .overlay import annotate
from .targets import cannot_write, check_file
from .types import FrameResult, StreamInfo

_TILE_PX = 640  # longest side of a frame on the sheet
_GAP_PX = 8
_KEPT = 16  # frames kept to choose the middle from: it is at most 1/16 of the run off
_ENDINGS = (".png", ".jpg", ".jpeg")


class PreviewSink:
    """Writes a contact sheet when the stream ends. How long the stream is need not be known.

    Args:
        path: ends in .png or .jpg; a file of this name is replaced at the end.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._count = 0
        self._stride = 1
        self._kept: list[RgbImage] = []  # every _stride-th frame, as a tile
        self._last: FrameResult | None = None

    def check(self) -> None:
        """See that the picture can be written; creates nothing.

        Raises:
            SinkError: unknown ending, or not writable.
        """
        if self.path.suffix.lower() not in _ENDINGS:
            raise SinkError(f"cannot write {self.path}: a preview ends in {', '.join(_ENDINGS)}")
        check_file(self.path)

    def open(self, info: StreamInfo) -> None:
        """Nothing to prepare."""

    def write(self, result: FrameResult) -> None:
        """Take note of a frame; most are only looked at if they turn out to be the last."""
        if self._count % self._stride == 0:
            self._kept.append(_tile(result))
        if len(self._kept) > _KEPT:
            self._kept, self._stride = self._kept[::2], self._stride * 2
        self._count += 1
        self._last = result

    def close(self) -> None:
        """Write the picture, if there was any frame.

        Raises:
            SinkError: it cannot be written.
        """
        last, self._last = self._last, None
        if last is None:
            return
        tiles = [self._kept[0]]
        if self._count > 2:
            tiles.append(self._kept[max(1, round((self._count - 1) / 2 / self._stride))])
        if self._count > 1:
            tiles.append(_tile(last))
        _write_picture(self.path, _side_by_side(tiles))


def _tile(result: FrameResult) -> RgbImage:
    """The frame at its size on the sheet, drawn on afterwards so that lines and text stay sharp and small."""
    height, width = result.frame.hw
    scale = _TILE_PX / max(height, width)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(result.frame.image, size_wh, interpolation=interpolation)
    objects = [_resized(found, size_wh) for found in result.objects]
    return annotate(image, objects, result.frame.time_s)


def _resized(found: ObjectMask, size_wh: tuple[int, int]) -> ObjectMask:
    small = cv2.resize(found.mask.view(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST).view(np.bool_)
    return dataclasses.replace(found, mask=small, box_xyxy=box_of_mask(small))


def _side_by_side(tiles: list[RgbImage]) -> RgbImage:
    height = max(tile.shape[0] for tile in tiles)
    sheet = []
    for tile in tiles:
        below = height - tile.shape[0]
        white = (255, 255, 255)
        sheet.append(cv2.copyMakeBorder(tile, 0, below, 0, _GAP_PX, cv2.BORDER_CONSTANT, value=white))
    return np.ascontiguousarray(np.hstack(sheet)[:, :-_GAP_PX])


def _write_picture(path: Path, image: RgbImage) -> None:
    """Through a neighbouring file, so that no one ever sees half a picture."""
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
