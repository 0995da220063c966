"""The deadline ladder: every frame of a live stream is answered in time, by the best there is time for.

    fresh    this frame was encoded and tracked before its time was up
    refined  an object is shown on this frame, and what the user says of it is known before it is encoded
    warped   the newest encoded frame's masks, moved along optical flow to this one
    held     the masks of the frame before as they were: there was not even time for that

Encoding goes on beside, on the newest frame whenever the last one is done. What it finds comes some frames
late and is moved to where things are by then. Here are the decisions only: ladder_worker.py has the thread,
and evaluate_realtime.py makes the same decisions by a clock of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from maskstream.model.coast import Imprint, held, resized
from maskstream.model.drift import Drift, Thumb
from maskstream.model.guided_motion import Guide
from maskstream.model.types import MaskOrigin, ObjectMask, RgbImage

from .telemetry import Clock, StageStats, StepTimes
from .types import Frame, FrameResult

# A worker that gets free takes up a frame no older than this, in budgets; else it waits for the next one.
# With older evidence sooner, what is published would on average be older.
STALE = 1 / 3
PATIENCE = 0.5  # budgets: a frame that has waited longer is answered at once, with the masks before it
NEW_SHARE = 0.25  # of the newest duration in an estimate


class Segmenting(Protocol):
    """The real segmenter, which the worker runs; the ladder asks it what is to come."""

    steps: StepTimes

    def __call__(self, frame: Frame) -> FrameResult:
        """The objects on a frame, encoded."""

    def is_due(self, frame: Frame) -> bool:
        """Whether something is to be done to the objects on this frame; any thread."""

    def preview(self, frame: Frame) -> tuple[ObjectMask, ...]:
        """What is known of objects that are shown on this frame before it is encoded; any thread."""

    def close(self) -> None:
        """No more frames come."""


class Worker(Protocol):
    """Encodes and tracks, one frame at a time, beside the ladder."""

    stats: StageStats

    def offer(self, frame: Frame, *, must: bool) -> bool:
        """Hand over the newest frame; what becomes of it is up to a `Slot`."""

    def wait(self, until_ns: int) -> FrameResult | None:
        """The next result; None where none comes until then. Raises what the work raised."""

    @property
    def indexes(self) -> frozenset[int]:
        """Of the frames that wait, are worked on, or are done but not taken."""

    @property
    def takes_ns(self) -> int:
        """How long a frame should take; 0 while that is not known."""

    @property
    def expected_ns(self) -> int | None:
        """When the next result should be there; None where nothing is worked on."""

    def close(self) -> None:
        """Stop after the frame that is being worked on. May be called twice."""


class Slot:
    """Where one frame waits for the worker: the newest, or an older one that must not be passed over."""

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self._is_kept = False

    def offer(self, frame: Frame, *, must: bool) -> bool:
        """Put the newest frame in the place of what waits, unless that must be worked on; True if done."""
        if self.frame is not None and self._is_kept:
            return False
        self.frame, self._is_kept = frame, must
        return True

    def take(self) -> Frame | None:
        """The frame, if there is one; it waits no more."""
        taken, self.frame = self.frame, None
        return taken

    def drop_older(self, captured_ns: int) -> None:
        """Let go of a frame that was captured before, unless it must be worked on."""
        if self.frame is not None and not self._is_kept and self.frame.captured_ns < captured_ns:
            self.frame = None


class Coast(Protocol):
    """Where pixels came from: see `coast.Coaster`."""

    def restart(self, image: RgbImage) -> Drift:
        """A frame's own drift."""

    def step(self, image: RgbImage) -> tuple[Drift, Drift]:
        """A frame's drift to the one given before, and its own."""

    def carry(self, imprints: Sequence[Imprint], drift: Drift, now: Thumb, age_ms: float) -> list[ObjectMask]:
        """Objects of an earlier frame as they should be on the newest."""


