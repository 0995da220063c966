"""Each contender in a process of its own: so its threads and memory are its own too."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from maskstream.model.errors import MaskstreamError

from .bench_tasks import Task

_TOLD = 300  # characters of what a process said before it ended


class ChildProcess:
    """A process of `bench_child.py`.

    Raises:
        MaskstreamError: it ended before it had answered.
    """

    def __init__(self, job: str, arguments: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "maskstream.stream.bench_child", job, json.dumps(arguments)]
        self._what = job
        # Not a pipe: one that nobody reads would fill up and stop the process.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - close() does
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._said, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            last = (self._said.read().strip().splitlines() or ["nothing"])[-1]
            raise MaskstreamError(f"the benchmark's process '{self._what}' ended; it said: {last[:_TOLD]}")
        return json.loads(line)

    def tell(self, record: object) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(record) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended: answer() says why

    def close(self) -> None:
        """End it. May be called twice."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with suppress(BrokenPipeError):  # what it was not told before it ended
                if stream is not None:
                    stream.close()


class ContenderProcess(ChildProcess):
    """A contender, loaded and ready."""

    def __init__(self, task: Task) -> None:
        super().__init__("contend", asdict(task))
        self.task = task
        try:
            self.name = str(self.answer())
        except BaseException:
            self.close()
            raise

    def run(self, work: str, index: int) -> float:
        """Do a work on a frame; what it took, in ms."""
        self.tell((work, index))
        return float(self.answer())


def in_turns(contenders: Sequence[ContenderProcess], work: str, runs: int, warm_up: int) -> list[list[float]]:
    """Durations in ms by contender and run: A, B, A, B, ..., so that other load hits them alike."""
    took: list[list[float]] = [[] for _ in contenders]
    for index in range(warm_up + runs):
        for contender, ms in zip(contenders, took, strict=True):
            ms.append(contender.run(work, index))
    return [ms[warm_up:] for ms in took]
