"""`maskstream run ...`, which also reads the time that is painted into each picture; run by check_latency.py.

    python latency_target.py FILE [--stand-in] run ...

Into FILE goes a line of JSON for each frame: its index, and when its picture was made (wall clock, ns; null
if that could not be read). That is done in a sink of its own, which the others do not wait for.
"""

import json
import sys
from functools import partial
from pathlib import Path

from clock_process import painted_ns
from maskstream.stream import cli_run, program
from maskstream.stream.types import FrameResult, StreamInfo
from stand_in_run import stand_in_for_networks


class GlassSink:
    """Writes down when pictures were made."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def check(self) -> None:
        """Always fine."""

    def open(self, info: StreamInfo) -> None:
        """Nothing to prepare."""

    def write(self, result: FrameResult) -> None:
        """One frame."""
        frame = result.frame
        self._file.write(json.dumps([frame.index, painted_ns(frame.image, frame.captured_unix_ns)]) + "\n")

    def close(self) -> None:
        """Finish the file. May be called twice."""
        self._file.close()


def main() -> None:
    """The command line as it is, with one more sink."""
    glass = GlassSink(Path(sys.argv[1]))
    if "--stand-in" in sys.argv:
        sys.argv.remove("--stand-in")
        stand_in_for_networks()
    cli_run.prepare = partial(cli_run.prepare, extra_sinks=[glass])
    del sys.argv[1]
    program.main()


if __name__ == "__main__":
    main()
