"""Where the primary is, of servers that Sentinels watch: asked through redis-py at each dial."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from redis.asyncio import Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from streamlab.backends.redis.options import Settings, plain, tls_options
from streamlab.backends.redis.route import OneServer
from streamlab.backends.redis.wire import Dialer
from streamlab.errors import AuthError, BrokerError, ConnectError

_ANSWER_S = 2.0  # a Sentinel that hangs must not keep the others from being asked


class WatchedServer(OneServer):
    """The primary of one service, wherever it is: a failover is followed at the next dial."""

    def __init__(self, settings: Settings) -> None:
        """Asks nobody yet."""
        super().__init__(Dialer(settings, self._where))
        self._settings = settings
        self._sentinels = _client(settings)

    async def look_again(self) -> bool:
        return True  # every dial asks

    async def aclose(self) -> None:
        await asyncio.gather(
            *(each.aclose() for each in self._sentinels.sentinels),
            return_exceptions=True,
        )

    async def _where(self) -> Settings:
        found = await self._primary()
        if isinstance(found, BrokerError):
            raise found
        host, port = found
        return replace(self._settings, host=host, port=port)

    async def _primary(self) -> tuple[str, int] | BrokerError:
        """Host and port; or why they could not be found out.

        The error is handed back rather than raised, without redis-py's behind it: those show
        the clients, and clients their passwords.
        """
        try:
            async with asyncio.timeout(self._settings.socket_connect_timeout):
                host, port = await self._sentinels.discover_master(
                    self._settings.service_name
                )
        except (RedisError, OSError) as error:
            return self._explained(error)
        return str(host), int(port)

    def _explained(self, error: Exception) -> BrokerError:
        place, name = self._settings.place, self._settings.service_name
        if isinstance(error, AuthenticationError) or "Authent" in str(error):
            return AuthError(
                f"the Sentinels at {place} want a user and a password of their own: "
                'options={"sentinel_username": …, "sentinel_password": …}.'
            )
        if isinstance(error, ResponseError):
            return BrokerError(
                f"what answers at {place} is no Sentinel: {error}. Sentinels listen on "
                "26379 as a rule; a server itself is opened by redis://."
            )
        return ConnectError(
            f"no Sentinel at {place} knows a living primary of {name!r}: none answers, "
            "or the name is another one, or a failover is under way."
        )


def _client(settings: Settings) -> Any:
    options: Mapping[str, Any] = {
        "username": settings.sentinel_username,
        "password": plain(settings.sentinel_password),
        "socket_timeout": _ANSWER_S,
        "socket_connect_timeout": _ANSWER_S,
        "retry": Retry(NoBackoff(), 0),
        **tls_options(settings),
    }
    sentinel: Any = Sentinel  # without types
    return sentinel(settings.nodes, sentinel_kwargs=options)
