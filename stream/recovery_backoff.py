"""How long to wait before the next try to connect."""

from __future__ import annotations

import random


class BackOff:
    """Exponential, with full jitter: each wait is anything from nothing up to a bound that doubles.

    So a camera that restarts is back soon, one that is gone costs little, and a hundred consumers of one
    server do not come back in step.
    """

    def __init__(self, first_delay_s: float, longest_delay_s: float, rng: random.Random) -> None:
        self._first_s, self._longest_s, self._rng = first_delay_s, longest_delay_s, rng
        self._bound_s = first_delay_s

    def next_s(self) -> float:
        """The next wait."""
        bound_s = min(self._bound_s, self._longest_s)
        self._bound_s = min(2 * bound_s, self._longest_s)
        return self._rng.uniform(0, bound_s)

    def reset(self) -> None:
        """Things have changed: begin with short waits again."""
        self._bound_s = self._first_s
