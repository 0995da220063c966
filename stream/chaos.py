"""A source that breaks on purpose: `chaos:` wraps any other, to try out what consumers do when cameras fail.

Faults happen where real ones do: below the clock that sets times right, below reconnecting, before the
queues. What comes out is what a real camera with these faults would have given.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import cv2
import numpy as np
from maskstream.model.errors import StreamBrokenError
from maskstream.model.types import RgbImage

from .chaos_plan import ChaosConfig, Fault, Pace, plan
from .recovery import Notify, RecoveringSource, connect_first
from .recovery_connector import Connector
from .recovery_settings import ReconnectConfig
from .source_base import BaseSource, Pacer, UnreadyError
from .source_status import SourceCounts
from .timeline import Timeline
from .types import Frame

_LEAST_SIDE_PX = 16
_UNDECODABLE_SHARE = 0.3  # of damaged pictures
_NOISY_BLOCKS, _BLOCK_PX = 12, 16


class ChaosCamera:
    """The camera at the other end: goes on whether or not anybody is connected.

    Args:
        inner: the source that is wrapped.
        config: what goes wrong.
        source_id: its name in frames; made from the inner one's where None.
    """

    def __init__(self, inner: BaseSource, config: ChaosConfig, source_id: str | None = None) -> None:
        self.is_live = config.pace == Pace.LIVE.value
        self.info = replace(
            inner.info,
            source_id=source_id or f"chaos:{inner.info.source_id}",
            is_live=self.is_live,
            frame_count=None,
        )
        self.counts = SourceCounts()
        self.seed = config.seed
        self.done: Counter[str] = Counter()  # faults so far, by kind
        self.scale = 1.0
        self.clock_shift = 0  # ticks
        self.left: Counter[str] = Counter()  # frames still to be dropped, damaged, ... by kind
        self._inner = inner
        self._faults = plan(config)
        self._next_fault = next(self._faults, None)
        self._refusals = config.refusals
        self._number = 0
        self._waiting: Frame | None = None  # was read, and the connection broke before it
        # A live inner source has a pace of its own.
        self._pacer = Pacer(time.monotonic) if self.is_live and not inner.info.is_live else None

    def connect(self, closed: threading.Event, **arguments: Any) -> ChaosConnection:
        """A new connection; `arguments` are its.

        Raises:
            UnreadyError: the plan says that this try fails.
        """
        if self._refusals:
            self._refusals -= 1
            message = f"cannot open {self.info.source_id}: connection refused, as its plan says"
            raise UnreadyError(message, nobody_is_there=False)
        return ChaosConnection(self, **arguments)

    def close(self) -> None:
        """Close the inner source."""
        self._inner.close()

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """The camera's frames from now on, numbered by the inner source.

        Raises:
            StreamBrokenError: the inner source failed.
        """
        while True:
            frame = self._waiting or next(self._inner, None)
            if frame is None:
                return
            self._waiting = frame
            yield self._number, frame

    def taken(self) -> None:
        """The frame that was given last is used up."""
        self._waiting = None
        self._number += 1

    def due(self, number: int) -> Fault | None:
        """The next fault that happens at or before this frame, if any is left."""
        fault = self._next_fault
        if fault is None or fault.at > number:
            return None
        self._next_fault = next(self._faults, None)
        self.done[fault.do] += 1
        return fault

    def delay_s(self, frame: Frame) -> float:
        """How long it is until the frame is due."""
        return 0.0 if self._pacer is None else self._pacer.delay_s(frame.time_s)

    def lateness_s(self, frame: Frame) -> float:
        """How long ago the frame was due."""
        return 0.0 if self._pacer is None else self._pacer.lateness_s(frame.time_s)

    def refuse(self, tries: int) -> None:
        """Let so many tries to connect fail."""
        self._refusals = tries


class ChaosConnection(BaseSource):
    """One connection to a ChaosCamera; `is_only`: there will be no other, so the camera is closed with it."""

    def __init__(self, camera: ChaosCamera, *, max_frames: int | None = None, is_only: bool = False) -> None:
        super().__init__(camera.info, camera.counts, max_frames=max_frames)
        self._camera, self._is_only = camera, is_only
        self._timeline = Timeline(camera.info.time_base, camera.info.frame_rate, camera.counts)
        self._index = 0

    def _frames(self) -> Iterator[Frame]:
        camera = self._camera
        for number, frame in camera.frames():
            if self._index == 0 and camera.lateness_s(frame) > self._frame_s:
                camera.taken()  # nobody was connected when it was shown
                continue
            while (fault := camera.due(number)) is not None:
                self._apply(fault)
            if self._closed.wait(camera.delay_s(frame)):
                return
            camera.taken()
            yield from self._sent(number, frame)

    def _release(self) -> None:
        if self._is_only:
            self._camera.close()

    @property
    def _frame_s(self) -> float:
        return float(1 / (self.info.frame_rate or 25))

    def _apply(self, fault: Fault) -> None:
        camera = self._camera
        if fault.do == "stall":
            self._closed.wait(fault.seconds)
        elif fault.do == "jump":
            camera.clock_shift += round(Fraction(fault.seconds) / self.info.time_base)
        elif fault.do == "resize":
            camera.scale = fault.scale
        elif fault.do == "disconnect":
            camera.refuse(fault.failures)
            raise StreamBrokenError(f"{self.info.source_id} broke off") from ConnectionError(
                "the connection was lost, as its plan says"
            )
        else:
            camera.left[fault.do] += fault.frames

    def _sent(self, number: int, frame: Frame) -> Iterator[Frame]:
        """What arrives of a frame: as a rule it, perhaps nothing, perhaps more than once."""
        if self._strikes("drop"):
            self._index += 1
            return
        image = self._picture(number, frame.image)
        if image is None:
            self.counts.corrupt_packets += 1
            self._index += 1
            return
        pts = None if self._strikes("no_pts") else frame.pts + self._camera.clock_shift
        came_ns = time.monotonic_ns() if self._camera.is_live else None
        yield self._frame(image, self._timeline.place(pts, came_ns=came_ns))
        for _ in range(self._camera.left.pop("duplicate", 0)):
            if self._camera.is_live:  # seen as such, as by any live source
                self.counts.duplicate_frames += 1
            else:
                yield self._frame(image, self._timeline.place(pts))

    def _strikes(self, kind: str) -> bool:
        strikes = self._camera.left[kind] > 0
        self._camera.left[kind] -= strikes
        return strikes

    def _picture(self, number: int, image: RgbImage) -> RgbImage | None:
        """The picture as it is decoded; None where that fails."""
        if self._camera.scale != 1:
            self.counts.resized_frames += 1
            image = _scaled(image, self._camera.scale)
        if not self._strikes("corrupt"):
            return image
        damaged = _damaged(image, np.random.default_rng((self._camera.seed, number)))
        self.counts.damaged_frames += damaged is not None
        return damaged

    def _frame(self, image: RgbImage, pts: int) -> Frame:
        index, self._index = self._index, self._index + 1
        info = self.info
        return Frame(image, index, pts, info.time_base, time.monotonic_ns(), time.time_ns(), info.source_id)


def open_chaos(
    inner: BaseSource,
    config: ChaosConfig,
    *,
    source_id: str | None,
    reconnect: ReconnectConfig | None,
    notify: Notify,
    max_frames: int | None,
) -> BaseSource:
    """A source with faults; without `reconnect` the first break is its end. Closing it closes `inner`.

    Raises:
        UnreadyError: the first try to connect is to fail, and nothing tries again.
    """
    camera = ChaosCamera(inner, config, source_id)
    with ExitStack() as undo:
        undo.callback(camera.close)
        if reconnect is None or not reconnect.enabled:
            source: BaseSource = camera.connect(threading.Event(), max_frames=max_frames, is_only=True)
        else:
            connector = Connector(camera.connect, reconnect, rng=Random(config.seed))
            first = connect_first(connector, lambda error: reconnect.at_start != "fail", notify)
            source = RecoveringSource(
                first, connector, reconnect, notify, max_frames=max_frames, on_end=camera.close
            )
        undo.pop_all()
    return source


def _scaled(image: RgbImage, scale: float) -> RgbImage:
    height, width = (max(_LEAST_SIDE_PX, round(side * scale / 2) * 2) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _damaged(image: RgbImage, rng: np.random.Generator) -> RgbImage | None:
    """The picture after a bad line: noisy blocks, and one row smeared over the rest; None: not decodable."""
    if rng.random() < _UNDECODABLE_SHARE:
        return None
    height, width = image.shape[:2]
    damaged = image.copy()
    for _ in range(_NOISY_BLOCKS):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        block = damaged[y : y + _BLOCK_PX, x : x + _BLOCK_PX]
        block[:] = rng.integers(0, 256, block.shape, np.uint8)
    top = int(rng.integers(height))
    damaged[top:] = damaged[top]
    return damaged
