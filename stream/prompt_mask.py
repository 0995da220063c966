"""Reads an object's mask from a picture that somebody drew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from maskstream.model.errors import PromptError
from maskstream.model.types import BoolMask

if TYPE_CHECKING:
    from PIL import Image


def read_mask(path: Path, object_id: int) -> BoolMask:
    """The mask (H, W) in a picture of any format.

    In an indexed picture that uses index `object_id`, as DAVIS annotations do, it is those pixels; else it is
    all pixels that are neither zero nor transparent.

    Raises:
        PromptError: the file cannot be read, is no picture, or marks no pixel.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mask = _mask_of(picture, object_id)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for damaged pictures
        reason = getattr(error, "strerror", None) or "it is not a picture, or a damaged one"
        raise PromptError(f"cannot read mask file {path}: {reason}") from error
    if not mask.any():
        raise PromptError(f"the mask is empty: {path} has no non-zero pixel")
    return mask


def _mask_of(picture: Image.Image, object_id: int) -> BoolMask:
    pixels = np.asarray(picture.convert("RGBA") if "A" in picture.getbands() else picture)
    mask: BoolMask = pixels != 0
    if picture.mode == "P" and (pixels == object_id).any():
        mask = pixels == object_id
    elif pixels.ndim == 3:  # alpha has no band in an RGB picture
        mask = np.logical_and(mask[..., :3].any(axis=2), mask[..., 3:].all(axis=2))
    return mask
