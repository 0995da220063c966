"""`maskstream ...` with a stand-in for the networks, so that it starts in no time; run by check_stop.py.

The stand-in finds what is brighter than the rest. It takes LOAD_S to load and WORK_S for a frame.
"""

import sys
import time
from typing import Any

from check_faults import stand_in
from maskstream.stream import cli, runner
from maskstream.stream.types import Frame, FrameResult

LOAD_S, WORK_S = 0.5, 0.015


def main() -> int:
    """The command line as it is, but for the networks."""
    runner._load_segmenter = load  # type: ignore[assignment]
    return cli.main()


def load(*arguments: Any) -> Any:
    """In the place of the networks."""
    time.sleep(LOAD_S)
    return work


def work(frame: Frame) -> FrameResult:
    """One frame."""
    time.sleep(WORK_S)
    return stand_in(frame)


if __name__ == "__main__":
    sys.exit(main())
