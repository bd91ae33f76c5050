"""Ways to start further Valkeys and to open them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis.asyncio

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.backends.redis.connection import RedisConnection
from tests.brokers import need


def local_valkey(**settings: Any) -> servers.Valkey:
    """A server of one's own."""
    need("valkey")
    return servers.valkey(**settings)


@pytest.fixture
def valkeys() -> Iterator[Any]:
    """Starts servers with settings of their own; they end with the test."""
    started: list[servers.Valkey] = []

    def start(**settings: Any) -> servers.Valkey:
        started.append(local_valkey(**settings))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
async def client(valkey: servers.Valkey) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis(host=valkey.host, port=valkey.port, db=2)
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
async def open_(
    valkey: servers.Valkey, client: redis.asyncio.Redis
) -> AsyncIterator[Callable[..., RedisConnection]]:
    made: list[RedisConnection] = []

    def connect(url: str = f"{valkey.url}/2/", **options: object) -> RedisConnection:
        made.append(backend.connect(uri.parse(url), options))
        return made[-1]

    yield connect
    for connection in made:
        await connection.aclose()
