"""A Redis server that dies, comes back, comes back older, or forgets: what a reader makes of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streamlab import servers, uri
from streamlab.backends.base import Consumer
from streamlab.backends.redis import connection as backend
from streamlab.backends.redis.connection import RedisConnection
from streamlab.clocks import SYSTEM
from streamlab.errors import AuthError, PositionLost
from streamlab.records import Earliest, Latest, Partition
from tests.backends.conftest import local_valkey

pytestmark = pytest.mark.broker
NEVER = Retry(NoBackoff(), 0)
DOWN = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)


@pytest.fixture
def server() -> Iterator[servers.Valkey]:
    with local_valkey(appendonly=True) as server:
        yield server


@pytest.fixture
async def connection(server: servers.Valkey) -> AsyncIterator[RedisConnection]:
    connection = backend.connect(uri.parse(f"{server.url}/t"), {})
    yield connection
    await connection.aclose()


@pytest.fixture
async def client(server: servers.Valkey) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis(port=server.port, retry=NEVER)
    yield client
    await client.aclose()


async def stubborn(client: Any, *words: object) -> Any:
    """One command, tried until the server is there."""
    for _ in range(10_000):
        try:
            return await client.execute_command(*words)
        except DOWN:
            await asyncio.sleep(0.005)
    raise AssertionError("the server never came back")


async def until(
    consumer: Any, count: int, got: list[bytes] | None = None
) -> list[bytes]:
    """Read until there are so many records in `got`; fails rather than hang."""
    got = [] if got is None else got
    async with asyncio.timeout(30):
        while len(got) < count:
            got += values(await consumer.receive(1000, 0.5))
    return got


def values(blocks: Any) -> list[bytes]:
    return [value for block in blocks for value in block.values]


class Traffic:
    """Somebody who goes on writing and a reader who goes on reading, whatever happens."""

    def __init__(self, client: Any, consumer: Consumer) -> None:
        self.client, self.consumer = client, consumer
        self.acknowledged: list[bytes] = []
        self.seen: list[Any] = []
        self.troubles: set[str] = set()
        self.last: bytes | None = None
        self.over = False

    async def write(self) -> None:
        while not self.over:
            number = len(self.acknowledged)
            entry = await stubborn(self.client, "XADD", "t", "*", "msg", number)
            self.acknowledged.append(entry)
        ((self.last, _),) = await self.client.xrevrange("t", count=1)

    async def read(self) -> None:
        while self.last is None or self.seen[-1:] != [self.last]:
            for block in await self.consumer.receive(500, 0.02):
                self.seen += block.offsets
            self.troubles.add(self.consumer.trouble or "")

    async def writes(self, count: int) -> None:
        await self.comes_to(lambda: len(self.acknowledged) >= count)

    async def comes_to(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 (what is watched knows of no event)
            await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled_over_kills_and_restarts(
    server: servers.Valkey, connection: RedisConnection, client: Any
) -> None:
    await client.xadd("t", {"msg": "before"})
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    traffic = Traffic(client, consumer)

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        group.create_task(traffic.write())
        group.create_task(traffic.read())
        for wanted in (100, 200, 300):
            await traffic.writes(wanted)
            await asyncio.to_thread(server.kill)
            await traffic.comes_to(lambda: consumer.trouble is not None)
            await asyncio.to_thread(server.restart)
            await traffic.comes_to(lambda: consumer.trouble is None)
        traffic.over = True

    there = [entry for entry, _ in await client.xrange("t")]
    assert traffic.seen == there
    assert {*traffic.acknowledged} <= {*there}
    assert consumer.lost == 0
    form = rf"reconnecting 127\.0\.0\.1:{server.port}, try \d+, next in [\d.]+ s"
    assert len(traffic.troubles) > 1
    assert all(re.fullmatch(form, said) for said in traffic.troubles - {""})


async def test_a_reader_comes_back_whoever_started_first(
    server: servers.Valkey, connection: RedisConnection, client: Any
) -> None:
    await client.xadd("t", {"msg": "1"})
    consumer = await connection.consumer(await connection.resolve("t", Latest()))
    server.kill()

    assert not await consumer.receive(10, 0.3)
    assert "reconnecting" in (consumer.trouble or "")
    server.restart()
    await stubborn(client, "XADD", "t", "*", "msg", "2")

    assert await until(consumer, 1) == [b"2"]
    assert consumer.trouble is None


async def test_a_server_restored_from_an_older_copy_is_read_on(
    server: servers.Valkey, connection: RedisConnection, client: Any
) -> None:
    for number in range(1, 11):
        await client.xadd("t", {"msg": number}, id=f"{number}-0")
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    await until(consumer, 10)

    await client.delete("t")
    for number in range(1, 6):
        await client.xadd("t", {"msg": number}, id=f"{number}-0")
    await stubborn(client, "CLIENT", "KILL", "TYPE", "normal")
    async with asyncio.timeout(20):
        while not consumer.lost:
            assert not await consumer.receive(10, 0.05)
    await stubborn(client, "XADD", "t", "6-0", "msg", "new")

    assert await until(consumer, 1) == [b"new"]
    assert consumer.lost == 1


async def test_a_server_that_comes_back_empty_is_read_from_its_first_entry(
    valkeys_plain: servers.Valkey,
) -> None:
    server = valkeys_plain
    client = redis.asyncio.Redis(port=server.port, retry=NEVER)
    await client.xadd("t", {"msg": "old"})
    connection = backend.connect(uri.parse(f"{server.url}/t"), {})
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    await until(consumer, 1)

    server.kill()
    server.restart()
    async with asyncio.timeout(20):
        while not consumer.lost:
            await consumer.receive(10, 0.05)
    await stubborn(client, "XADD", "t", "1-1", "msg", "new")

    assert await until(consumer, 1) == [b"new"]
    await connection.aclose()
    await client.aclose()


@pytest.fixture
def valkeys_plain() -> Iterator[servers.Valkey]:
    with local_valkey() as server:
        yield server


async def test_what_was_trimmed_ahead_of_a_slow_reader_is_counted(
    connection: RedisConnection, client: Any
) -> None:
    for number in range(200):
        await client.xadd("t", {"msg": number})
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    first = await until(consumer, 100)

    for number in range(200, 1200):
        await client.xadd("t", {"msg": number}, maxlen=50, approximate=False)
    async with asyncio.timeout(20):
        while len(first) + consumer.lost < 1200:
            first += values(await consumer.receive(1000, 0.1))

    assert len(first) + consumer.lost == 1200
    assert first[-50:] == [b"%d" % number for number in range(1150, 1200)]


async def test_a_strict_reader_stops_where_records_are_gone(
    connection: RedisConnection, client: Any
) -> None:
    for number in range(1000):
        await client.xadd("t", {"msg": number})
    start = await connection.resolve("t", Earliest())
    consumer = await connection.consumer(start, on_lost="error")
    got = values(await consumer.receive(100, 1.0))
    await client.xtrim("t", maxlen=10, approximate=False)

    with pytest.raises(PositionLost, match=r"'t' partition 0 .* on_lost"):
        await until(consumer, 990, got)

    assert got == [b"%d" % number for number in range(100)]


async def test_a_password_changed_meanwhile_is_an_error_and_no_endless_trying(
    server: servers.Valkey, connection: RedisConnection, client: Any
) -> None:
    await client.xadd("t", {"msg": "1"})
    consumer = await connection.consumer(await connection.resolve("t", Latest()))
    await consumer.receive(10, 0.05)

    await client.config_set("requirepass", "new")
    others = redis.asyncio.Redis(port=server.port, password="new")  # noqa: S106
    await stubborn(others, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    with pytest.raises(AuthError, match="wants a password"):
        await until(consumer, 1)
    await others.aclose()


async def test_closing_does_not_wait_for_a_server_that_is_gone(
    server: servers.Valkey, connection: RedisConnection, client: Any
) -> None:
    await client.xadd("t", {"msg": "1"})
    consumer = await connection.consumer(await connection.resolve("t", Latest()))
    server.kill()
    await consumer.receive(10, 0.2)

    async with asyncio.timeout(2):
        await connection.aclose()

    assert consumer.ended
    assert not await consumer.receive(10, 1.0)


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_two_idle_minutes_need_no_new_connection(
    valkeys_plain: servers.Valkey,
) -> None:
    server = valkeys_plain
    client = redis.asyncio.Redis(port=server.port)
    await client.xadd("t", {"msg": "old"})
    connection = backend.connect(uri.parse(f"{server.url}/t"), {})
    reader = await connection.consumer(await connection.resolve("t", Latest()))
    member = await connection.group_consumer(
        ["t"], group="g", start=Latest(), revoked=nobody_minds
    )
    assert not await reader.receive(10, 0.1)
    assert not await member.receive(10, 0.1)

    async def made() -> int:
        return int((await client.info("stats"))["total_connections_received"])

    before = await made()
    last = SYSTEM.running() + 120
    while SYSTEM.running() < last:
        came = await asyncio.gather(reader.receive(10, 5), member.receive(10, 5))
        assert not any(came)

    assert await made() == before
    await client.xadd("t", {"msg": "new"})
    assert await until(reader, 1) == [b"new"]
    assert await until(member, 1) == [b"new"]
    await connection.aclose()
    await client.aclose()


async def nobody_minds(partitions: frozenset[Partition]) -> None:
    raise AssertionError(partitions)
