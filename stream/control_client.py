"""Steers a run from another program: objects come and go, frames stop and go on.

with Controller("tcp://127.0.0.1:5556") as run:
    effect = run.add(2, box=(10, 20, 110, 220))
    print("object 2 from frame", effect.index, "on")
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import zmq
from maskstream.model.errors import ControlError
from maskstream.model.types import BoolMask

from . import rle
from .commands import Applied
from .control_wire import Answer, decode_answer, encode_request
from .keys import ClientKeys
from .wire_fields import WireError

Point = Sequence[float]  # x, y px
Box = Sequence[float]  # x0, y0, x1, y1 px

_REPEAT_S = 1.0  # how long an answer may take before the request is sent once more, which does no harm
_HEARTBEAT_MS = 1000
_DEAD_AFTER_MS = 5000


class Controller:
    """Requests to one run, one after the other. Each waits for its answer; a refusal is a ControlError.

    Commands take effect on the next frame that is looked at, or the first at or after `pts` or `time_s`, and
    give the first frame in effect; with `wait=False` they give None as soon as they are taken in, and so they
    do while the run is paused: after resume(), outcomes() tells what became of these.

    Args:
        endpoint: where the run is steered: `tcp://HOST:PORT` or `ipc://PATH`.
        timeout_s: how long an answer may take, unless it is about a later time.
        keys: of a run that asks for them.
    """

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5556",
        *,
        timeout_s: float = 5.0,
        keys: ClientKeys | None = None,
    ) -> None:
        self.endpoint, self.timeout_s = endpoint, timeout_s
        self._name, self._count = secrets.token_hex(8), 0
        self._left_open: dict[str, bytes] = {}  # requests by id: commands that found the run paused
        self._context = zmq.Context()
        self._dealer: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        try:
            self._connect(keys)
        except BaseException:
            self.close()
            raise

    def _connect(self, keys: ClientKeys | None) -> None:
        dealer = self._dealer
        dealer.linger, dealer.ipv6 = 0, True
        dealer.setsockopt(zmq.IMMEDIATE, 1)  # nothing is kept for a run that is not there
        dealer.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, _DEAD_AFTER_MS)
        if keys is not None:
            keys.apply(dealer)
        try:
            dealer.connect(self.endpoint)
        except zmq.ZMQError as error:
            reason = f"{zmq.strerror(error.errno or 0)}; write tcp://HOST:PORT or ipc://PATH"
            raise ControlError(f"cannot steer {self.endpoint}: {reason}") from error

    def add(self, object_id: int, **prompt: Any) -> Applied | None:
        """Follow a new object: `box`, `points`, `negative` or `mask`; `pts`, `time_s`, `wait`; see show()."""
        return self._show("add", object_id, **prompt)

    def correct(self, object_id: int, **prompt: Any) -> Applied | None:
        """Correct an object that is followed; see show()."""
        return self._show("correct", object_id, **prompt)

    def show(self, object_id: int, **prompt: Any) -> Applied | None:
        """Follow an object, new or not.

        Args:
            object_id: 1..65535.
            prompt: `box` (x0, y0, x1, y1) px; `points` and `negative`, lists of (x, y) px; `mask` (H, W)
                bool; and when: `pts` or `time_s`, and `wait`.
        """
        return self._show("show", object_id, **prompt)

    def remove(self, object_id: int, **when: Any) -> Applied | None:
        """Stop following an object."""
        return self.request("remove", {"object": object_id, **when}).effect

    def rename(self, object_id: int, new_id: int, **when: Any) -> Applied | None:
        """Follow an object on under an id that is free."""
        return self.request("rename", {"object": object_id, "new_object": new_id, **when}).effect

    def detections(
        self,
        boxes: Sequence[Box],
        *,
        least_iou: float = 0.5,
        refresh: bool = False,
        replace: bool = False,
        **when: Any,
    ) -> Applied | None:
        """Take over a detector's boxes; the effect names an object for each. See commands.Detections."""
        fields = {
            "boxes": [_plain(box) for box in boxes],
            "least_iou": least_iou,
            "refresh": refresh,
            "replace": replace,
        }
        return self.request("detections", fields | when).effect

    def pause(self) -> None:
        """Look at no more frames: commands wait for resume()."""
        self.request("pause")

    def resume(self) -> None:
        """Look at frames again."""
        self.request("resume")

    def outcomes(self) -> list[Answer]:
        """What became of this controller's commands that found the run paused, in order: `effect` or `error`.

        Raises:
            ControlError: the run is paused still, or does not answer; then they can be asked for again.
        """
        answers = []
        for request_id, data in self._left_open.items():
            answers.append(self._exchange(data, request_id))
            if answers[-1].is_pending:
                raise ControlError("the run is paused, so nothing has taken effect: resume() comes first")
        self._left_open.clear()
        return answers

    def shut_down(self) -> None:
        """End the run; what is in flight is still written."""
        self.request("shutdown")

    def situation(self) -> dict[str, Any]:
        """The stream, and the objects on its last frame; docs/control.md describes the keys."""
        return self.request("list").values

    def metrics(self) -> dict[str, Any]:
        """Counts and times so far; docs/control.md describes the keys."""
        return self.request("metrics").values

    def _show(
        self,
        verb: str,
        object_id: int,
        *,
        box: Box | None = None,
        points: Sequence[Point] = (),
        negative: Sequence[Point] = (),
        mask: BoolMask | None = None,
        **when: Any,
    ) -> Applied | None:
        fields = {
            "object": object_id,
            "box": None if box is None else _plain(box),
            "points": [_plain(point) for point in points] or None,
            "negative": [_plain(point) for point in negative] or None,
            "mask": None if mask is None else dict(rle.encode(mask)),
        }
        return self.request(verb, fields | when).effect

    def request(self, verb: str, fields: Mapping[str, object] | None = None, request_id: str = "") -> Answer:
        """Send any request and wait for its answer.

        Args:
            verb: one of docs/control.md.
            fields: what it needs.
            request_id: unique among all requests of all clients; to repeat a request without doing it twice.

        Raises:
            ControlError: the run refused it, or did not answer in time: then it may have been done or not.
        """
        self._count += 1
        request_id = request_id or f"{self._name}-{self._count}"
        fields = fields or {}
        data = encode_request(request_id, verb, fields)
        answer = self._exchange(data, request_id)
        if answer.error is not None:
            raise ControlError(answer.error)
        if answer.is_pending and fields.get("wait") is not False:
            self._left_open[request_id] = data
        return answer

    def _exchange(self, data: bytes, request_id: str) -> Answer:
        deadline = time.monotonic() + self.timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if not self._dealer.poll(int(left_s * 1000) + 1, zmq.POLLOUT):
                raise ControlError(
                    f"nobody is there to be steered at {self.endpoint}: does the run have --control?"
                )
            self._dealer.send(data)
            answer = self._receive(request_id, min(deadline, time.monotonic() + _REPEAT_S))
            if answer is not None:
                return answer
        raise ControlError(
            f"{self.endpoint} did not answer within {self.timeout_s:g} s; what was asked may yet be done, "
            f"and to ask again without doing it twice, repeat the request id {request_id}"
        )

    def _receive(self, request_id: str, deadline: float) -> Answer | None:
        """The answer to a request; answers to others that came too late are passed over."""
        while (left_s := deadline - time.monotonic()) > 0 and self._dealer.poll(int(left_s * 1000) + 1):
            try:
                answer = decode_answer(self._dealer.recv())
            except WireError as error:
                raise ControlError(f"{self.endpoint} does not answer as a run does: {error}") from error
            if answer.request_id in (request_id, ""):
                return answer
        return None

    def close(self) -> None:
        """Disconnect. May be called twice."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _plain(numbers: Sequence[float]) -> list[float]:
    return [float(number) for number in numbers]