class Estimate:
    """A duration to be expected, from those before; 0 before the first."""

    def __init__(self) -> None:
        self._ns: float | None = None

    @property
    def ns(self) -> int:
        """The duration."""
        return int(self._ns or 0)

    def add(self, duration_ns: float) -> None:
        """Take a duration into account."""
        self._ns = duration_ns if self._ns is None else self._ns + NEW_SHARE * (duration_ns - self._ns)


@dataclass(slots=True)
class LadderCounts:
    """What a stream got so far."""

    encoded: int = 0  # frames whose encoding was used: fresh masks, late or in time
    frames: Counter[MaskOrigin] = field(default_factory=Counter)  # by the rung they were answered from


@dataclass(slots=True, eq=False)
class _Evidence:
    """What is known of objects on one frame."""

    frame: Frame
    objects: tuple[ObjectMask, ...]
    imprints: list[Imprint] | None = None  # of the objects, from the first time they are carried

    def carried(self, coast: Coast, drift: Drift, frame: Frame, now: Thumb) -> Sequence[ObjectMask]:
        """The objects on a frame, which `drift` leads back from."""
        if frame is self.frame:
            return self.objects
        if self.imprints is None:
            self.imprints = [Imprint.of(found, drift.origin) for found in self.objects]
        carried = coast.carry(self.imprints, drift, now, _ms_between(self.frame, frame))
        return [resized(found, frame.hw) for found in carried]


