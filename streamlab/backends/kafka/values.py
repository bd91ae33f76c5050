"""Values of Kafka options, read strictly; what is said on failure ends "Kafka option name=…: "."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError

from streamlab.durations import seconds
from streamlab.uri import Secret

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def text(value: object) -> str:
    """Text that is not empty; paths too."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise TypeError("write it as text")
    return str(value)


def secret(value: object) -> Secret:
    """A password, hidden from now on."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise TypeError("write it as text")
    return Secret(value)


def number(value: object) -> int:
    """A whole number from 0 up, perhaps as text."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError("write a number from 0 up")
    try:
        found = int(value)
    except ValueError:
        raise ValueError("write a number from 0 up") from None
    if found < 0:
        raise ValueError("write a number from 0 up")
    return found


def timeout(value: object) -> float:
    """Seconds above 0, perhaps as a span of time."""
    found = seconds(value, "time-out")
    if not found:
        raise ValueError('write seconds above 0, or a span like "5s"')
    return found


def flag(value: object) -> bool:
    """True or false, perhaps as text."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "false": False}
    if not isinstance(value, str) or value.lower() not in known:
        raise ValueError("write True or False")
    return known[value.lower()]


def endpoint(value: object) -> bool:
    """Whether the certificate's name is checked: True or False, or Java's "https" or ""."""
    if isinstance(value, str) and value.lower() in ("", "none", "https"):
        return value.lower() == "https"
    return flag(value)


def protocol(value: object) -> str:
    """Kafka's security.protocol."""
    return _among(value, _PROTOCOLS)


def mechanism(value: object) -> str:
    """A way to log in."""
    return _among(value, MECHANISMS)


def isolation(value: object) -> str:
    """Whether records of transactions that are open or were taken back are read."""
    return _among(value, ("read_committed", "read_uncommitted"))


def compression(value: object) -> str | None:
    """A codec; None for none."""
    if value is None:
        return None
    found = _among(value, _CODECS)
    return None if found == "none" else found


def acks(value: object) -> str | int:
    """How many brokers must have a record before it counts as written."""
    known: dict[str, str | int] = {"all": "all", "-1": "all", "0": 0, "1": 1}
    found = known.get(str(value).lower())
    if found is None:
        raise ValueError('write "all", 1 or 0')
    return found


class TokenError(AuthenticationFailedError):  # type: ignore[misc]  # aiokafka ships no types
    """The user's function gave no token."""


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """A function that returns a token, as aiokafka wants it."""

    def __init__(self, fetch: Callable[[], Any]) -> None:
        self._fetch = fetch

    async def token(self) -> str:
        try:
            return str(await self._fetched())
        except Exception as error:  # noqa: BLE001 (the user's own function, told as its failure)
            raise TokenError(
                f"sasl_oauth_token_provider raised {type(error).__name__}: {error}"
            ) from None

    async def _fetched(self) -> object:
        if inspect.iscoroutinefunction(self._fetch):
            return await self._fetch()
        # It may well ask a server for it: not on the loop.
        found = await asyncio.to_thread(self._fetch)
        return await found if inspect.isawaitable(found) else found


def token_provider(value: object) -> AbstractTokenProvider:
    """Aiokafka's kind, or any function that returns a token or gives one when awaited."""
    if isinstance(value, AbstractTokenProvider):
        return value
    if not callable(value):
        raise TypeError("give a function that returns a token")
    return _Tokens(value)


def _among(value: object, known: tuple[str, ...]) -> str:
    for name in known:
        if isinstance(value, str) and value.lower() == name.lower():
            return name
    raise ValueError(f"there are: {', '.join(known)}")
