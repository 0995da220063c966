"""Masks as files: JSON Lines with COCO RLE, and indexed PNG in DAVIS layout. See docs/outputs.md."""

from __future__ import annotations

import io
import json
import mimetypes
import re
from pathlib import Path

import numpy as np
from maskstream.model.errors import SinkError
from numpy.typing import NDArray
from PIL import Image

from .lasting_file import LastingFile
from .records import Record, frame_record
from .targets import cannot_write, check_folder
from .types import FrameResult, StreamInfo

VERSION = 1
MANIFEST, LINES, PICTURES = "stream.json", "masks.jsonl", "png"


class MaskSink:
    """Writes `masks.jsonl`, `stream.json` and `png/SOURCE/00000.png` into a folder.

    Each frame is on disk as soon as it is written, so that a run that broke off is readable up to there.
    What an earlier run left in the folder is replaced when the first frame arrives.

    Args:
        folder: made if missing; its parent must exist.
        png: whether to write the pictures too.
        overwrite: write even into a folder that holds other things. They are left alone.
    """

    def __init__(self, folder: str | Path, *, png: bool = True, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self._png, self._overwrite = png, overwrite
        self._info: StreamInfo | None = None
        self._lines: LastingFile | None = None

    def check(self) -> None:
        """See that the folder can be made or written to; creates nothing.

        Raises:
            SinkError: it cannot, or it holds things that are not ours.
        """
        if not self.folder.exists():
            check_folder(self.folder.parent)
            return
        check_folder(self.folder)
        ours = (self.folder / MANIFEST).exists()
        if not ours and not self._overwrite and any(self.folder.iterdir()):
            raise SinkError(
                f"{self.folder} holds other files; choose an empty or new folder, "
                f"or write among them: masks={self.folder}?overwrite=1"
            )

    def open(self, info: StreamInfo) -> None:
        """Note what stream it is; the files are made when the first frame comes."""
        self._info = info

    def write(self, result: FrameResult) -> None:
        """Add one frame.

        Raises:
            SinkError: a file cannot be written; those written before are whole.
        """
        if self._info is None:
            raise ValueError("open() comes before write()")
        if self._lines is None:
            self._begin(self._info)
        assert self._lines is not None
        self._lines.write(_json_line(result))
        self._lines.check()
        if self._png:
            name = f"{result.frame.index:05d}.png"
            folder = self.folder / PICTURES / folder_name(self._info.source_id)
            write_whole(folder / name, labels_png(label_picture(result)))

    def close(self) -> None:
        """Close the files."""
        if self._lines is not None:
            self._lines.close()

    def _begin(self, info: StreamInfo) -> None:
        pictures = self.folder / PICTURES
        try:
            for old in pictures.glob("*/[0-9]*.png"):
                old.unlink()
            self.folder.mkdir(exist_ok=True)
            if self._png:
                (pictures / folder_name(info.source_id)).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        manifest = json.dumps(self._manifest(info), indent=2) + "\n"
        write_whole(self.folder / MANIFEST, manifest.encode())
        self._lines = LastingFile(self.folder / LINES)

    def _manifest(self, info: StreamInfo) -> Record:
        rate = info.frame_rate
        return {
            "format": "maskstream masks",
            "version": VERSION,
            "source": info.source_id,
            "width_px": info.width_px,
            "height_px": info.height_px,
            "time_base": [info.time_base.numerator, info.time_base.denominator],
            "frame_rate": rate and [rate.numerator, rate.denominator],
            "is_live": info.is_live,
            "masks": LINES,
            "pictures": f"{PICTURES}/{folder_name(info.source_id)}" if self._png else None,
        }


def folder_name(source_id: str) -> str:
    """A source's name as a folder's: `clip.mp4` is `clip`, other than word characters become `_`."""
    kind = mimetypes.guess_type(source_id)[0] or ""
    name = Path(source_id).stem if kind.startswith("video/") else source_id
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "stream"


def label_picture(result: FrameResult) -> NDArray[np.uint8 | np.uint16]:
    """(H, W) object ids, 0 where there is none; 16 bits if an id is above 255.

    Where objects overlap the smaller one is on top, of equals the one with the higher id: a ball in front of
    a person would else be swallowed.
    """
    wide = any(found.object_id > 255 for found in result.objects)
    hw = result.frame.hw
    picture: NDArray[np.uint8 | np.uint16] = np.zeros(hw, np.uint16) if wide else np.zeros(hw, np.uint8)
    for found in sorted(result.objects, key=lambda found: (-np.count_nonzero(found.mask), found.object_id)):
        picture[found.mask] = found.object_id
    return picture


def _json_line(result: FrameResult) -> bytes:
    record = frame_record(result)
    record["time_s"] = round(result.frame.time_s, 6)
    for found in record["objects"]:
        found["rle"]["counts"] = found["rle"]["counts"].decode("ascii")
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def labels_png(labels: NDArray[np.uint8 | np.uint16]) -> bytes:
    """Object ids (H, W) as a PNG file, with DAVIS's colours where they have 8 bits."""
    picture = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        picture.putpalette(_DAVIS_PALETTE)
    data = io.BytesIO()
    picture.save(data, "PNG", compress_level=1)
    return data.getvalue()


def write_whole(path: Path, data: bytes) -> None:
    """All or nothing: a disk that fills up leaves no torn file.

    Raises:
        SinkError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def _davis_palette() -> bytes:
    """DAVIS and VOC spread the bits of the id over the high bits of red, green and blue."""
    ids = np.arange(256)
    bits = (ids[:, None] >> np.arange(8)) & 1  # (256, 8), lowest first
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= (bits[:, bit] << (7 - bit // 3)).astype(np.uint8)
    return colours.tobytes()


_DAVIS_PALETTE = _davis_palette()
