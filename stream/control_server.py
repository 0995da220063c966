"""The socket by which a run is steered from outside; docs/control.md describes what may be sent."""

from __future__ import annotations

import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import zmq
from maskstream.model.errors import ControlError

from .control_desk import ControlDesk, Controls
from .control_wire import MAX_REQUEST_BYTES, RequestError, encode_refusal
from .keys import Doorman, ServerKeys, check_guard
from .zmq_endpoint import Endpoint
from .zmq_parts import take_parts

_MOST_PARTS = 8  # of an envelope; a DEALER's has one, a REQ's two
_MOST_WAITING = 100  # messages to and from each peer
_LINGER_MS = 200

log = logging.getLogger("maskstream")

Task = Callable[[], None]


class ControlServer:
    """Answers requests to one run, in a thread of its own. It cannot be held up, nor hold up the run.

    Args:
        endpoint: `tcp://HOST:PORT`, `ipc://PATH`, or a port on this machine's loopback.
        key: secret key file of this server, see keys.py.
        clients: with a key, a folder of the public keys of those who may steer; None: whoever has ours.
    """

    def __init__(self, endpoint: str, *, key: Path | None = None, clients: Path | None = None) -> None:
        self._endpoint = Endpoint(endpoint, "be steered on", ControlError, 5556)
        self.endpoint = self._endpoint.text
        if key is None and clients is not None:
            raise ControlError(
                "clients=FOLDER says who may steer, and needs the server's own key=FILE.key_secret"
            )
        self._keys = None if key is None else ServerKeys(key, clients)
        self._worker: _Worker | None = None

    def check(self) -> None:
        """See that the endpoint is well formed and free, and the keys are there; leaves nothing behind.

        Raises:
            ControlError: it is not.
            ConfigError: a key cannot be read.
        """
        self._endpoint.check()
        check_guard(self._endpoint, self._keys, "steer this run")

    def open(self, controls: Controls) -> None:
        """Bind, and answer from now on. `endpoint` then names the real port.

        Raises:
            ControlError: the endpoint is in use.
        """
        self._worker = _Worker(self._endpoint, self._keys, controls)
        self.endpoint = self._worker.endpoint

    def close(self) -> None:
        """Send the answers that are ready, then no more. May be called twice, and without open()."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


class _Worker:
    """A bound socket, its desk, and the thread that they live in."""

    def __init__(self, endpoint: Endpoint, keys: ServerKeys | None, controls: Controls) -> None:
        self._wire_endpoint = endpoint
        self._context = zmq.Context()
        self._doorman: Doorman | None = None
        try:
            self._router = self._make_router()
            self._doorman = None if keys is None else keys.guard(self._context, self._router)
            self.endpoint = endpoint.bind(self._router)
        except BaseException:
            self._let_go()
            raise
        self._desk = ControlDesk(controls, self._call_soon)
        self._tasks: deque[Task] = deque()
        self._is_closing = False
        self._waking, self._wake = socket.socketpair()
        for end in (self._waking, self._wake):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def _make_router(self) -> zmq.Socket[bytes]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        router.rcvhwm = router.sndhwm = _MOST_WAITING
        router.linger = _LINGER_MS
        return router

    def _call_soon(self, task: Task) -> None:
        """Have a task run in the thread; any thread may ask."""
        self._tasks.append(task)
        self._rouse()

    def _rouse(self) -> None:
        with suppress(OSError):  # it is awake, or gone
            self._wake.send(b"!")

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._waking.fileno(), zmq.POLLIN)
        while not self._is_closing:
            ready = dict(poller.poll())
            if self._waking.fileno() in ready:
                self._waking.recv(4096)
            self._run_tasks()
            if self._router in ready:
                self._take_request()
        self._run_tasks()

    def _run_tasks(self) -> None:
        while self._tasks:
            self._tasks.popleft()()

    def _take_request(self) -> None:
        (*parts, body), dropped = take_parts(self._router, _MOST_PARTS + 1)
        sender = _sender_of(body)
        envelope = [part.bytes for part in (_shortest(parts) if dropped else parts)]

        def reply(answer: bytes) -> None:
            # Whoever left is not there to be answered, and whoever does not read is not waited for.
            try:
                self._router.send_multipart([*envelope, answer], zmq.NOBLOCK)
            except zmq.ZMQError as error:
                log.warning("%s did not take an answer: %s", sender, error)

        try:
            if dropped:
                self._desk.refuse(RequestError("a request is one frame, this has too many"), sender, reply)
            else:
                self._desk.handle(body.bytes, sender, reply)
        except Exception:
            log.exception("a request from %s could not be handled", sender)
            reply(encode_refusal("", "the request could not be handled; the log of the run says more"))

    def close(self) -> None:
        self._is_closing = True
        self._rouse()
        self._thread.join()
        self._router.close()
        self._let_go()
        self._wire_endpoint.tidy()
        self._waking.close()
        self._wake.close()

    def _let_go(self) -> None:
        if self._doorman is not None:
            self._doorman.stop()
        self._context.destroy(linger=_LINGER_MS)


def _shortest(parts: Sequence[zmq.Frame]) -> Sequence[zmq.Frame]:
    """Of an envelope whose end was not seen, what leads back: the sender, and a REQ's empty part."""
    return parts[:1] if parts[1].bytes else parts[:2]


def _sender_of(frame: zmq.Frame) -> str:
    """Who sent it: address, and where there are keys, the key."""
    known = []
    for name in ("Peer-Address", "User-Id"):
        try:
            known.append(str(frame.get(name)))
        except zmq.ZMQError:
            continue
    return " ".join(filter(None, known)) or "local"
