"""Opens one stream again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from .av_source import AvSource
from .av_target import AvTarget, known_already
from .source_base import UnreadyError


class OpenTarget(Protocol):
    """AvSource with all but its target and its end decided."""

    def __call__(self, target: AvTarget, *, cancelled: threading.Event) -> AvSource:
        """Open it."""
        ...


class AvDialer:
    """From the second time on quicker, as what it shows is known by then.

    Args:
        find: names the target, each time anew: a camera that was unplugged may come back under another path.
        open_target: opens it.
    """

    def __init__(self, find: Callable[[], AvTarget], open_target: OpenTarget) -> None:
        self._find, self._open = find, open_target
        self._is_known = False

    def __call__(self, closed: threading.Event) -> AvSource:
        """A new connection; `closed` ends the try.

        Raises:
            SourceError: it cannot be opened.
        """
        was_known, self._is_known = self._is_known, False  # if the quick way fails, the thorough one is next
        target = self._find()
        try:
            source = self._open(known_already(target) if was_known else target, cancelled=closed)
        except UnreadyError:  # which says nothing about the way
            self._is_known = was_known
            raise
        self._is_known = True
        return source
