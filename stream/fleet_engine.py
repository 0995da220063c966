"""One thread that runs the networks for several streams; each has an `Engine` of its own that asks it.

Frames that wait at the same moment are encoded together, where the engine gains by that, and so are prompts
on frames of several streams decoded. Decoding goes first: it is short, and finishes a frame that was begun.
It is not made to wait for company: while the GPU is busy that comes by itself (see `fleet_pace`), while it is
idle the wait would be longer than the work.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from maskstream.model.engines import Engine
from maskstream.model.errors import EngineError
from maskstream.model.mask_decoder import SINGLE_MASK
from maskstream.model.prompt_batch import join_prompts
from maskstream.model.prompt_encoder import PromptBatch
from torch import Tensor

from .fleet_pace import Moment, Pace

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """Pixels (1, 3, H, W) to be encoded, since when, and who waits for them."""

    pixels: Tensor
    came_s: float
    answer: Future[Pair] = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class _Prompts:
    """Prompts on a frame's image embedding to be decoded, and who waits for it; see `Engine.decode`."""

    features: Tensor
    prompts: PromptBatch
    outputs: slice
    answer: Future[Pair] = field(default_factory=Future)

    def fits(self, other: _Prompts) -> bool:
        """Whether both can be decoded in one call."""
        return (
            self.features.shape == other.features.shape
            and len(self.features) == 1
            and self.prompts.labels.shape[1] == other.prompts.labels.shape[1]
            and self.outputs == other.outputs
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """Anything else that the thread is to do, and who waits for it."""

    work: Callable[[], Any]
    answer: Future[Any] = field(default_factory=Future)


Job = TypeVar("Job", _Frame, _Prompts, _Task)


class EngineService:
    """The thread, and what waits for it. A failure is told to the stream whose frame it was, and to no other.

    Args:
        engine: used by this thread only, from now on.
        gather_s: how long a frame may wait for others to be encoded with, where the engine gains by that.
        streams: how many there will be.
        moment: takes note of what a GPU was given so far; None where the engine returns when all is done.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        gather_s: float = 0.0,
        streams: int = 1,
        moment: Callable[[], Moment] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine, self._clock = engine, clock
        self._gather_s, self._images = gather_s, min(streams, engine.most_images)
        self._pace = Pace(moment)
        self._preparing = threading.Lock()
        self._changed = threading.Condition()
        self._frames: deque[_Frame] = deque()
        self._tasks: deque[_Prompts | _Task] = deque()
        self._sharers = 0
        self._is_closed = False
        # A daemon, so that a device driver that never returns cannot keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name="networks", daemon=True)
        self._thread.start()

    def share(self) -> SharedEngine:
        """An engine for one more stream; it is to be left when the stream has ended."""
        with self._changed:
            self._sharers += 1
        return SharedEngine(self)

    def leave(self) -> None:
        """A stream has ended: its frames are not waited for any more."""
        with self._changed:
            self._sharers -= 1
            self._changed.notify_all()

    def encode(self, pixels: Tensor) -> Pair:
        """Wait for pixels (1, 3, H, W) to be encoded; any thread."""
        frame = _Frame(pixels, self._clock())
        self._put(self._frames, frame)
        return frame.answer.result()

    def decode(self, features: Tensor, prompts: PromptBatch, outputs: slice) -> Pair:
        """Wait for prompts to be decoded, see `Engine.decode`; any thread."""
        decoding = _Prompts(features, prompts, outputs)
        self._put(self._tasks, decoding)
        return decoding.answer.result()

    def prepare(self, input_hw: tuple[int, int]) -> None:
        """Get the engine ready for a size of input; any thread. Frames are encoded meanwhile, if it can."""
        if self.engine.prepares_aside:
            with self._preparing:  # engines trace networks by means of PyTorch, which does one at a time
                self.engine.prepare(input_hw, self._images)
        else:
            self.do(lambda: self.engine.prepare(input_hw, self._images))

    def do(self, work: Callable[[], Any]) -> Any:
        """Wait for a function to be called in the thread; any thread."""
        task = _Task(work)
        self._put(self._tasks, task)
        return task.answer.result()

    def close(self) -> None:
        """Refuse what waits, and end after what is being worked on. May be called twice."""
        with self._changed:
            self._is_closed = True
            left: list[Future[Any]] = [frame.answer for frame in self._frames]
            left += [task.answer for task in self._tasks]
            self._frames.clear()
            self._tasks.clear()
            self._changed.notify_all()
        for answer in left:
            answer.set_exception(_closed())
        self._thread.join()

    def _put(self, jobs: deque[Any], job: _Frame | _Prompts | _Task) -> None:
        with self._changed:
            if self._is_closed:
                raise _closed()
            jobs.append(job)
            self._changed.notify_all()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            self._pace.gave()

    def _next(self) -> Callable[[], None] | None:
        """What is to be done now, as soon as there is anything; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._tasks or self._frames)
            if self._frames and not self._tasks:
                left_s = self._frames[0].came_s + self._gather_s - self._clock()
                if left_s > 0:
                    self._changed.wait_for(self._need_not_wait, left_s)
            if self._tasks:
                return self._take_task()
            return self._take_frames() if self._frames else None

    def _need_not_wait(self) -> bool:
        most = min(self.engine.most_images, self._sharers)
        return self._is_closed or bool(self._tasks) or len(self._frames) >= most

    def _take_frames(self) -> Callable[[], None]:
        """To encode the first frame, and those that can be with it; the others stay in their order."""
        first = self._frames[0]
        alike = [frame for frame in self._frames if frame.pixels.shape == first.pixels.shape]
        batch = alike[: self.engine.most_images]
        self._frames = deque(frame for frame in self._frames if frame not in batch)
        return lambda: _do_together(batch, self._encoded)

    def _take_task(self) -> Callable[[], None]:
        """The first task; if it is to decode, with what can be decoded with it. The others stay in order."""
        first = self._tasks.popleft()
        if isinstance(first, _Task):
            return lambda: _do_together([first], lambda tasks: [task.work() for task in tasks])
        alike = [task for task in self._tasks if isinstance(task, _Prompts) and first.fits(task)]
        batch = [first, *alike[: self.engine.most_images - 1]]
        self._tasks = deque(task for task in self._tasks if task not in batch)
        return lambda: _do_together(batch, self._decoded)

    def _encoded(self, batch: Sequence[_Frame]) -> list[Pair]:
        if len(batch) == 1:
            return [self.engine.encode(batch[0].pixels)]
        features, detail = self.engine.encode(torch.cat([frame.pixels for frame in batch]))
        return list(zip(torch.split(features, 1), torch.split(detail, 1), strict=True))

    @torch.inference_mode()
    def _decoded(self, batch: Sequence[_Prompts]) -> list[Pair]:
        if len(batch) == 1:
            return [self.engine.decode(batch[0].features, batch[0].prompts, batch[0].outputs)]
        features = torch.cat([each.features for each in batch])
        joined = join_prompts([each.prompts for each in batch], (features.shape[2], features.shape[3]))
        both = self.engine.decode(features, joined, batch[0].outputs)
        counts = [len(each.prompts.labels) for each in batch]
        return list(zip(*(torch.split(output, counts) for output in both), strict=True))


