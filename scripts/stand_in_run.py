"""`maskstream ...` with a stand-in for the networks, so that it starts in no time; run by other scripts.

The stand-in finds what is brighter than the rest. It takes LOAD_S to load and WORK_S for a frame.
"""

import signal
import time
from typing import TYPE_CHECKING, Any

from maskstream.stream import program

if TYPE_CHECKING:
    from maskstream.stream.types import Frame, FrameResult

LOAD_S, WORK_S = 0.5, 0.015


def main() -> None:
    """The command line as it is, but for the networks."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as program.py does, which imports these files later
    stand_in_for_networks()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program.main()


def stand_in_for_networks() -> None:
    """From now on in this process."""
    from maskstream.stream import runner

    runner._load_segmenter = load  # type: ignore[assignment]


def load(*arguments: Any) -> Any:
    """In the place of the networks."""
    time.sleep(LOAD_S)
    return work


def work(frame: "Frame") -> "FrameResult":
    """One frame."""
    from check_faults import stand_in

    time.sleep(WORK_S)
    return stand_in(frame)


if __name__ == "__main__":
    main()
