"""`maskstream ...` with a stand-in for the networks, so that it starts in no time; run by other scripts.

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
    stand_in_for_networks()
    return cli.main()


def stand_in_for_networks() -> None:
    """From now on in this process."""
    runner._load_segmenter = load  # type: ignore[assignment]


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