def _do_together(batch: Sequence[Job], work: Callable[[Sequence[Job]], Sequence[Any]]) -> None:
    """Give each its result. If that fails, each by itself: one stream's fault is not the others'."""
    try:
        results = work(batch)
    except BaseException as error:  # what it means is decided where the frame came from
        if len(batch) == 1:
            batch[0].answer.set_exception(error)
        else:
            for job in batch:
                _do_together([job], work)
        return
    for job, result in zip(batch, results, strict=True):
        job.answer.set_result(result)


def _closed() -> EngineError:
    return EngineError("the networks were closed while a stream used them")


class SharedEngine:
    """One stream's way to the networks; see `Engine`. Its own thread waits, and the others' do not."""

    def __init__(self, service: EngineService) -> None:
        self._service, self._engine = service, service.engine
        self.name, self.tolerance = self._engine.name, self._engine.tolerance
        self.most_images, self.prepares_aside = self._engine.most_images, True
        self._ready: set[tuple[int, int]] = set()
        self._is_left = False

    def prepare(self, input_hw: tuple[int, int], images: int = 1) -> None:
        """See `Engine.prepare`. While others' frames are encoded, where the engine can do both at once."""
        self._service.prepare(input_hw)
        self._ready.add(input_hw)

    def encode(self, pixels: Tensor) -> Pair:
        """See `Engine.encode`. For pictures of a new size it gets ready here, where nobody else waits."""
        input_hw = (pixels.shape[2], pixels.shape[3])
        if input_hw not in self._ready:
            self.prepare(input_hw)
        return self._service.encode(pixels)

    def decode(self, features: Tensor, prompts: PromptBatch, outputs: slice = SINGLE_MASK) -> Pair:
        """See `Engine.decode`."""
        return self._service.decode(features, prompts, outputs)

    def close(self) -> None:
        """The stream has ended. May be called twice."""
        if not self._is_left:
            self._is_left = True
            self._service.leave()
