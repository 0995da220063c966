"""Tracked masks in a loop: `for result in track("clip.mp4", ["1:box=10,20,110,220"]): ...`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from maskstream.model.errors import PromptError
from maskstream.model.types import Prompt

from .agenda import log_refusal
from .commands import Applied, Command, Remove, Rename, Show
from .config import Config, Engine, ModelConfig
from .prompts import show_command
from .queues import Overflow, QueueClosed, StageQueue
from .runner import prepare
from .types import FrameResult, StreamInfo


def track(
    source: str | int | Path,
    prompts: Sequence[str | Prompt | Command],
    *,
    sinks: Sequence[str] = (),
    weights: str | Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    size: int = 1024,
    engine: Engine = "auto",
    max_frames: int | None = None,
) -> Iterator[FrameResult]:
    """Results for the frames of a source, as they come; every frame of a file, the newest of a live stream.

    To add, correct or remove objects in the loop, see Session.

    Args:
        source: as `--source`: a file, URL, camera number, folder or glob of pictures.
        prompts: as `--prompt`: "1:box=10,20,110,220", "2:point=50,60@1.5"; or Prompts, shown at the start; or
            commands with a time.
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
    if not prompts:
        raise PromptError("no prompt: say what to track, for example '1:box=100,80,300,400'")
    with Session(
        source,
        prompts,
        sinks=sinks,
        weights=weights,
        device=device,
        size=size,
        engine=engine,
        max_frames=max_frames,
    ) as session:
        yield from session


class Session:
    """The same as track(), steered from the loop or from any other thread.

        with Session("clip.mp4") as session:
            session.show("1:box=10,20,110,220")
            for result in session:
                if result.frame.index == 100:
                    session.remove(1)

    What is asked for takes effect on the next frame that is looked at. Of a file some frames are ahead of the
    loop already: the answer says which frame was the first. An answer's result() waits for that frame. It
    raises PromptError for what cannot be done; nothing has changed then, and the log says so too. In a loop
    over a file do not wait, for the run waits for the loop: see in a later round whether it is done().

    Args:
        source, prompts and all others: as for track(); here nothing need be shown at the start.
    """

    def __init__(
        self,
        source: str | int | Path,
        prompts: Sequence[str | Prompt | Command] = (),
        *,
        sinks: Sequence[str] = (),
        weights: str | Path | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        size: int = 1024,
        engine: Engine = "auto",
        max_frames: int | None = None,
    ) -> None:
        config = Config(
            source=str(source),
            prompts=tuple(prompt for prompt in prompts if isinstance(prompt, str)),
            sinks=tuple(sinks),
            max_frames=max_frames,
            model=ModelConfig(None if weights is None else str(weights), device, size, engine),
        )
        commands = [_command(prompt) for prompt in prompts if not isinstance(prompt, str)]
        self._results = _HandOver()
        self._run = prepare(config, extra_sinks=[self._results], extra_commands=commands, steered=True)
        self._open = ExitStack()
        self._seen_hw = self.info.height_px, self.info.width_px  # of the newest result that was given out

    @property
    def info(self) -> StreamInfo:
        """What is known of the stream."""
        return self._run.info

    def __enter__(self) -> Self:
        self._open.enter_context(self._run.pipeline)
        self._open.callback(self._run.inputs.agenda.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._results.queue.abort()  # the caller has left the loop: nobody takes what comes now
        self._open.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[FrameResult]:
        """Results until the stream's end; raises what ended it, if it did not end of itself."""
        for result in self._results.queue:
            self._seen_hw = result.frame.hw
            yield result
        self._run.pipeline.join()

    def show(self, prompt: str | Prompt) -> Future[Applied]:
        """Follow a new object, or correct one: "2:point=50%,50%", or a Prompt.

        Raises:
            PromptError: it is malformed, or points beside the picture.
        """
        if isinstance(prompt, Prompt):
            return self.submit(Show(prompt, picture_hw=self._seen_hw))
        return self.submit(show_command([prompt], self._seen_hw))

    def remove(self, object_id: int) -> Future[Applied]:
        """Stop following an object."""
        return self.submit(Remove(object_id))

    def rename(self, object_id: int, new_id: int) -> Future[Applied]:
        """Follow an object on under an id that is free."""
        return self.submit(Rename(object_id, new_id))

    def submit(self, command: Command) -> Future[Applied]:
        """Carry out any command of commands.py, now or at its time."""
        answer = self._run.inputs.agenda.submit(command)
        answer.add_done_callback(partial(log_refusal, command))
        return answer


def _command(prompt: Prompt | Command) -> Command:
    return prompt if isinstance(prompt, Command) else Show(prompt, time_s=0.0)


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
