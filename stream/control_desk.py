"""Takes requests to a run, each once, and has them answered; control_server.py carries the bytes."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from maskstream.model.errors import MaskstreamError

from .commands import Applied, Command
from .control_wire import (
    Request,
    RequestError,
    decode_request,
    effect_record,
    encode_answer,
    encode_refusal,
)
from .logs import log_event

MAX_REMEMBERED = 1024  # requests whose answers are kept in case they are repeated

audit = logging.getLogger("maskstream.control")

Reply = Callable[[bytes], None]  # sends an answer back to where its request came from; any thread


class Controls(Protocol):
    """What can be done to a run. Every method returns at once, and may be called from any thread."""

    @property
    def picture_hw(self) -> tuple[int, int]:
        """Height and width of the stream's pictures, px."""
        ...

    def submit(self, command: Command) -> Future[Applied]:
        """Have something done to the objects."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether no frames are looked at, so that commands wait."""
        ...

    def pause(self) -> None:
        """Look at no more frames."""
        ...

    def resume(self) -> None:
        """Look at frames again."""
        ...

    def shut_down(self) -> None:
        """End the run."""
        ...

    def situation(self) -> dict[str, Any]:
        """The stream and its objects, plain values."""
        ...

    def metrics(self) -> dict[str, Any]:
        """Counts and times so far, plain values."""
        ...


@dataclass(slots=True, eq=False)
class _Entry:
    """What is remembered of a request that changes something; not what it brought: that may be large."""

    request_id: str
    wait: bool
    digest: bytes
    sender: str
    reply: Reply | None  # to whoever asked last; None when it is answered
    answer: bytes | None = None  # None while it is waited for


class ControlDesk:
    """Bytes in, answers out, one line in the log for each request. Works in one thread.

    A request's id stands for it: once it was taken in, the same id with the same content is answered as
    before, and with other content refused. The last 1024 requests that change something are remembered.

    While the run is paused nobody is kept waiting: commands that wait for it are answered with `pending`, and
    whoever repeats them after it goes on hears what became of them.

    Args:
        controls: of the run.
        call_soon: runs a function in the desk's thread; may be called from any.
    """

    def __init__(self, controls: Controls, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._controls, self._call_soon = controls, call_soon
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def handle(self, data: bytes, sender: str, reply: Reply) -> None:
        """Take one request; `reply` is called once, now, when it has taken effect, or when the run pauses."""
        try:
            request = decode_request(data, self._controls.picture_hw)
        except RequestError as error:
            self.refuse(error, sender, reply)
            return
        if not request.changes:
            self._tell(request, sender, reply)
        elif request.request_id in self._entries:
            self._repeat(self._entries[request.request_id], data, sender, reply)
        else:
            entry = _Entry(request.request_id, request.wait, _digest(data), sender, reply)
            self._remember(entry)
            self._do(request, entry)

    def refuse(self, error: RequestError, sender: str, reply: Reply) -> None:
        """Answer a request that cannot be understood."""
        _audit(logging.WARNING, sender, error.request_id or "-", f"bad request: {error}")
        reply(encode_refusal(error.request_id, str(error)))

    def _tell(self, request: Request, sender: str, reply: Reply) -> None:
        values = self._controls.situation() if request.verb == "list" else self._controls.metrics()
        _audit(logging.INFO, sender, request.request_id, request.verb)
        reply(encode_answer(request.request_id, values))

    def _repeat(self, entry: _Entry, data: bytes, sender: str, reply: Reply) -> None:
        request_id = entry.request_id
        if entry.digest != _digest(data):
            complaint = f"the id {request_id} was used for another request"
            _audit(logging.WARNING, sender, request_id, f"refused: {complaint}")
            reply(encode_refusal(request_id, complaint))
            return
        _audit(logging.INFO, sender, request_id, "repeated")
        if entry.answer is not None:
            reply(entry.answer)
        else:
            entry.reply = reply
            if self._keeps_waiting(entry):
                self._leave_open(entry)

    def _remember(self, entry: _Entry) -> None:
        self._entries[entry.request_id] = entry
        while len(self._entries) > MAX_REMEMBERED:
            self._entries.popitem(last=False)

    def _do(self, request: Request, entry: _Entry) -> None:
        if request.command is not None:
            self._submit(entry, request.command)
            return
        if request.verb == "pause":
            self._controls.pause()
        elif request.verb == "resume":
            self._controls.resume()
        self._finish(entry, request.verb, encode_answer(request.request_id, {}))
        if request.verb == "pause":
            self._leave_all_open()
        elif request.verb == "shutdown":
            self._controls.shut_down()

    def _submit(self, entry: _Entry, command: Command) -> None:
        answer = self._controls.submit(command)
        if not entry.wait or (self._controls.is_paused and not answer.done()):
            self._leave_open(entry)

        def done(answer: Future[Applied]) -> None:
            self._call_soon(lambda: self._settle(entry, command.what, answer))

        answer.add_done_callback(done)

    def _keeps_waiting(self, entry: _Entry) -> bool:
        """Whether the answer would come too late for whoever asked."""
        return not entry.wait or self._controls.is_paused

    def _leave_open(self, entry: _Entry) -> None:
        """Answer that it is taken in; what comes of it is remembered for when it is asked again."""
        reply, entry.reply = entry.reply, None
        if reply is not None:
            paused = {"paused": True} if self._controls.is_paused else {}
            reply(encode_answer(entry.request_id, {"pending": True, **paused}))

    def _leave_all_open(self) -> None:
        for entry in self._entries.values():
            self._leave_open(entry)

    def _settle(self, entry: _Entry, what: str, done: Future[Applied]) -> None:
        """The command has taken effect, or never will."""
        error, request_id = done.exception(), entry.request_id
        if error is None:
            effect = done.result()
            text = f"{what}, from frame {effect.index} on"
            self._finish(entry, text, encode_answer(request_id, effect_record(effect)))
        else:
            reason = str(error) if isinstance(error, MaskstreamError) else f"the run has failed: {error}"
            self._finish(entry, f"refused: {what}: {reason}", encode_refusal(request_id, reason))

    def _finish(self, entry: _Entry, text: str, answer: bytes) -> None:
        _audit(logging.INFO, entry.sender, entry.request_id, text)
        entry.answer, reply, entry.reply = answer, entry.reply, None
        if reply is not None:
            reply(answer)


def _audit(level: int, sender: str, request_id: str, what: str) -> None:
    sentence = f"control by {sender}, {request_id}: {what}"
    log_event(audit, level, "control", sentence, sender=sender, request=request_id, what=what)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
