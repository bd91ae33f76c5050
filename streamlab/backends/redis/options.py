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
from streamlab.uri import Secret, StreamUrl

_PORT, _SENTINEL_PORT = 6379, 26379
_FORMATS = ("milliseconds", "nanoseconds")
_SECRETS = ("password", "sentinel_password", "ssl_password")
_NOT_IN_URLS = ("username", *_SECRETS)
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
        timestamp_format: what the first half of entry ids counts since 1970: "milliseconds",
            or "nanoseconds" as SeaStreamer can write them.
        claim_idle: seconds after which a silent member of a group counts as gone.
        claim_interval: how often a member looks for such, in seconds.
        service_name: of the primary, as the Sentinels know it.
        nodes: of a cluster or of the Sentinels, those that the URL names.
        kind: "cluster", "sentinel", or "" for one server.
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
    unix_socket_path: str | None = None
    timestamp_format: str = "milliseconds"
    claim_idle: float = 60.0
    claim_interval: float = 30.0
    service_name: str | None = None
    sentinel_username: str | None = None
    sentinel_password: Any = None
    nodes: tuple[tuple[str, int], ...] = ()
    kind: str = ""

    def __repr__(self) -> str:
        # Passwords live in here: nothing but the place may reach a traceback.
        return f"Settings({self.place!r})"

    @property
    def address(self) -> str:
        """Host and port, for the status line."""
        return self.unix_socket_path or f"{self.host}:{self.port}"

    @property
    def per_ms(self) -> int:
        """Steps of an id's first half in a millisecond."""
        return 1_000_000 if self.timestamp_format == "nanoseconds" else 1

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
                    self.ssl_certfile, self.ssl_keyfile, plain(self.ssl_password)
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
        password = plain(self.password)
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
    secure, _, kind = url.scheme.partition("+")
    if len(url.hosts) != 1 and not kind:
        raise UrlError(
            f"{url.place}: {url.scheme}:// takes one host. Write "
            f"{url.scheme}://host:6379/stream; a cluster is {url.scheme}+cluster://, "
            f"servers watched by Sentinels are {url.scheme}+sentinel://."
        )
    port = _SENTINEL_PORT if kind == "sentinel" else _PORT
    nodes = tuple((host.strip("[]"), own or port) for host, own in url.hosts)
    # Neither a log of URLs nor a shared notebook is a place for a password in the query.
    asked = {n: v for n, v in url.params.items() if n not in _NOT_IN_URLS}
    options = hidden(options)
    asked_all: dict[str, object] = {**asked, **options}
    for name in [*asked_all, *(url.params.keys() - asked.keys())]:
        if name not in _READ or (name in url.params and name not in asked):
            raise UnknownNameError.among("Redis option", name, _READ)
    read = {name: _value(name, value) for name, value in asked_all.items()}
    found: dict[str, Any] = {"username": url.user, "password": url.password, **read}
    if "db" not in found:
        found["db"] = _database(url)
    _fit(url, kind, found)
    return Settings(
        place=_place(url, found),
        host=nodes[0][0],
        port=nodes[0][1],
        nodes=nodes,
        kind=kind,
        tls=secure == "rediss",
        **found,
    )


def hidden(options: Options) -> Options:
    """The options with their passwords wrapped: a traceback may show what a function held."""
    return {
        name: Secret(value) if name in _SECRETS and isinstance(value, str) else value
        for name, value in options.items()
    }


def tls_options(chosen: Settings) -> dict[str, Any]:
    """What redis-py's own clients are told about TLS."""
    if not chosen.tls:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": chosen.ssl_ca_certs,
        "ssl_certfile": chosen.ssl_certfile,
        "ssl_keyfile": chosen.ssl_keyfile,
        "ssl_cert_reqs": chosen.ssl_cert_reqs,
        "ssl_check_hostname": chosen.ssl_check_hostname
        and chosen.ssl_cert_reqs == "required",
    }


def _fit(url: StreamUrl, kind: str, found: Mapping[str, Any]) -> None:
    """Refuse what doesn't go together."""
    if kind == "sentinel" and not found.get("service_name"):
        raise UrlError(
            f"{url.place}: which of the servers that the Sentinels watch? "
            f"Write {url.scheme}://host:26379/stream?service_name=mymaster."
        )
    if kind == "cluster" and found["db"]:
        raise UrlError(
            f"{url.place}: a cluster has one database only: leave {found['db']} out."
        )
    if kind and found.get("unix_socket_path"):
        raise UsageError(
            f"{url.place}: unix_socket_path is for one server: write redis://localhost."
        )


def _place(url: StreamUrl, found: Mapping[str, Any]) -> str:
    db = found["db"]
    bare = url.place.removesuffix(f"/{url.path}/") if url.path else url.place
    if path := found.get("unix_socket_path"):
        return f"unix://{path}" + (f"?db={db}" if db else "")
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
    if not hasattr(value, "reveal"):
        raise TypeError("write it as text")
    return value


def plain(secret: Any) -> str | None:
    """A password's text, for the one who logs in with it."""
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


def _span(value: object) -> float:
    found = seconds(value, "span")
    if not found:
        raise ValueError('write seconds above 0, or a span like "5s"')
    return found


def _format(value: object) -> str:
    if value not in _FORMATS:
        raise ValueError(f"there are: {', '.join(_FORMATS)}")
    return str(value)


def _cert_reqs(value: object) -> str:
    if value not in _CERT_REQS:
        raise ValueError(f"there are: {', '.join(_CERT_REQS)}")
    return str(value)


_READ: Mapping[str, Callable[[object], object]] = {
    "claim_idle": _span,
    "claim_interval": _span,
    "client_name": _text,
    "db": _number,
    "field": _text,
    "key_field": _text,
    "password": _secret,
    "sentinel_password": _secret,
    "sentinel_username": _text,
    "service_name": _text,
    "socket_connect_timeout": _timeout,
    "socket_timeout": _timeout,
    "ssl_ca_certs": _text,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_certfile": _text,
    "ssl_check_hostname": _flag,
    "ssl_keyfile": _text,
    "ssl_password": _secret,
    "timestamp_format": _format,
    "unix_socket_path": _text,
    "username": _text,
}
