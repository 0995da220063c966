"""Where metrics are served: what a person writes, whether it is free, who can reach it."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from dataclasses import dataclass

from maskstream.model.errors import ConfigError

_FORM = re.compile(r"^(?:(?P<host>[^\s/:\[\]]*|\[[^\s/\[\]]+\]):)?(?P<port>\d{1,5})$")
_EXAMPLES = "127.0.0.1:9464, or *:9464 for all networks"


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """A host and a port to be bound."""

    host: str  # "" is all networks
    port: int  # 0 is any that is free

    @classmethod
    def parse(cls, text: str) -> HttpAddress:
        """`HOST:PORT`, `*:PORT` for all networks, or a port on this machine's loopback.

        Raises:
            ConfigError: it is none of these.
        """
        match = _FORM.match(text)
        if not match or int(match["port"]) > 65_535:
            raise ConfigError(f"cannot serve metrics on {text!r}: not an address; use {_EXAMPLES}")
        host = "127.0.0.1" if match["host"] is None else match["host"].strip("[]")
        return cls("" if host in ("*", "0.0.0.0") else host, int(match["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return f"{host}:{self.port}"

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def family(self) -> socket.AddressFamily:
        """IPv6 for an address of that kind."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def check(self) -> None:
        """See that it is free; leaves nothing behind.

        Raises:
            ConfigError: it is not.
        """
        try:
            with socket.socket(self.family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
                probe.bind((self.host, self.port))
        except OSError as error:
            raise self.refusal(error) from error

    def refusal(self, error: OSError) -> ConfigError:
        """Why it cannot be bound, and what to do."""
        cure = f"use {_EXAMPLES}"
        if error.errno == errno.EADDRINUSE:
            cure = "choose another port, or stop the program that uses it"
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        return ConfigError(f"cannot serve metrics on {self}: {reason}; {cure}")
