"""A Redis server's refusals and a socket's failures, in our own words."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence

import hiredis

from streamlab.backends.redis.options import Settings
from streamlab.errors import (
    AuthError,
    BrokerError,
    ConnectError,
    PermissionDeniedError,
    TlsError,
)

# What passes by itself: a server that reads its files, or a replica without its primary.
_PASSING = (
    *("LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "BUSY "),
    "ERR max number of clients",
)
# What is answered by a server that has handed its streams to another one.
_MOVED = ("MOVED", "ASK", "READONLY", "UNBLOCKED", "CLUSTERDOWN", "TRYAGAIN")
_COMMAND = re.compile(r"run the '([^']+)' command")


def is_moved(reply: object) -> bool:
    """Whether an answer says that another server has the stream now."""
    return isinstance(reply, hiredis.ReplyError) and _code(str(reply)) in _MOVED


def _code(reply: str) -> str:
    return reply.partition(" ")[0]


def refusal(settings: Settings, reply: str, what: str = "") -> BrokerError:
    """The error for an error reply.

    Args:
        settings: of the connection.
        reply: the server's text.
        what: the topic in question, or "".

    Returns:
        A ConnectError for what passes by itself, so that readers try again.
    """
    place = settings.place
    topic = f"{what!r} on {place}" if what else place
    code = _code(reply)
    if settings.kind and code in _MOVED:
        return ConnectError(f"{place} is changing its servers: {reply}")
    if reply.startswith(_PASSING):
        return ConnectError(f"{place} is not ready: {reply}")
    if code in ("WRONGPASS", "NOAUTH") or "AUTH <password>" in reply:
        return AuthError(_login_problem(settings, code))
    if code == "NOPERM":
        return PermissionDeniedError(_missing_right(settings, reply, topic))
    if code == "WRONGTYPE":
        said = (
            "is not a stream: the key holds something else (a string, list, set or hash). "
            "Only streams can be read as topics."
        )
    elif code in ("MOVED", "ASK", "CROSSSLOT"):
        cluster = place.replace("://", "+cluster://", 1)
        said = (
            f"is on a Redis Cluster, and this node sends us elsewhere ({reply}). "
            f"Open the cluster: {cluster}."
        )
    elif code == "READONLY":
        said = (
            "can't be written: this server is a replica. Open the primary, or let the "
            "Sentinels find it: redis+sentinel://host:26379/stream?service_name=mymaster."
        )
    else:
        said = f"refused: {reply}"
    return BrokerError(f"{topic} {said}")


def failure(settings: Settings, error: BaseException) -> BrokerError:
    """The error for a connection that could not be made or broke."""
    place = settings.place
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsError(
            f"{place}: the certificate was refused: {error.verify_message}. "
            'A private authority: options={"ssl_ca_certs": "ca.pem"}.'
        )
    if isinstance(error, ssl.SSLError):
        return TlsError(_no_tls(settings, error.reason or str(error)))
    if isinstance(error, TimeoutError):
        return ConnectError(
            f"nobody answers at {place}: no word within "
            f"{settings.socket_connect_timeout:g} s"
        )
    return ConnectError(f"nobody answers at {place}: {_reason(error)}")


def silent(settings: Settings) -> ConnectError:
    """The error for an answer that doesn't come."""
    return ConnectError(
        f"{settings.place} has not answered for {settings.socket_timeout:g} s"
    )


def no_handshake(settings: Settings) -> TlsError:
    """The error for a server that leaves a TLS greeting unanswered."""
    return TlsError(_no_tls(settings, "it did not answer the TLS greeting"))


def speaks_tls(settings: Settings) -> TlsError:
    """The error for TLS bytes in answer to plain ones."""
    secure = _secure(settings.place)
    return TlsError(f"the broker speaks TLS, this URL doesn't: {secure}")


def garbled(settings: Settings, first: bytes) -> BrokerError:
    """The error for an answer that is not Redis'."""
    if first[:1] == b"\x15":  # a TLS alert
        return speaks_tls(settings)
    return BrokerError(
        f"what answers at {settings.place} is not Redis: it said {first[:20]!r}"
    )


def hung_up(
    settings: Settings, error: BaseException | None, *, spoke: bool
) -> ConnectError:
    """The error for a connection that the other side closed."""
    if spoke:
        return ConnectError(f"{settings.place} closed the connection: {_reason(error)}")
    secure = _secure(settings.place)
    hint = "" if settings.tls else f" If it speaks TLS: {secure}"
    return ConnectError(f"{settings.place} closed the connection without a word.{hint}")


def _login_problem(settings: Settings, code: str) -> str:
    place = settings.place
    who = f"user {settings.username}" if settings.username else "the default user"
    if code == "WRONGPASS":
        return f"wrong user or password for {who} on {place}"
    scheme, _, rest = place.partition("://")
    if code == "NOAUTH":
        return f"{place} wants a password: {scheme}://$USER:$PASSWORD@{rest}"
    return f"{place} has no password set for {who}: leave it out of the URL"


def _missing_right(settings: Settings, reply: str, topic: str) -> str:
    who = f"user {settings.username}" if settings.username else "the default user"
    if found := _COMMAND.search(reply):
        return f"{who} may not use {topic} (missing right: +{found[1]})"
    return f"{who} may not use {topic} (missing right: its key pattern, as in ~name)"


def _secure(place: str) -> str:
    return place.replace("redis", "rediss", 1)


def _no_tls(settings: Settings, why: str) -> str:
    plain = settings.place.replace("rediss", "redis", 1)
    return f"this URL says TLS and {settings.place} doesn't speak it ({why}): {plain}"


def _reason(error: BaseException | None) -> str:
    """What the system says, in one short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, ExceptionGroup):
        return _first(error.exceptions)
    return str(error) if error is not None and str(error) else "it hung up"


def _first(errors: Sequence[BaseException]) -> str:
    return _reason(errors[0])
