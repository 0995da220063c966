"""The other end of `bench_process.py`: one process that does what it is told, and times it.

python -m maskstream.stream.bench_child JOB ARGUMENTS-AS-JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Do the job; answers are lines of JSON on stdout."""
    job, arguments = sys.argv[1], json.loads(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed must not get between

    def answer(record: object) -> None:
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    JOBS[job](arguments, answer)


def contend(arguments: dict[str, Any], answer: Callable[[object], None]) -> None:
    """Load a contender, then run and time whatever work comes on stdin, line by line."""
    from .bench_contenders import make_contender
    from .bench_tasks import Task

    contender = make_contender(Task(**arguments))
    answer(contender.name)
    for line in sys.stdin:
        work, index = json.loads(line)
        started = time.perf_counter()
        contender.run(work, index)
        answer(1e3 * (time.perf_counter() - started))


def stages(arguments: dict[str, Any], answer: Callable[[object], None]) -> None:
    """See `bench_jobs.time_stages`."""
    from .bench_jobs import time_stages

    answer(time_stages(**arguments))


def live(arguments: dict[str, Any], answer: Callable[[object], None]) -> None:
    """See `bench_jobs.watch_live`."""
    from .bench_jobs import watch_live

    answer(watch_live(**arguments))


def streams(arguments: dict[str, Any], answer: Callable[[object], None]) -> None:
    """See `bench_streams.watch_streams`."""
    from .bench_streams import watch_streams

    answer(watch_streams(**arguments))


def memory(arguments: dict[str, Any], answer: Callable[[object], None]) -> None:
    """See `bench_jobs.watch_memory`."""
    from .bench_jobs import watch_memory

    answer(watch_memory(**arguments))


JOBS = {"contend": contend, "stages": stages, "live": live, "streams": streams, "memory": memory}

if __name__ == "__main__":
    main()
