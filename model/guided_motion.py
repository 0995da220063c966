"""Motion for a tracker that sees only some of a stream's frames, by way of the frames between them.

Flow straight from one encoded frame to the next, some frames later, loses what moves fast. But somebody looks
at every frame, see drift.py: composed of those small steps and then refined, flow reaches much farther.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .drift import Drift, Thumb, agreement, flow_estimator
from .motion import Motion, MotionEstimator
from .types import RgbImage


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """What is known of a frame that may be encoded: where its pixels were on frames that may have been."""

    image: RgbImage  # the frame's very image
    thumb: Thumb  # the same, small
    drifts: tuple[Drift, ...]  # to earlier frames


class GuidedMotion(MotionEstimator):
    """As `MotionEstimator`, for images that need not follow each other closely."""

    def __init__(self) -> None:
        self._flow = flow_estimator()
        self._before: Thumb | None = None
        self._guides: tuple[Guide, ...] = ()

    def guide(self, guides: Sequence[Guide]) -> None:
        """Say what is known of the images that may come next; from any thread, all anew each time."""
        self._guides = tuple(guides)

    def step(self, image: RgbImage) -> Motion | None:
        """Motion from the previous image to this one (H, W, 3); None on the first and after a size change."""
        guides = [guide for guide in self._guides if guide.image is image]
        now = guides[0].thumb if guides else Thumb.of(image)
        drifts = guides[0].drifts if guides else ()
        before, self._before = self._before, now
        if before is None or before.gray.shape != now.gray.shape:
            self._flow = flow_estimator()  # one for several sizes crashes, see drift.py
            return None
        flows = [drift.flow for drift in drifts if drift.origin is before and not drift.is_broken]
        guess = flows[0].copy() if flows and flows[0] is not None else None
        flow = self._flow.calc(now.gray, before.gray, guess)
        return Motion(flow, agreement(now.gray, before.gray, flow))

    def forget(self) -> None:
        """See `MotionEstimator.forget`."""
        self._before = None
