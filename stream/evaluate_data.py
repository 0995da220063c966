"""Sequences with known masks in DAVIS's folder layout: found, checked, and read one picture at a time.

DATASET/JPEGImages/480p/SEQUENCE/00000.jpg    any level between JPEGImages and the sequences, or none
DATASET/Annotations/480p/SEQUENCE/00000.png   one for every frame: an indexed picture with an object's id
                                              at each of its pixels, or black and white for one object
DATASET/ImageSets/val.txt                     names of sequences, one a line; optional
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from maskstream.model.errors import SourceError
from numpy.typing import NDArray
from PIL import Image

from .picture_source import common_size, find_pictures, is_picture

Labels = NDArray[np.uint16]  # (H, W) object ids, 0 where there is none

STANDARD_RESOLUTION = "480p"  # what DAVIS's published figures are measured at
LEAST_FRAMES = 3  # the first is given and the last is not scored
_WHITE = 255  # the one object of a black and white picture; beside other ids what DAVIS calls void
_INDEXED_MODES = ("P", "I;16", "I")


@dataclass(frozen=True, slots=True)
class LabelledSequence:
    """One video and the truth for each of its frames."""

    name: str
    pictures: tuple[Path, ...]
    annotations: tuple[Path, ...]  # one for each picture
    first_frames: dict[int, int]  # object id -> the first frame that shows it, in order of id


def find_sequences(
    dataset: Path,
    *,
    names_file: Path | None = None,
    resolution: str | None = None,
    max_frames: int | None = None,
) -> list[LabelledSequence]:
    """The sequences to score, in the order of the list or else of their names.

    Every annotation is read once, so that a flaw is found before hours of work.

    Args:
        dataset: the folder that holds JPEGImages and Annotations.
        names_file: names of sequences, one a line. Without it: the one list in ImageSets, or all sequences.
        resolution: the folder below JPEGImages; needed where there are several and none is 480p.
        max_frames: take only so many from the start of each sequence.

    Raises:
        SourceError: a folder, sequence or annotation is missing or does not fit.
    """
    pictures, annotations = _trees(dataset, resolution)
    known = _sequence_folders(pictures, dataset.resolve().name)
    truths = {name: annotations / folder.relative_to(pictures) for name, folder in known.items()}
    names = _listed_names(dataset, names_file, known)
    with ThreadPoolExecutor() as threads:  # Pillow lets others work while it unpacks
        return list(threads.map(lambda name: _sequence(name, known[name], truths[name], max_frames), names))


def read_labels(path: Path) -> Labels:
    """Object ids (H, W) of an annotation, 0 where there is none.

    A grey or colour picture with white in it is black and white: its object's id is 255.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode in _INDEXED_MODES:
                labels = np.asarray(picture).astype(np.uint16)
            else:
                labels = _black_and_white(np.asarray(picture.convert("L")))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for damaged files
        raise SourceError(
            f"cannot read the annotation {path}: {error}; get a complete copy of the dataset"
        ) from None
    return labels


