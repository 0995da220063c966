"""Addresses that ZeroMQ sockets are bound to: what a person writes, whether it is free, who can reach it."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

import zmq
from maskstream.model.errors import InputError

from .targets import check_folder

_FORM = re.compile(r"^tcp://(?P<host>[^\s/:]+|\[[^\s/]+\]):(?P<port>\d+|\*)$|^ipc://(?P<path>\S+)$")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a socket of ours is to be bound.

    Args:
        text: `tcp://HOST:PORT`, `ipc://PATH`, or a port on this machine's loopback: `5555`.
        purpose: for complaints, as in `publish on`.
        error: what complaints are raised as.
        port: a usual port, for examples.
    """

    text: str
    purpose: str
    error: type[InputError]
    port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", full_endpoint(self.text))

    @property
    def path(self) -> Path | None:
        """The file of an `ipc://` endpoint."""
        return Path(self.text.removeprefix("ipc://")) if self.text.startswith("ipc://") else None

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it."""
        match = _FORM.match(self.text)
        if not match or match["path"]:
            return False
        host = match["host"].strip("[]")
        try:
            return not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host not in ("localhost", "lo")

    def check(self) -> None:
        """See that it is well formed and free; leaves nothing behind.

        Raises:
            InputError: it is not; of the class that was given.
        """
        match = _FORM.match(self.text)
        if not match:
            raise self.error(f"cannot {self.purpose} {self.text!r}: not an endpoint; use {self._examples}")
        if match["path"]:
            self._check_ipc(Path(match["path"]))
        else:
            self._check_tcp(match["host"].strip("[]"), match["port"])

    def bind(self, server: zmq.Socket[bytes]) -> str:
        """Bind a socket to it; what it is bound to, with the real port.

        Raises:
            InputError: it is malformed or in use.
        """
        server.ipv6 = "[" in self.text
        try:
            server.bind(self.text)
        except zmq.ZMQError as error:
            raise self._refusal(error.errno or 0) from error
        return server.getsockopt_string(zmq.LAST_ENDPOINT)

    def tidy(self) -> None:
        """Remove what a closed socket leaves behind."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    @property
    def _examples(self) -> str:
        return f"tcp://127.0.0.1:{self.port}, tcp://*:{self.port} for all networks, or ipc:///tmp/masks"

    def _refusal(self, number: int) -> InputError:
        cure = f"use {self._examples}"
        if number == errno.EADDRINUSE:
            cure = "choose another port, or stop the program that uses it"
        return self.error(f"cannot {self.purpose} {self.text}: {zmq.strerror(number)}; {cure}")

    def _check_tcp(self, host: str, port: str) -> None:
        """Bind for a moment without listening: whoever is waiting already must not meet the probe."""
        number = 0 if port == "*" else int(port)
        if number > 65_535:
            raise self.error(
                f"cannot {self.purpose} {self.text}: there is no port {number}; use {self._examples}"
            )
        if host in {name for _, name in socket.if_nameindex()}:
            return  # ZeroMQ takes the names of interfaces too
        try:
            name = "0.0.0.0" if host == "*" else host
            family, _, _, _, target = socket.getaddrinfo(name, number, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does
                probe.bind(target)
        except socket.gaierror as error:
            reason = f"{error.strerror}; use {self._examples}"
            raise self.error(f"cannot {self.purpose} {self.text}: {reason}") from error
        except OSError as error:
            raise self._refusal(error.errno or 0) from error

    def _check_ipc(self, path: Path) -> None:
        """ZeroMQ would delete whatever is at `path`, even a file, even another program's open socket."""
        check_folder(path.parent)
        if not path.exists():
            return
        cannot = f"cannot {self.purpose} {self.text}"
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise self.error(f"{cannot}: there is a file of this name; choose another")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise self.error(f"{cannot}: another program uses it; choose another name")


def full_endpoint(text: str) -> str:
    """The endpoint that a person means; a bare port is on this machine's loopback."""
    return f"tcp://127.0.0.1:{text}" if text.isdecimal() else text