class Ladder:
    """Frame -> FrameResult within the frame's budget, for one stream's frames in order of time.

    Args:
        segmenter: the real one.
        worker: runs it.
        coast: a new Coaster.
        budget_ns: what a frame may take from its capture on; the time between two frames.
        clock: monotonic, in ns, the one of `Frame.captured_ns`.
        guide: takes what is known of how things moved up to the frames that may be encoded next.
    """

    def __init__(
        self,
        segmenter: Segmenting,
        worker: Worker,
        coast: Coast,
        budget_ns: int,
        clock: Clock,
        guide: Callable[[Sequence[Guide]], None],
    ) -> None:
        self.counts = LadderCounts()
        self._segmenter, self._worker, self._coast = segmenter, worker, coast
        self.budget_ns, self._clock, self._guide = budget_ns, clock, guide
        self._following, self._moving = Estimate(), Estimate()  # flow to a frame; moving its masks
        self._newest: FrameResult | None = None  # result of the worker
        self._found: _Evidence | None = None  # in it
        self._shown: _Evidence | None = None  # by the user, on a frame that the worker has not come to
        self._drifts: dict[int, Drift] = {}  # from the newest frame to those whose results count
        self._guides: dict[int, Guide] = {}  # of the same frames
        self._answer: FrameResult | None = None  # to the frame before

    def __call__(self, frame: Frame) -> FrameResult:
        """The frame's objects, and in `how` and `age_ms` what is known of them how long.

        Raises:
            Exception: what the segmenter raised in the worker, if anything.
        """
        answer = self._held(frame) if self._is_late(frame) else self._best(frame)
        self.counts.frames.update({found.how for found in answer.objects})
        self._answer = answer
        return answer

    @property
    def steps(self) -> StepTimes:
        """How long the real segmenter's steps take."""
        return self._segmenter.steps

    @property
    def helper_stats(self) -> StageStats:
        """The worker's stopwatch."""
        return self._worker.stats

    def close(self) -> None:
        """Stop the worker, then the segmenter; may be called twice."""
        self._worker.close()
        self._segmenter.close()

    def _is_late(self, frame: Frame) -> bool:
        """Whether frames behind this one would be lost if it took its time too."""
        if self._is_after_break(frame):
            return False  # masks from before the break are nothing to hold on to
        return self._clock() > frame.captured_ns + PATIENCE * self.budget_ns

    def _is_after_break(self, frame: Frame) -> bool:
        return self._answer is not None and self._answer.frame.stretch != frame.stretch

    def _best(self, frame: Frame) -> FrameResult:
        deadline_ns = frame.captured_ns + self.budget_ns - self._moving.ns
        waits_ns = deadline_ns - self._following.ns
        is_quick = not self._worker.indexes and self._clock() + self._worker.takes_ns <= waits_ns
        if not is_quick:
            self._follow(frame)
        self._offer(frame)
        self._take_results(frame, waits_ns if is_quick else deadline_ns)
        if self._is_fresh(frame):
            return self._fresh(frame)
        if is_quick:
            self._follow(frame)
        return self._moved(frame)

    def _is_fresh(self, frame: Frame) -> bool:
        return self._newest is not None and self._newest.frame is frame

    def _offer(self, frame: Frame) -> None:
        """Frames on which objects are shown are all encoded: where things are on others was not said."""
        must = self._segmenter.is_due(frame)
        shown = _Evidence(frame, self._segmenter.preview(frame)) if must else None
        if self._worker.offer(frame, must=must) and shown is not None:
            self._shown = shown

    def _take_results(self, frame: Frame, deadline_ns: int) -> None:
        """What the worker has done, and what it should have done before it is too late for this frame."""
        while not self._is_fresh(frame):
            expected_ns = self._worker.expected_ns
            is_near = expected_ns is not None and expected_ns <= deadline_ns
            result = self._worker.wait(deadline_ns if is_near else 0)
            if result is None:
                return
            self._newest, self._found = result, _Evidence(result.frame, result.objects)
            self.counts.encoded += 1

    def _follow(self, frame: Frame) -> None:
        """Bring the drifts up to this frame."""
        started_ns = self._clock()
        step, own = self._step(frame)
        wanted = self._worker.indexes.union(
            known.frame.index for known in (self._found, self._shown) if known is not None
        )
        drifts = {index: drift.then(step) for index, drift in self._drifts.items() if index in wanted}
        self._guides = {index: guide for index, guide in self._guides.items() if index in wanted}
        self._guides[frame.index] = Guide(frame.image, own.origin, tuple(drifts.values()))
        self._drifts = {**drifts, frame.index: own}
        self._guide(tuple(self._guides.values()))
        self._following.add(self._clock() - started_ns)

    def _step(self, frame: Frame) -> tuple[Drift, Drift]:
        """The frame's drift to the one before, and its own; in a break nobody saw how things moved."""
        if not self._is_after_break(frame):
            return self._coast.step(frame.image)
        own = self._coast.restart(frame.image)
        return Drift(own.origin, is_broken=True), own

    def _fresh(self, frame: Frame) -> FrameResult:
        assert self._newest is not None
        if frame.index not in self._drifts:
            own = self._coast.restart(frame.image)
            self._drifts, self._guides = {frame.index: own}, {}
        return self._newest

    def _moved(self, frame: Frame) -> FrameResult:
        """The newest evidence of each object, as it is on this frame."""
        started_ns = self._clock()
        found, shown = self._found, self._shown
        known = [] if found is None else [found]
        if shown is not None and (found is None or found.frame.index < shown.frame.index):
            known.append(shown)  # what the user shows goes over what was found before
        now = self._drifts[frame.index].origin
        objects: dict[int, ObjectMask] = {}
        for evidence in known:
            carried = evidence.carried(self._coast, self._drifts[evidence.frame.index], frame, now)
            objects |= {one.object_id: one for one in carried}
        in_order = tuple(objects[object_id] for object_id in sorted(objects))
        done_ns = self._clock()
        self._moving.add(done_ns - started_ns)
        took_ns = self._following.ns + done_ns - started_ns
        return FrameResult(frame, in_order, 0, 0.0, took_ns / 1e6, done_ns)

    def _held(self, frame: Frame) -> FrameResult:
        """Not offered to the worker either: no drift could lead to it."""
        last, now_ns = self._answer, self._clock()
        if last is None:
            return FrameResult(frame, (), 0, 0.0, 0.0, now_ns)
        later_ms = _ms_between(last.frame, frame)
        objects = tuple(resized(held(found, found.age_ms + later_ms), frame.hw) for found in last.objects)
        return FrameResult(frame, objects, 0, 0.0, 0.0, now_ns)


def _ms_between(earlier: Frame, later: Frame) -> float:
    return (later.captured_ns - earlier.captured_ns) / 1e6
