"""A bounded queue between two stages, with one policy for when it is full and a count for every item."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Overflow(Enum):
    """What put() does on a full queue."""

    BLOCK = "block"  # wait for room: nothing is lost, the wait is felt upstream
    DROP_OLDEST = "drop-oldest"  # make room: what is served is never older than the queue is long


class QueueClosed(Exception):  # noqa: N818 - the end of a stream is a signal, not a mistake
    """The queue takes no more items, or has none left to give."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Where every item went: `put_count == delivered + dropped + waiting`."""

    put_count: int
    delivered: int
    dropped: int
    waiting: int


class StageQueue(Generic[T]):
    """Hands items from one thread to another, never holding more than `capacity` of them.

    End of stream is close(): items already inside are still delivered, then iteration ends. Every item put is
    accounted for at any moment, see `QueueCounts`.
    """

    def __init__(self, capacity: int, overflow: Overflow = Overflow.BLOCK) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self.overflow = overflow
        self._items: deque[T] = deque()
        self._closed = False
        self._held = False
        self._put_count = 0
        self._delivered = 0
        self._dropped = 0
        # Both conditions share the lock: a put wakes only consumers, a get wakes only producers.
        self._lock = threading.Lock()
        self._has_item = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)

    def put(self, item: T) -> None:
        """Add an item; a full queue waits or drops its oldest item, by its policy.

        Raises:
            QueueClosed: the queue is closed, or was closed during the wait; the item is not counted.
        """
        with self._lock:
            if self.overflow is Overflow.BLOCK:
                self._has_room.wait_for(lambda: self._closed or len(self._items) < self.capacity)
            if self._closed:
                raise QueueClosed
            if len(self._items) == self.capacity:
                self._items.popleft()
                self._dropped += 1
            self._items.append(item)
            self._put_count += 1
            self._has_item.notify()

    def get(self) -> T:
        """Take the oldest item, waiting for one, and for release() if the queue is held.

        Raises:
            QueueClosed: the queue is closed and empty.
        """
        with self._lock:
            self._has_item.wait_for(lambda: not self._held if self._items else self._closed)
            if not self._items:
                raise QueueClosed
            item = self._items.popleft()
            self._delivered += 1
            self._has_room.notify()
            return item

    def __iter__(self) -> Iterator[T]:
        """Items in order until the queue is closed and empty."""
        while True:
            try:
                item = self.get()
            except QueueClosed:
                return
            yield item

    def hold(self) -> None:
        """Give out nothing until release(); a full queue goes on doing what it does. May be repeated."""
        with self._lock:
            self._held = True

    def release(self) -> None:
        """Give out items again. May be repeated."""
        with self._lock:
            self._held = False
            self._has_item.notify_all()

    @property
    def is_held(self) -> bool:
        """Whether hold() was called last."""
        return self._held

    def close(self) -> None:
        """Take no more items and wake all who wait; what is inside is still delivered. May be repeated."""
        with self._lock:
            self._close()

    def abort(self) -> None:
        """Close, and drop what is inside. May be repeated."""
        with self._lock:
            self._dropped += len(self._items)
            self._items.clear()
            self._close()

    def _close(self) -> None:
        self._closed = True
        self._has_item.notify_all()
        self._has_room.notify_all()

    def counts(self) -> QueueCounts:
        """All counts at one moment."""
        with self._lock:
            return QueueCounts(self._put_count, self._delivered, self._dropped, len(self._items))

    @property
    def put_count(self) -> int:
        """Items that were accepted."""
        return self._put_count

    @property
    def delivered(self) -> int:
        """Items that were handed out."""
        return self._delivered

    @property
    def dropped(self) -> int:
        """Items that were lost to a full queue or to abort()."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Items inside."""
        return len(self._items)
