"""A folder or glob of pictures, in natural order, as one video."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from maskstream.model.errors import SourceError, StreamBrokenError
from maskstream.model.types import RgbImage
from PIL import Image, ImageOps

from .source_base import BaseSource, captured_now
from .types import Frame, StreamInfo

# Not GIF: an animated one is a video, and FFmpeg reads it.
_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".avif"})
_SUFFIXES |= {".ppm", ".pgm", ".pnm"}
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION_TAG = 0x0112


def is_picture(path: Path) -> bool:
    """Whether the name is that of a still picture."""
    return path.suffix.lower() in _SUFFIXES


def find_pictures(spec: str) -> list[Path]:
    """The pictures of a folder, of a glob pattern, or the one picture, in natural order (2 before 10).

    Raises:
        SourceError: there is none.
    """
    path = Path(spec)
    if path.is_dir():
        found: Iterable[Path] = _entries(path)
    elif path.is_file():
        found = [path]
    else:
        # Path.glob takes no absolute pattern.
        found = (Path(name) for name in glob.glob(spec, recursive=True))  # noqa: PTH207
    everything = list(found)
    pictures = [entry for entry in everything if is_picture(entry) and entry.is_file()]
    if not pictures:
        raise SourceError(f"cannot open {spec}: no pictures there, {_what_instead(everything)}")
    return sorted(pictures, key=natural_key)


def natural_key(path: Path) -> list[tuple[str, int]]:
    """Sorts numbers in names by value: frame2 comes before frame10."""
    pieces = re.findall(r"(\D*)(\d*)", str(path).casefold())
    return [(text, int(number or -1)) for text, number in pieces]


def load_picture(path: Path) -> RgbImage:
    """The picture (H, W, 3) RGB, upright by its EXIF orientation; deeper than 8 bits is scaled down.

    Raises:
        OSError: it is damaged, or no picture.
    """
    with Image.open(path) as stored:
        upright = ImageOps.exif_transpose(stored)
        if upright.mode.startswith("I;16"):  # Pillow would clip 16 bits, not scale them
            grey = (np.asarray(upright) >> 8).astype(np.uint8)
            return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))
        return np.array(upright.convert("RGB"))


class PictureSource(BaseSource):
    """Pictures of one size; their PTS count up at the given rate."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        source_id: str,
        frame_rate: Fraction = Fraction(24),
        max_frames: int | None = None,
        realtime: bool = False,
    ) -> None:
        """Reads the size of every picture, so that an odd one is found before any work.

        Raises:
            SourceError: a picture cannot be read, or has another size than the first.
        """
        self._paths = paths[:max_frames]
        width, height = common_size(self._paths)
        info = StreamInfo(source_id, width, height, 1 / frame_rate, frame_rate, False, len(self._paths))
        super().__init__(info, max_frames=max_frames, realtime=realtime)

    def _frames(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                image = load_picture(path)
            except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for damaged files
                where = f"before frame {index}" if index else "at its first frame"
                raise StreamBrokenError(
                    f"{self.info.source_id} broke off {where}: {path}: {error}"
                ) from error
            yield captured_now(self.info, image, index, pts=index)


def _entries(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except PermissionError:
        raise SourceError(f"cannot open {folder}: permission denied; ask for the right to read it") from None


def _what_instead(entries: list[Path]) -> str:
    if not entries:
        return "it is empty or does not exist; check the name"
    example = sorted(entries)[0].name
    return (
        f"but {len(entries)} other entries such as {example}; name a video, or a folder of .jpg or .png files"
    )


def common_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Width and height in px that all pictures have.

    Raises:
        SourceError: one has another size, or cannot be read.
    """
    first = _size(paths[0])
    for path in paths[1:]:
        size = _size(path)
        if size != first:
            raise SourceError(
                f"cannot open {path}: it is {size[0]}x{size[1]} px but {paths[0].name} is "
                f"{first[0]}x{first[1]} px; make all pictures one size"
            )
    return first


def _size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture in px, from its header."""
    try:
        with Image.open(path) as stored:
            width, height = stored.size
            sideways = stored.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS
    except (OSError, SyntaxError, ValueError) as error:
        why = "permission denied" if isinstance(error, PermissionError) else "it is no picture, or damaged"
        raise SourceError(f"cannot open {path}: {why}; remove or replace it") from None
    return (height, width) if sideways else (width, height)
