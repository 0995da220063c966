"""Answers `/metrics`, `/healthz` and `/readyz` over HTTP, for the runs of this process."""

from __future__ import annotations

import json
import logging
import socketserver
import threading
from collections.abc import Callable, Iterable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import make_wsgi_app

from .health import Roster, Verdict, liveness, readiness
from .metrics import make_registry
from .metrics_address import HttpAddress

_MOST_AT_ONCE = 16  # requests; those beyond are turned away
_TIMEOUT_S = 5.0  # for a client to send its request, or to take the answer

log = logging.getLogger("maskstream")


class MetricsServer:
    """Serves any number of runs, which are added to `roster`, before or while it is open.

    Args:
        address: `HOST:PORT`, `*:PORT` for all networks, or a port on this machine's loopback.

    Raises:
        ConfigError: the address is malformed.
    """

    def __init__(self, address: str) -> None:
        self.address = HttpAddress.parse(address)
        self.roster = Roster()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """See that the address is free; leaves nothing behind.

        Raises:
            ConfigError: it is not.
        """
        self.address.check()

    def open(self) -> None:
        """Answer from now on; a warning where others can reach it. `address` then names the real port.

        Raises:
            ConfigError: the address is in use.
        """
        try:
            self._server = _Server(self.address, make_app(self.roster))
        except OSError as error:
            raise self.address.refusal(error) from error
        self.address = HttpAddress(self.address.host, self._server.server_port)
        if self.address.is_public:
            log.warning("everybody who can reach %s can read the metrics of this run", self.address)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more. May be called twice, and without open()."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join()
            server.server_close()


App = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def make_app(roster: Roster) -> App:
    """What answers requests."""
    metrics: App = make_wsgi_app(make_registry(roster))
    verdicts: dict[str, Callable[[Roster], Verdict]] = {"/healthz": liveness, "/readyz": readiness}

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        if path not in verdicts:
            return _answer(start_response, "404 Not Found", {"paths": ["/metrics", *verdicts]})
        verdict = verdicts[path](roster)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start_response, "405 Method Not Allowed", {"methods": ["GET", "HEAD"]})
        status = "200 OK" if verdict.is_good else "503 Service Unavailable"
        return _answer(start_response, status, verdict.details)

    return app


def _answer(start_response: StartResponse, status: str, details: dict[str, object]) -> Iterable[bytes]:
    body = json.dumps(details).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class _Handler(WSGIRequestHandler):
    """One request."""

    timeout = _TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
        """Requests come every few seconds for ever: say nothing."""

    def address_string(self) -> str:
        """No name is looked up."""
        return str(self.client_address[0])


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request, of which there are not too many at once."""

    daemon_threads = True
    request_queue_size = 64  # connections that wait to be taken

    def __init__(self, address: HttpAddress, app: App) -> None:
        self.address_family = address.family
        self._places = threading.Semaphore(_MOST_AT_ONCE)
        super().__init__((address.host, address.port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Without the base's search for the machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: object, client_address: object) -> None:
        """Take a place, or turn the request away."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer, and leave the place."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that went away, or sent nothing, are no matter of ours."""
        log.debug("a request for metrics failed", exc_info=True)
