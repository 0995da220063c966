"""Tracked masks in a loop: `for result in track("clip.mp4", ["1:box=10,20,110,220"]): ...`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from maskstream.model.types import Prompt

from .config import Config, ModelConfig
from .prompts import ScheduledPrompt
from .queues import Overflow, QueueClosed, StageQueue
from .runner import prepare
from .types import FrameResult, StreamInfo


def track(
    source: str | int | Path,
    prompts: Sequence[str | Prompt | ScheduledPrompt],
    *,
    sinks: Sequence[str] = (),
    weights: str | Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    size: int = 1024,
    engine: Literal["auto", "torch", "openvino", "openvino-bf16"] = "auto",
    max_frames: int | None = None,
) -> Iterator[FrameResult]:
    """Results for the frames of a source, as they come; every frame of a file, the newest of a live stream.

    Args:
        source: as `--source`: a file, URL, camera number, folder or glob of pictures.
        prompts: as `--prompt`: "1:box=10,20,110,220", "2:point=50,60@1.5"; or Prompts, shown at the start.
        sinks: as `--sink`, written beside: "video=out.mp4", "masks=DIR", "zmq=tcp://127.0.0.1:5555".
        weights: a name that `maskstream weights list` shows, or a file.
        device: where the networks run.
        size: long side of the model input, px, a multiple of 16: 1024, 768, 512 or another.
        engine: what runs the networks; "auto" is the quickest that is here for the device.
        max_frames: stop after so many.

    Raises:
        InputError: something cannot be done as asked; nothing was written.
        StreamBrokenError: the source failed in the middle; all results before were given.
    """
    config = Config(
        source=str(source),
        prompts=tuple(prompt for prompt in prompts if isinstance(prompt, str)),
        sinks=tuple(sinks),
        max_frames=max_frames,
        model=ModelConfig(None if weights is None else str(weights), device, size, engine),
    )
    results = _HandOver()
    scheduled = [_scheduled(prompt) for prompt in prompts if not isinstance(prompt, str)]
    ready = prepare(config, extra_sinks=[results], extra_prompts=scheduled)
    with ready.pipeline as pipeline:
        try:
            yield from results.queue
        finally:
            results.queue.abort()  # the caller has left the loop: nobody takes what comes now
        pipeline.join()


def _scheduled(prompt: Prompt | ScheduledPrompt) -> ScheduledPrompt:
    return prompt if isinstance(prompt, ScheduledPrompt) else ScheduledPrompt(0.0, prompt)


class _HandOver:
    """A sink that gives results to the thread that asks for them."""

    queue: StageQueue[FrameResult]  # from open() on

    def check(self) -> None:
        """Always fine."""

    def open(self, info: StreamInfo) -> None:
        """Files wait for the loop; of a live stream the loop gets the newest."""
        self.queue = StageQueue(1, Overflow.DROP_OLDEST if info.is_live else Overflow.BLOCK)

    def write(self, result: FrameResult) -> None:
        """Put the result where the loop takes it."""
        try:
            self.queue.put(result)
        except QueueClosed:
            return  # the caller has left the loop

    def close(self) -> None:
        """The loop ends after what is inside."""
        self.queue.close()
