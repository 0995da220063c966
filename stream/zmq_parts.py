"""Messages of several parts: ZeroMQ bounds the size of a part, and not how many a message has.

It gives out a message when the last part is there, and keeps the others until then. So whoever is let in can
take memory of ZeroMQ's own, as long as it goes on sending; here no more is taken than is asked for.
"""

from __future__ import annotations

import zmq


def take_parts(receiver: zmq.Socket[bytes], most: int) -> tuple[list[zmq.Frame], int]:
    """The next message: its first parts, at most so many, and how many more it had, which are dropped."""
    parts = [receiver.recv(copy=False)]
    while parts[-1].more and len(parts) < most:
        parts.append(receiver.recv(copy=False))
    dropped, is_more = 0, parts[-1].more
    while is_more:
        is_more = receiver.recv(copy=False).more
        dropped += 1
    return parts, dropped
