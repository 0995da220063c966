"""The constants of following objects, which all trackers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .finder import FinderSettings
from .outlook import OutlookSettings


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """The tracker's constants; docs/propagation.md has a measured row for each that matters."""

    outlook: OutlookSettings = OutlookSettings()  # noqa: RUF009
    finder: FinderSettings = FinderSettings()  # noqa: RUF009
    sure_agreement: float = 0.8  # of decoder and map; from here on the decoder is asked less
    ask_every: int = 1  # frames, for an object that it was sure of: objects take turns
    moved_share: float = 0.25  # of the moved previous mask in that of a frame on which it is not asked
    confidence: float = 1.0  # power of |2p - 1| in how much a cell with object share p teaches
    doubt: float = 1.0  # how much a cell left out that looks like the object is kept from teaching
    learn_every: int = 2  # frames, for an object that it was sure of; the others learn on each
    learning_rate: float = 0.1  # weight in the appearance memory of what is new in one frame
    anchor_weight: float = 0.5  # of what the user showed in the appearance memory
    lost_after_s: float = 1.0  # unseen for longer, an occluded object is lost
    sure_quality: float = 0.6  # from here on an uncertain track is tracked again
    # "none": masks of an object do not depend on which others are followed. "exclusive": a pixel is of one
    # object, and each object is background to the others, which tells look-alikes apart.
    interaction: Literal["none", "exclusive"] = "none"
    unsure_quality: float = 0.4  # below, a tracked one becomes uncertain
