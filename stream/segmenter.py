"""The stage that calls the model: a frame in, its objects' masks out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from maskstream.model.predictor import Predictor
from maskstream.model.tracker import Tracker
from maskstream.model.types import Prompt

from .prompts import ScheduledPrompt
from .types import Frame, FrameResult


class Segmenter:
    """Frame -> FrameResult, for one stream's frames in order of time.

    Args:
        predictor: encodes each frame once.
        tracker: follows the objects.
        schedule: when each object is shown; a prompt is applied to the first frame at or after its time.
    """

    def __init__(
        self, predictor: Predictor, tracker: Tracker, schedule: Sequence[ScheduledPrompt] = ()
    ) -> None:
        self._predictor = predictor
        self._tracker = tracker
        self._waiting = deque(sorted(schedule, key=lambda scheduled: scheduled.time_s))
        self._start_s: float | None = None

    def __call__(self, frame: Frame) -> FrameResult:
        """Encode the frame and find every object on it.

        Raises:
            PromptError: a prompt that is due now points beside the picture.
        """
        started_ns = time.monotonic_ns()
        embedding = self._predictor.encode(frame.image)
        encoded_ns = time.monotonic_ns()
        objects = self._tracker.step(frame.image, embedding, self._due(frame), frame.time_s)
        done_ns = time.monotonic_ns()
        return FrameResult(
            frame=frame,
            objects=objects,
            dropped=0,
            encode_ms=(encoded_ns - started_ns) / 1e6,
            track_ms=(done_ns - encoded_ns) / 1e6,
            done_ns=done_ns,
        )

    def _due(self, frame: Frame) -> list[Prompt]:
        """Prompts whose time has come; times count from the first frame, as a player shows them."""
        if self._start_s is None:
            self._start_s = frame.time_s
        elapsed_s = frame.time_s - self._start_s
        due: dict[int, Prompt] = {}
        while self._waiting and self._waiting[0].time_s <= elapsed_s + 1e-6:
            prompt = self._waiting.popleft().prompt
            due[prompt.object_id] = prompt  # frames were dropped: of two that are due, the later one counts
        return list(due.values())
