"""The stage that calls the model: a frame in, its objects' masks out."""

from __future__ import annotations

import time
from collections.abc import Sequence

from maskstream.model.coast import drawn
from maskstream.model.device_time import Moment
from maskstream.model.errors import PromptError
from maskstream.model.lifecycle import AnyTracker
from maskstream.model.predictor import Predictor
from maskstream.model.types import ObjectMask, Prompt

from .agenda import Agenda, Order
from .commands import Applied, Remove, Show
from .frame_plan import Box, FramePlan
from .scaling import scaled_xy
from .telemetry import StepTimes
from .types import Frame, FrameResult


class Segmenter:
    """Frame -> FrameResult, for one stream's frames in order of time.

    Args:
        predictor: encodes each frame once.
        tracker: follows the objects.
        agenda: what is to be done to the objects when; nothing, if not given.
    """

    def __init__(self, predictor: Predictor, tracker: AnyTracker, agenda: Agenda | None = None) -> None:
        self.steps = StepTimes("encode", "track")
        self._predictor = predictor
        self._tracker = tracker
        self._agenda = agenda or Agenda()
        self._objects: tuple[ObjectMask, ...] = ()  # of the last frame
        self._highest_id = 0
        self._stretch: int | None = None  # of the last frame

    def __call__(self, frame: Frame) -> FrameResult:
        """Carry out the commands that are due, then find every object on the frame.

        A command that cannot be carried out is answered with its error, and changes nothing.
        """
        orders = self._agenda.due(frame)
        try:
            plan, done = self._plan(orders, frame)
            result = self._segment(frame, plan)
        except BaseException as error:
            for order in orders:
                if not order.answer.done():
                    order.refused(error)
            raise
        for order, object_ids in done:
            time_s = self._agenda.time_s(frame)
            order.applied(Applied(frame.index, frame.pts, time_s, object_ids, frame.captured_ns))
        return result

    def prepare(self, original_hw: tuple[int, int]) -> None:
        """Do now what the first frame of this size (h, w) px would wait for, but for the engine's part."""
        self._tracker.prepare(original_hw, max(1, self._agenda.objects_shown))

    def is_due(self, frame: Frame) -> bool:
        """Whether a command is due on this frame; any thread."""
        return bool(self._agenda.peek(frame))

    def preview(self, frame: Frame) -> tuple[ObjectMask, ...]:
        """What is known of objects that are shown on this frame before it is encoded; any thread."""
        shown = [command.prompt for command in self._agenda.peek(frame) if isinstance(command, Show)]
        return tuple(drawn(prompt) for prompt in shown if _is_drawn(prompt, frame))

    def close(self) -> None:
        """No more frames come: commands that wait are refused."""
        self._agenda.close()

    def _plan(
        self, orders: Sequence[Order], frame: Frame
    ) -> tuple[FramePlan, list[tuple[Order, tuple[int, ...]]]]:
        """What the orders come to; and those that are carried out, with the ids that they name."""
        boxes = {found.object_id: _box_on(frame, found) for found in self._objects}
        plan = FramePlan(frame.hw, boxes, self._highest_id)
        done = []
        for order in orders:
            try:
                done.append((order, plan.add(order.command)))
            except PromptError as error:
                order.refused(error.with_traceback(None))  # which would keep the picture while it is kept
        self._highest_id = plan.highest_id
        return plan, done

    def _segment(self, frame: Frame, plan: FramePlan) -> FrameResult:
        started_ns, started = time.monotonic_ns(), Moment(self._predictor.device)
        embedding = self._predictor.encode(frame.image)
        encoded = Moment(self._predictor.device)
        if self._stretch not in (None, frame.stretch):
            self._tracker.interrupted()
        self._stretch = frame.stretch
        for edit in plan.edits:
            if isinstance(edit, Remove):
                self._tracker.remove(edit.object_id)
            else:
                self._tracker.rename(edit.object_id, edit.new_id)
        self._objects = self._tracker.step(frame.image, embedding, plan.prompts, frame.time_s)
        # Not before: a GPU encodes meanwhile. Now it has, or there are no masks that would rest on that.
        encode_ms = encoded.ms_since(started)
        done_ns = time.monotonic_ns()
        track_ms = (done_ns - started_ns) / 1e6 - encode_ms
        self.steps.add(encode=encode_ms, track=track_ms)
        return FrameResult(frame, self._objects, 0, encode_ms, track_ms, done_ns)


def _box_on(frame: Frame, found: ObjectMask) -> Box:
    """Where an object was on the frame before, should the picture's size have changed since."""
    before_hw = found.mask.shape[0], found.mask.shape[1]
    return found.box_xyxy if before_hw == frame.hw else scaled_xy(found.box_xyxy, before_hw, frame.hw)


def _is_drawn(prompt: Prompt, frame: Frame) -> bool:
    return prompt.mask is not None and prompt.mask.shape == frame.hw
