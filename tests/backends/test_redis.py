"""The contract on a real Valkey; what is Redis' own is in test_redis_quirks.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.cluster import RedisCluster

from streamlab import servers, uri
from streamlab.backends.base import Connection
from streamlab.backends.redis import connection as backend
from tests.brokers import need
from tests.contracts.backend import BackendContract
from tests.contracts.groups import GroupContract, GroupLab
from tests.contracts.lab import NONE, Abilities, Lab, Row

pytestmark = pytest.mark.broker
# Long enough for the living, who are asked in turn; a member that is gone waits for it.
IDLE_S = 2.0


@dataclass
class RedisLab:
    """A database of its own on the session's server, filled by redis-py."""

    connection: Connection
    client: redis.asyncio.Redis
    # Ids only rise, and an entry always has its fields.
    can: Abilities = field(
        default_factory=lambda: Abilities(
            any_times=False, tombstones=False, alone=False
        )
    )

    async def fill(
        self,
        topic: str,
        rows: Mapping[int, Sequence[Row]],
        deleted: Mapping[int, Collection[int]] = NONE,
    ) -> None:
        for number, mine in rows.items():
            name = f"{topic}:{number}" if len(rows) > 1 else topic
            pipe = self.client.pipeline(transaction=False)
            # Makes the stream, so that one without rows is there and empty.
            pipe.xgroup_create(name, "makes", mkstream=True)
            pipe.xgroup_destroy(name, "makes")
            for row in mine:
                key = {"key": row.key} if row.key is not None else {}
                entry = {"msg": row.value, **key, **dict(row.headers)}
                pipe.xadd(name, entry, id=f"{row.ms}-*")  # type: ignore[arg-type]
            ids = (await pipe.execute())[2:]
            if gone := [ids[place] for place in deleted.get(number, ())]:
                await self.client.xdel(name, *gone)

    async def wait_dead(self) -> None:
        await asyncio.sleep(IDLE_S)

    async def trim(self, topic: str, partition: int, *, keep: int) -> None:
        await self.client.xtrim(topic, maxlen=keep, approximate=False)


class TestRedis(BackendContract):
    @pytest.fixture
    async def lab(self, valkey: servers.Valkey) -> AsyncIterator[Lab]:
        client = redis.asyncio.Redis(port=valkey.port, db=1)
        connection = backend.connect(uri.parse(f"{valkey.url}/1/"), {})
        yield RedisLab(connection, client)
        await connection.aclose()
        await client.flushdb()
        await client.aclose()


class TestRedisGroups(GroupContract):
    @pytest.fixture
    async def lab(self, valkey: servers.Valkey) -> AsyncIterator[GroupLab]:
        client = redis.asyncio.Redis(port=valkey.port, db=1)
        quick = {"claim_idle": IDLE_S, "claim_interval": 0.2}
        connection = backend.connect(uri.parse(f"{valkey.url}/1/"), quick)
        yield RedisLab(connection, client)
        await connection.aclose()
        await client.flushdb()
        await client.aclose()


@dataclass
class ClusterLab(RedisLab):
    """A cluster, filled by redis-py's cluster client."""

    async def fill(
        self,
        topic: str,
        rows: Mapping[int, Sequence[Row]],
        deleted: Mapping[int, Collection[int]] = NONE,
    ) -> None:
        for number, mine in rows.items():
            name = f"{topic}:{number}" if len(rows) > 1 else topic
            await self.client.xgroup_create(name, "makes", mkstream=True)
            await self.client.xgroup_destroy(name, "makes")
            pipe = self.client.pipeline()
            for row in mine:
                key = {"key": row.key} if row.key is not None else {}
                entry = {"msg": row.value, **key, **dict(row.headers)}
                pipe.xadd(name, entry, id=f"{row.ms}-*")  # type: ignore[arg-type]
            ids = await pipe.execute() if mine else []
            if gone := [ids[place] for place in deleted.get(number, ())]:
                await self.client.xdel(name, *gone)


@pytest.fixture(scope="module")
def cluster() -> Iterator[servers.ValkeyCluster]:
    need("valkey")
    with servers.valkey_cluster() as together:
        yield together


@pytest.fixture
async def cluster_lab(cluster: servers.ValkeyCluster) -> AsyncIterator[ClusterLab]:
    client: Any = RedisCluster(port=cluster.nodes[0].port, host="127.0.0.1")
    quick = {"claim_idle": IDLE_S, "claim_interval": 0.2}
    connection = backend.connect(uri.parse(f"{cluster.url}/"), quick)
    yield ClusterLab(connection, client)
    await connection.aclose()
    await client.flushall(target_nodes=RedisCluster.PRIMARIES)
    await client.aclose()


@pytest.mark.slow
class TestRedisCluster(BackendContract):
    @pytest.fixture
    async def lab(self, cluster_lab: ClusterLab) -> Lab:
        return cluster_lab


@pytest.mark.slow
class TestRedisClusterGroups(GroupContract):
    @pytest.fixture
    async def lab(self, cluster_lab: ClusterLab) -> GroupLab:
        return cluster_lab


@pytest.fixture(scope="module")
def watched() -> Iterator[servers.Watched]:
    need("valkey")
    with servers.watched_valkey(service="lab") as together:
        yield together


@pytest.mark.slow
class TestRedisSentinel(BackendContract):
    @pytest.fixture
    async def lab(self, watched: servers.Watched) -> AsyncIterator[Lab]:
        client = redis.asyncio.Redis(port=watched.primary.port)
        url = f"{watched.sentinels[0].url}/?service_name=lab"
        connection = backend.connect(uri.parse(url), {})
        yield RedisLab(connection, client)
        await connection.aclose()
        await client.flushdb()
        await client.aclose()


@pytest.fixture(scope="module")
def socketed() -> Iterator[servers.Redis]:
    need("redis")
    with servers.redis(unix_socket=True) as server:
        yield server


@pytest.fixture
async def socket_lab(socketed: servers.Redis) -> AsyncIterator[RedisLab]:
    """Redis itself, by its Unix socket."""
    path = str(socketed.socket)
    client = redis.asyncio.Redis(unix_socket_path=path)
    options = {
        "unix_socket_path": path,
        "claim_idle": IDLE_S,
        "claim_interval": 0.2,
    }
    connection = backend.connect(uri.parse("redis://localhost/"), options)
    yield RedisLab(connection, client)
    await connection.aclose()
    await client.flushdb()
    await client.aclose()


class TestRedisSocket(BackendContract):
    @pytest.fixture
    async def lab(self, socket_lab: RedisLab) -> Lab:
        return socket_lab


@pytest.mark.slow
class TestRedisSocketGroups(GroupContract):
    @pytest.fixture
    async def lab(self, socket_lab: RedisLab) -> GroupLab:
        return socket_lab