def _black_and_white(grey: NDArray[np.uint8]) -> Labels:
    if grey.max(initial=0) == _WHITE:
        grey = np.where(grey > _WHITE // 2, _WHITE, 0).astype(np.uint8)
    return grey.astype(np.uint16)


def _trees(dataset: Path, resolution: str | None) -> tuple[Path, Path]:
    """The two folders whose children are sequences."""
    pictures, annotations = dataset / "JPEGImages", dataset / "Annotations"
    for folder in (pictures, annotations):
        if not folder.is_dir():
            raise SourceError(
                f"{dataset} is not in DAVIS layout: there is no folder {folder}; it takes "
                "JPEGImages/480p/SEQUENCE/*.jpg and Annotations/480p/SEQUENCE/*.png"
            )
    if resolution is None and _has_pictures(pictures):
        return pictures, annotations
    levels = [entry.name for entry in _folders(pictures) if not _has_pictures(entry)]
    level = resolution or _only_level(levels, pictures)
    for folder in (pictures, annotations):
        if not (folder / level).is_dir():
            raise SourceError(f"there is no folder {folder / level}; {pictures} has: {_listing(levels)}")
    return pictures / level, annotations / level


def _only_level(levels: Sequence[str], pictures: Path) -> str:
    if STANDARD_RESOLUTION in levels:
        return STANDARD_RESOLUTION
    if len(levels) > 1:
        raise SourceError(
            f"{pictures} has several resolutions; choose one: --resolution {levels[0]} ({_listing(levels)})"
        )
    return levels[0] if levels else "."


def _sequence_folders(pictures: Path, dataset_name: str) -> dict[str, Path]:
    """Sequences by name; pictures without a folder of their own are one, named as the dataset."""
    found = {entry.name: entry for entry in _folders(pictures) if _has_pictures(entry)}
    if not found and _has_pictures(pictures):
        found = {dataset_name: pictures}
    if not found:
        raise SourceError(
            f"no sequences in {pictures}: none of its folders holds pictures; is the download complete?"
        )
    return found


def _listed_names(dataset: Path, names_file: Path | None, known: dict[str, Path]) -> list[str]:
    if names_file is None:
        lists = [_read_names(path) for path in sorted((dataset / "ImageSets").glob("*.txt"))]
        fitting = [names for names in lists if names and known.keys() >= set(names)]
        return fitting[0] if len(fitting) == 1 else sorted(known)
    names = _read_names(names_file)
    missing = [name for name in names if name not in known]
    if missing or not names:
        what = f"names {missing[0]!r}, which is not in {dataset}" if missing else "names no sequence"
        raise SourceError(f"{names_file} {what}; there are: {_listing(sorted(known))}")
    return names


def _read_names(path: Path) -> list[str]:
    """Names, each once. DAVIS-2016's lists name every picture: the folder's name is the sequence's."""
    try:
        lines = [line.partition("#")[0].split() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the list of sequences {path}: {error}; give a text file") from None
    firsts = [Path(words[0]) for words in lines if words]
    return list(dict.fromkeys(first.parent.name if is_picture(first) else first.name for first in firsts))


def _sequence(name: str, folder: Path, truth: Path, max_frames: int | None) -> LabelledSequence:
    pictures = find_pictures(str(folder))
    annotations = [truth / f"{picture.stem}.png" for picture in pictures]
    missing = [path for path in annotations if not path.is_file()]
    if missing:
        raise SourceError(
            f"{name} has {len(pictures)} frames but no annotation for {len(missing)} of them, first "
            f"{missing[0]}; leave the sequence out with --sequences, or complete the dataset"
        )
    pictures, annotations = pictures[:max_frames], annotations[:max_frames]
    if len(pictures) < LEAST_FRAMES:
        raise SourceError(f"{name} has {len(pictures)} frames; scoring takes at least {LEAST_FRAMES}")
    return LabelledSequence(
        name, tuple(pictures), tuple(annotations), _first_frames(name, pictures, annotations)
    )


def _first_frames(name: str, pictures: Sequence[Path], annotations: Sequence[Path]) -> dict[int, int]:
    """The first frame of each object that is there to be scored: one in the last frame alone is not."""
    size_wh = common_size(pictures)
    first_frames: dict[int, int] = {}
    for frame, annotation in enumerate(annotations):
        labels = read_labels(annotation)
        _check_size(annotation, labels, size_wh)
        if frame < len(annotations) - 1:
            for object_id in np.flatnonzero(np.bincount(labels.ravel())).tolist():
                first_frames.setdefault(object_id, frame)
    first_frames.pop(0, None)
    if len(first_frames) > 1:
        first_frames.pop(_WHITE, None)
    if not first_frames:
        raise SourceError(f"no object in any annotation of {name}, such as {annotations[0]}; leave it out")
    return dict(sorted(first_frames.items()))


def _check_size(annotation: Path, labels: Labels, size_wh: tuple[int, int]) -> None:
    height, width = labels.shape
    if (width, height) != size_wh:
        raise SourceError(
            f"{annotation} is {width}x{height} px but its frame is {size_wh[0]}x{size_wh[1]} px; "
            "take both from the same resolution"
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _has_pictures(folder: Path) -> bool:
    return any(is_picture(entry) for entry in folder.iterdir())


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8]) or "none"
    return f"{shown}, ..." if len(names) > 8 else shown
