"""Moments in the work of a device: a GPU does it after the calls that asked for it have returned."""

from __future__ import annotations

import time

import torch


class Moment:
    """When a device has done all that it was asked for up to now. To take note of it waits for nothing.

    Args:
        device: a CPU has done it when the calls return; on a GPU it is what the current stream was given.
    """

    def __init__(self, device: torch.device) -> None:
        self._ns = time.monotonic_ns()
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            # A thread that waits for it sleeps, and does not take a core from the others by looking.
            self._event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(device))

    def wait(self) -> None:
        """Until the device has come there."""
        if self._event is not None:
            self._event.synchronize()

    def ms_since(self, earlier: Moment) -> float:
        """Time of the device since an earlier moment; waits for this one."""
        if self._event is None or earlier._event is None:
            return (self._ns - earlier._ns) / 1e6
        self.wait()
        return float(earlier._event.elapsed_time(self._event))
