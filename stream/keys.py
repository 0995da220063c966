"""CURVE keys: who may connect to a socket of ours, and whom a client talks to. All traffic is then encrypted.

A key pair is two files in ZeroMQ's own form: `NAME.key`, which may be given away, and `NAME.key_secret`, that
only its owner can read. A server needs its secret file, a client the server's public one. With a folder of
clients' public files the server lets in nobody else; without one, everybody who knows its public key.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth
from maskstream.model.errors import ConfigError
from zmq.auth.thread import ThreadAuthenticator

from .targets import cannot_write, check_folder
from .zmq_endpoint import Endpoint

log = logging.getLogger("maskstream")

PUBLIC, SECRET = ".key", ".key_secret"

_PUBLIC_TEXT = """\
#   A public key for maskstream, in ZeroMQ's form. It may be given away.

metadata
curve
    public-key = "{public}"
"""
_SECRET_TEXT = """\
#   A SECRET key for maskstream, in ZeroMQ's form. Do not give it away.

metadata
curve
    public-key = "{public}"
    secret-key = "{secret}"
"""


def make_keys(name: Path) -> tuple[Path, Path]:
    """Write a new pair of files, `NAME.key` and `NAME.key_secret`; gives their paths.

    Raises:
        ConfigError: one of them is there already.
        SinkError: they cannot be written.
    """
    public_file, secret_file = (name.with_name(name.name + suffix) for suffix in (PUBLIC, SECRET))
    check_folder(name.parent)
    for path in (public_file, secret_file):
        if path.exists():
            raise ConfigError(f"{path} is there already: choose another name, or delete it if nobody uses it")
    public, secret = (key.decode() for key in zmq.curve_keypair())
    _write(secret_file, _SECRET_TEXT.format(public=public, secret=secret), 0o600)
    _write(public_file, _PUBLIC_TEXT.format(public=public), 0o644)
    return public_file, secret_file


def _write(path: Path, text: str, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(path, error) from error


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What a socket that others connect to shows and asks for."""

    secret: Path  # its own secret file
    clients: Path | None = (
        None  # a folder of the public files of those who may connect; None: whoever has ours
    )

    def check(self) -> None:
        """See that the files are there and are keys.

        Raises:
            ConfigError: they are not.
        """
        _read_secret(self.secret)
        if self.clients is not None and not zmq_clients(self.clients):
            raise ConfigError(
                f"no client may connect: the folder {self.clients} holds no public key (*{PUBLIC})"
            )

    def guard(self, context: zmq.Context[zmq.Socket[bytes]], server: zmq.Socket[bytes]) -> Doorman:
        """Ask for keys on a socket not bound yet; the doorman is to be stopped before the context ends."""
        public, secret = _read_secret(self.secret)
        doorman = Doorman(context, self.clients)
        server.curve_publickey, server.curve_secretkey, server.curve_server = public, secret, True
        return doorman


class Doorman:
    """Lets in clients whose public keys are in a folder, in a thread of its own; without a folder, all."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clients: Path | None) -> None:
        self._authenticator: ThreadAuthenticator | None = None
        if clients is not None:
            self._authenticator = ThreadAuthenticator(context)
            self._authenticator.start()
            self._authenticator.configure_curve(domain="*", location=str(clients))

    def stop(self) -> None:
        """Nobody new is let in. May be called twice."""
        authenticator, self._authenticator = self._authenticator, None
        if authenticator is not None:
            authenticator.stop()


def check_guard(endpoint: Endpoint, keys: ServerKeys | None, what: str) -> None:
    """See that the keys can be read; warn where there are none and others could use that, as `what` says.

    Raises:
        ConfigError: a key cannot be read.
    """
    if keys is not None:
        keys.check()
    elif endpoint.is_public:
        log.warning(
            "everybody who can reach %s can %s, for it has no keys; docs/control.md tells how to make them",
            endpoint.text,
            what,
        )


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a client that connects to a guarded socket needs."""

    server: Path  # the server's public file
    secret: Path | None = (
        None  # its own secret file; None: a key for this once, where the server knows no clients
    )

    def apply(self, client: zmq.Socket[bytes]) -> None:
        """Prepare a socket that is not connected yet.

        Raises:
            ConfigError: a file is missing or no key.
        """
        client.curve_serverkey = _read(self.server)[0]
        public, secret = zmq.curve_keypair() if self.secret is None else _read_secret(self.secret)
        client.curve_publickey, client.curve_secretkey = public, secret


def zmq_clients(folder: Path) -> list[Path]:
    """The public files in a folder.

    Raises:
        ConfigError: one is no key, or the folder is none.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} is not a folder of public keys: make it, and copy the clients' *{PUBLIC} there"
        )
    found = sorted(folder.glob(f"*{PUBLIC}"))
    for path in found:
        _read(path)
    return found


def _read_secret(path: Path) -> tuple[bytes, bytes]:
    public, secret = _read(path)
    if secret is None:
        raise ConfigError(f"{path} holds no secret key: give the file that ends in {SECRET}")
    return public, secret


def _read(path: Path) -> tuple[bytes, bytes | None]:
    how = "make one: maskstream keys NAME"
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a key in ZeroMQ's form"
        raise ConfigError(f"cannot read the key {path}: {reason}; {how}") from error
    if any(key is not None and len(key) != 40 for key in (public, secret)):
        raise ConfigError(f"cannot read the key {path}: a key has 40 characters; {how}")
    return public, secret
