"""What a Redis URL and its options say, checked once."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlab.backends.base import Options
from streamlab.durations import seconds
from streamlab.errors import TlsError, UnknownNameError, UrlError, UsageError
from streamlab.uri import StreamUrl

_CERT_REQS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to reach one server and how to read its entries; names are redis-py's.

    Attributes:
        place: the server as shown to people.
        field: the entry field that holds the payload; None finds out by looking.
        key_field: the entry field that holds the record's key.
        socket_connect_timeout, socket_timeout: seconds to connect, to wait for an answer.
    """

    place: str
    host: str
    port: int
    tls: bool
    username: str | None = None
    password: Any = None
    db: int = 0
    client_name: str | None = None
    socket_connect_timeout: float = 5.0
    socket_timeout: float = 10.0
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: Any = None
    ssl_cert_reqs: str = "required"
    ssl_check_hostname: bool = True
    field: str | None = None
    key_field: str = "key"

    def __repr__(self) -> str:
        # Passwords live in here: nothing but the place may reach a traceback.
        return f"Settings({self.place!r})"

    @property
    def address(self) -> str:
        """Host and port, for the status line."""
        return f"{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """The TLS settings; reads files, so not for the I/O loop.

        Raises:
            TlsError: a certificate or key file can't be used.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_certs)
            if self.ssl_certfile:
                context.load_cert_chain(
                    self.ssl_certfile, self.ssl_keyfile, _plain(self.ssl_password)
                )
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"{self.place}: ssl_ca_certs, ssl_certfile or ssl_keyfile can't be used: {error}"
            ) from error
        verify = _CERT_REQS[self.ssl_cert_reqs]
        context.check_hostname = self.ssl_check_hostname and verify is ssl.CERT_REQUIRED
        context.verify_mode = verify
        return context

    def login(self) -> tuple[str, ...]:
        """The words after AUTH; empty without a password."""
        password = _plain(self.password)
        if password is None:
            return ()
        return (self.username, password) if self.username else (password,)


def settings(url: StreamUrl, options: Options) -> Settings:
    """Read URL and options; an option beats the URL.

    Raises:
        UrlError: more than one host, or a path that is no database number.
        UnknownNameError: an option that doesn't exist, with the list of those that do.
        UsageError: an option's value makes no sense.
    """
    if len(url.hosts) != 1:
        raise UrlError(
            f"{url.place}: redis:// takes one host. Write {url.scheme}://host:6379/stream."
        )
    ((host, port),) = url.hosts
    # Neither a log of URLs nor a shared notebook is a place for a password in the query.
    asked = {n: v for n, v in url.params.items() if n not in ("username", "password")}
    asked_all: dict[str, object] = {**asked, **options}
    for name in [*asked_all, *(url.params.keys() - asked.keys())]:
        if name not in _READ or (name in url.params and name not in asked):
            raise UnknownNameError.among("Redis option", name, _READ)
    read = {name: _value(name, value) for name, value in asked_all.items()}
    found: dict[str, Any] = {"username": url.user, "password": url.password, **read}
    if "db" not in found:
        found["db"] = _database(url)
    return Settings(
        place=_place(url, found["db"]),
        host=host.strip("[]"),
        port=port or 6379,
        tls=url.scheme == "rediss",
        **found,
    )


def _place(url: StreamUrl, db: int) -> str:
    bare = url.place.removesuffix(f"/{url.path}/") if url.path else url.place
    return f"{bare}/{db}/" if db else bare


def _database(url: StreamUrl) -> int:
    if url.path and not url.path.isdecimal():
        raise UrlError(
            f"{url.place}: {url.path!r} is no database number. "
            f"Write {url.scheme}://host:6379/0/stream."
        )
    return int(url.path or 0)


def _value(name: str, value: object) -> object:
    try:
        return _READ[name](value)
    except (TypeError, ValueError) as error:
        shown = "" if "password" in name else f"={value!r}"
        raise UsageError(f"Redis option {name}{shown}: {error}.") from error


def _text(value: object) -> str:
    if not isinstance(value, (str, Path)) or not str(value):
        raise TypeError("write it as text")
    return str(value)


def _secret(value: object) -> object:
    if not isinstance(value, str) and not hasattr(value, "reveal"):
        raise TypeError("write it as text")
    return value


def _plain(secret: Any) -> str | None:
    """A password's text: from a URL it comes wrapped, from options as it is."""
    text: str | None = secret.reveal() if hasattr(secret, "reveal") else secret
    return text


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or int(value) < 0:
        raise TypeError("write a number from 0 up")
    return int(value)


def _timeout(value: object) -> float:
    found = seconds(value, "time-out")
    if not found:
        raise ValueError('write seconds above 0, or a span like "5s"')
    return found


def _flag(value: object) -> bool:
    known = {True: True, False: False, "true": True, "false": False}
    if not isinstance(value, (bool, str)) or value not in known:
        raise ValueError("write True or False")
    return known[value]


def _cert_reqs(value: object) -> str:
    if value not in _CERT_REQS:
        raise ValueError(f"there are: {', '.join(_CERT_REQS)}")
    return str(value)


_READ: Mapping[str, Callable[[object], object]] = {
    "client_name": _text,
    "db": _number,
    "field": _text,
    "key_field": _text,
    "password": _secret,
    "socket_connect_timeout": _timeout,
    "socket_timeout": _timeout,
    "ssl_ca_certs": _text,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_certfile": _text,
    "ssl_check_hostname": _flag,
    "ssl_keyfile": _text,
    "ssl_password": _secret,
    "username": _text,
}
