"""Members of a Redis group under load, with a server that is killed and members that crash.

The server keeps what it acknowledged; then every record that was written is given to somebody,
and nothing that was committed comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.backends.redis.connection import RedisConnection
from streamlab.errors import BrokerError
from streamlab.records import Earliest, Partition
from tests.backends.conftest import local_valkey

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(90)]
DOWN = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)
STREAMS = 3


@pytest.fixture
def server() -> Iterator[servers.Valkey]:
    with local_valkey(appendonly=True) as server:
        yield server


@pytest.fixture
async def connection(server: servers.Valkey) -> AsyncIterator[RedisConnection]:
    options = {"claim_idle": 1.0, "claim_interval": 0.2}
    connection = backend.connect(uri.parse(f"{server.url}/t"), options)
    yield connection
    await connection.aclose()


async def nobody_minds(partitions: frozenset[Partition]) -> None:
    raise AssertionError(partitions)


async def comes_to(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (what is watched knows of no event)
        await asyncio.sleep(0.005)


class Writer:
    """Goes on writing whatever happens, and knows what was acknowledged."""

    def __init__(self, port: int) -> None:
        self.client = redis.asyncio.Redis(port=port, retry=Retry(NoBackoff(), 0))
        self.acknowledged: set[bytes] = set()
        self.tried = 0
        self.over = False

    async def run(self) -> None:
        while not self.over:
            value = b"%d" % self.tried
            self.tried += 1
            try:
                await self.client.xadd(f"t:{self.tried % STREAMS}", {"msg": value})
            except DOWN:
                await asyncio.sleep(0.005)
                continue
            self.acknowledged.add(value)
        await self.client.aclose()

    async def writes(self, more: int) -> None:
        wanted = len(self.acknowledged) + more
        await comes_to(lambda: len(self.acknowledged) >= wanted)


class Reading:
    """One member, read and committed until told to stop; what was committed is done."""

    def __init__(self, member: Any) -> None:
        self.member = member
        self.got: list[bytes] = []
        self.done: list[bytes] = []
        self.trying: list[bytes] = []
        self.over = False

    async def run(self) -> None:
        while not self.over:
            for block in await self.member.receive(50, 0.05):
                self.got += block.values
            marks = {p: state.mark for p, state in self.member.state().items()}
            self.trying = list(self.got)
            try:
                await self.member.commit(marks)
            except BrokerError:
                continue  # the server is away: it is committed with what follows
            self.done = self.trying


async def begin(connection: RedisConnection, name: str | None) -> Reading:
    return Reading(
        await connection.group_consumer(
            ["t"], group="g", start=Earliest(), revoked=nobody_minds, name=name
        )
    )


async def test_over_kills_and_restarts_every_record_is_given_to_somebody(
    server: servers.Valkey, connection: RedisConnection
) -> None:
    await (await connection.producer("t", partitions=STREAMS)).aclose()
    writer = Writer(server.port)
    members = a, b = [await begin(connection, name) for name in ("a", "b")]

    async with asyncio.timeout(80), asyncio.TaskGroup() as group:
        group.create_task(writer.run())
        for member in members:
            group.create_task(member.run())
        for _ in range(20):
            await writer.writes(100)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
        await writer.writes(150)
        writer.over = True
        await comes_to(lambda: writer.acknowledged <= {*a.done, *b.done})
        for member in members:
            member.over = True

    client = redis.asyncio.Redis(port=server.port)
    for n in range(STREAMS):
        assert (await client.xpending(f"t:{n}", "g"))["pending"] == 0
    await client.aclose()


async def test_members_that_crash_lose_nothing_and_what_they_committed_stays_done(
    server: servers.Valkey, connection: RedisConnection
) -> None:
    await (await connection.producer("t", partitions=STREAMS)).aclose()
    writer = Writer(server.port)
    survivor = await begin(connection, "survivor")
    dead: list[Reading] = []

    async with asyncio.timeout(80), asyncio.TaskGroup() as group:
        group.create_task(writer.run())
        group.create_task(survivor.run())
        for _ in range(6):
            victim = await begin(connection, None)
            running = group.create_task(victim.run())
            await writer.writes(150)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await victim.member.abandon()
            dead.append(victim)
        writer.over = True
        done = {value for victim in dead for value in victim.done}
        # A commit under way at the crash may have come through, or not.
        open_ = {value for victim in dead for value in victim.trying} - done
        await comes_to(lambda: writer.acknowledged <= done | open_ | {*survivor.done})
        survivor.over = True

    assert any(victim.done for victim in dead)
    assert not done & {*survivor.got}
