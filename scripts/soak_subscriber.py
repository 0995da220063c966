"""A subscriber as a process of its own, which says once a second what it got; started by check_soak.py.

Each line on its standard output is a JSON object: latencies from capture to here in ms, frames lost so far,
and how many objects came and how many of them were tracked.
"""

import argparse
import json
import sys
import time

from maskstream.stream.client import Subscriber
from maskstream.stream.wire_messages import FrameMessage

LINE_S = 1.0


def main() -> int:
    """Listen until the end of the stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint")
    news, told_s = News(), time.monotonic()
    with Subscriber(parser.parse_args().endpoint) as masks:
        while masks.end is None:
            frame = masks.receive(LINE_S)
            if frame is not None:
                news.add(frame)
            if time.monotonic() >= told_s + LINE_S or masks.end is not None:
                news.tell(masks.lost)
                news, told_s = News(), time.monotonic()
    return 0


class News:
    """What came since the last line."""

    def __init__(self) -> None:
        self._latencies_ms: list[float] = []
        self._objects = self._tracked = 0

    def add(self, frame: FrameMessage) -> None:
        """Take one frame into account, and decode a mask, as a consumer would."""
        self._latencies_ms.append(round(frame.age_s * 1e3, 2))
        self._objects += len(frame.objects)
        self._tracked += sum(found.state.value == "tracked" for found in frame.objects)
        if frame.objects:
            frame.objects[frame.index % len(frame.objects)].mask()

    def tell(self, lost: int) -> None:
        """One line."""
        line = {"lost": lost, "ms": self._latencies_ms, "objects": self._objects, "tracked": self._tracked}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
