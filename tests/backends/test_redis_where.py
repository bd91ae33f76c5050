"""Where a Redis is: sockets, TLS, users, Sentinels that fail over, clusters that move slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis.asyncio
from redis.crc import key_slot

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.backends.redis.connection import RedisConnection
from streamlab.errors import (
    AuthError,
    BrokerError,
    ConnectError,
    TlsError,
    UrlError,
    UsageError,
)
from streamlab.records import (
    Committed,
    Earliest,
    Latest,
    Outgoing,
    Partition,
)
from streamlab.servers.ports import free_ports
from streamlab.servers.redislike import RedisLike
from tests.backends.redis_reading import read, values
from tests.brokers import need

pytestmark = pytest.mark.broker
Opens = Callable[..., RedisConnection]


@pytest.fixture
async def opens() -> AsyncIterator[Opens]:
    made: list[RedisConnection] = []

    def connect(url: str, **options: object) -> RedisConnection:
        made.append(backend.connect(uri.parse(url), options))
        return made[-1]

    yield connect
    for connection in made:
        await connection.aclose()


async def there_and_back(connection: RedisConnection, topic: str = "t") -> None:
    """Write, look, read, share and commit: everything works there."""
    producer = await connection.producer(topic, partitions=3)
    await producer.send(Outgoing([b"%d" % i for i in range(30)]))
    assert topic in await connection.topics()
    assert len(await connection.info(topic)) == 3
    seen = values(await read(connection, topic))
    assert sorted(seen, key=str) == sorted([b"%d" % i for i in range(30)], key=str)
    place = Committed("7-0", "memory")
    await connection.commit("alone", {Partition(topic, 1): place})
    assert await connection.committed("alone", topic) == {Partition(topic, 1): place}
    await shares(connection, topic, 30)
    assert [group.name for group in await connection.groups()] == ["alone", "g"]
    assert await connection.trim(topic, keep=1) == 27


async def shares(connection: RedisConnection, topic: str, count: int) -> None:
    member = await connection.group_consumer(
        [topic], group="g", start=Earliest(), revoked=nobody_minds
    )
    got: list[Any] = []
    async with asyncio.timeout(20):
        while len(got) < count:
            got += values([*await member.receive(7, 0.2)])
    assert len({*got}) == len(got) == count
    await member.commit({p: state.mark for p, state in member.state().items()})
    await member.aclose()
    done = await connection.committed("g", topic)
    assert {p: c.next for p, c in done.items()} == await connection.resolve(
        topic, Latest()
    )


async def nobody_minds(partitions: frozenset[Partition]) -> None:
    raise AssertionError(partitions)


async def until(consumer: Any, count: int) -> list[Any]:
    got: list[Any] = []
    async with asyncio.timeout(25):
        while len(got) < count:
            got += values([*await consumer.receive(100, 0.2)])
    return got


# ---- one server ---------------------------------------------------------------------


async def test_a_unix_socket_is_found_in_options_and_in_the_url(opens: Opens) -> None:
    need("redis")
    with servers.redis(unix_socket=True) as server:
        path = str(server.socket)
        await there_and_back(opens("redis://localhost/", unix_socket_path=path))
        other = opens(f"redis://localhost/3/?unix_socket_path={path}")

        assert await other.topics() == []
        assert other.place == f"unix://{path}?db=3"

    gone = opens("redis://localhost/", unix_socket_path=path)
    with pytest.raises(ConnectError, match=f"nobody answers at unix://{path}"):
        await gone.topics()


async def test_tls_with_a_certificate_of_ones_own(opens: Opens) -> None:
    need("redis")
    with servers.redis(tls=True, client_certificate=True) as server:
        authority = {"ssl_ca_certs": str(server.ca)}
        mine = {"ssl_certfile": server.client_cert, "ssl_keyfile": server.client_key}

        await there_and_back(opens(server.url, **authority, **mine))
        with pytest.raises((TlsError, ConnectError)):
            await opens(server.url, **authority).topics()
        with pytest.raises(TlsError, match="certificate was refused"):
            await opens(server.url, **mine).topics()


async def test_a_user_and_a_database(opens: Opens) -> None:
    need("valkey")
    rights = ["etl", "on", ">pw", "~t*", "+@all"]
    with servers.valkey(extra={"user": rights}) as server:
        place = f"etl:pw@127.0.0.1:{server.port}"

        await there_and_back(opens(f"redis://{place}/4/"))

        assert await opens(f"redis://{place}/").topics() == []


async def test_a_name_for_several_servers_needs_its_kind(opens: Opens) -> None:
    with pytest.raises(UrlError, match=r"one host.*redis\+cluster://.*redis\+sentinel"):
        opens("redis://a:1,b:2/t")
    with pytest.raises(UrlError, match=r"which of the servers.*service_name="):
        opens("redis+sentinel://a,b/t")
    with pytest.raises(UsageError, match="unix_socket_path is for one server"):
        opens("redis+cluster://a/t", unix_socket_path="/x")


# ---- Sentinel ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched() -> Iterator[Any]:
    need("valkey")
    with servers.watched_valkey(service="lab") as together:
        yield together


def sentinels(watched: Any, service: str = "lab", scheme: str = "redis") -> str:
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in watched.sentinels)
    # One that isn't there must not matter.
    return f"{scheme}+sentinel://127.0.0.1:1,{hosts}/?service_name={service}"


async def test_sentinels_are_asked_for_the_primary(watched: Any, opens: Opens) -> None:
    await there_and_back(opens(sentinels(watched)), "asked")

    with pytest.raises(ConnectError, match="knows a living primary of 'other'"):
        await opens(sentinels(watched, "other")).topics()


async def test_a_server_that_is_no_sentinel_is_told(watched: Any, opens: Opens) -> None:
    port = watched.primary.port
    url = f"redis+sentinel://127.0.0.1:{port}/?service_name=lab"

    with pytest.raises(BrokerError, match="is no Sentinel"):
        await opens(url).topics()


@pytest.mark.slow
@pytest.mark.timeout(90)  # the old primary is told its new part after ten seconds
async def test_a_failover_is_followed_by_readers_and_writers(
    watched: Any, opens: Opens
) -> None:
    connection = opens(sentinels(watched), claim_idle=5)
    producer = await connection.producer("t")
    await producer.send(Outgoing([b"a"] * 10))
    reader = await connection.consumer(await connection.resolve("t", Earliest()))
    member = await connection.group_consumer(
        ["t"], group="g", start=Earliest(), revoked=nobody_minds
    )
    assert await until(reader, 10) == await until(member, 10) == [b"a"] * 10
    await member.commit({p: s.mark for p, s in member.state().items()})

    (port,) = watched.leader_ports
    old = redis.asyncio.Redis(port=port)
    assert await old.wait(1, 20_000) == 1  # the replica has it all
    await asyncio.to_thread(watched.fail_over)
    async with asyncio.timeout(60):
        # Until then it takes writes, and loses them.
        while (await old.role())[0] != b"slave":  # noqa: ASYNC110 (it knows of no event)
            await asyncio.sleep(0.02)
    await producer.send(Outgoing([b"b"] * 10))

    assert await until(reader, 10) == [b"b"] * 10
    assert [*{*await until(member, 10)}] == [b"b"]
    await member.commit({p: s.mark for p, s in member.state().items()})
    assert await connection.trim("t", keep=5) == 15
    assert reader.trouble is None
    await old.aclose()


# ---- Cluster ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    need("valkey")
    with servers.valkey_cluster() as together:
        yield together


async def test_a_cluster_is_read_and_written_over_all_its_nodes(
    cluster: Any, opens: Opens
) -> None:
    connection = opens(cluster.url)

    await there_and_back(connection, "spread")

    slots = {key_slot(f"spread:{n}".encode()) * 3 // 16_384 for n in range(3)}
    assert len(slots) > 1


async def test_a_node_of_a_cluster_opened_alone_says_so(
    cluster: Any, opens: Opens
) -> None:
    port = cluster.nodes[0].port
    away = next(
        f"k{i}" for i in range(100) if key_slot(f"k{i}".encode()) > 16_384 * 2 // 3
    )

    with pytest.raises(BrokerError, match=r"Open the cluster: redis\+cluster://"):
        await opens(f"redis://127.0.0.1:{port}/").resolve(away, Earliest())


async def test_one_server_opened_as_a_cluster_says_so(
    valkey: RedisLike, opens: Opens
) -> None:
    with pytest.raises(
        BrokerError, match=r"is no cluster. Open it as one server: redis://"
    ):
        await opens(f"redis+cluster://127.0.0.1:{valkey.port}/").topics()
    with pytest.raises(ConnectError, match="no node of the cluster answers"):
        await opens("redis+cluster://127.0.0.1:1/").topics()
    with pytest.raises(UrlError, match="one database"):
        opens("redis+cluster://127.0.0.1:1/t", db=3)


async def test_a_slot_that_moves_is_followed(cluster: Any, opens: Opens) -> None:
    connection = opens(cluster.url)
    producer = await connection.producer("moving", partitions=2)
    reader = await connection.consumer(await connection.resolve("moving", Latest()))
    member = await connection.group_consumer(
        ["moving"], group="g", start=Latest(), revoked=nobody_minds
    )
    assert not await reader.receive(10, 0.05)
    assert not await member.receive(10, 0.05)
    name = "moving:0"
    slot = key_slot(name.encode())
    owner = slot * 3 // 16_384
    source = redis.asyncio.Redis(port=cluster.nodes[owner].port)
    target: Any = redis.asyncio.Redis(port=cluster.nodes[(owner + 1) % 3].port)

    # The lab moves empty slots only, and the member would make the stream again at once.
    async with source.pipeline(transaction=True) as pipe:
        pipe.delete(name)
        new = await target.execute_command("CLUSTER", "MYID")
        pipe.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new)
        await pipe.execute()
    await asyncio.to_thread(cluster.move_slot, slot, (owner + 1) % 3)
    await producer.send(Outgoing([b"a"] * 5, partitions=[0] * 5))

    assert await until(reader, 5) == [b"a"] * 5
    assert await until(member, 5) == [b"a"] * 5
    await member.commit({p: s.mark for p, s in member.state().items()})
    assert (await connection.info("moving"))[0].records == 5
    await source.aclose()
    await target.aclose()


async def test_partitions_of_a_cluster_are_taken_in_and_given_up(
    cluster: Any, opens: Opens
) -> None:
    connection = opens(cluster.url)
    producer = await connection.producer("given", partitions=3)
    await producer.send(Outgoing([b"0", b"1", b"2"]))
    parts = [Partition("given", n) for n in range(3)]
    reader = await connection.consumer({parts[0]: "0-1"})
    assert await until(reader, 1) == [b"0"]

    await reader.assign({parts[1]: "0-1", parts[2]: "0-1"})
    more = await until(reader, 2)
    await reader.unassign(parts[:2])
    await reader.assign({parts[2]: "0-1"})

    assert sorted(more) == [b"1", b"2"]
    assert {*reader.state()} == {parts[2]}
    assert await until(reader, 1) == [b"2"]
    assert not reader.ended
    await reader.unassign(parts)
    assert not await reader.receive(10, 0.01)
    assert not reader.ended


# ---- secrets ------------------------------------------------------------------------------


def held(error: BaseException | None) -> str:
    """All that a traceback can show, the variables of its functions included."""
    shown: list[str] = []
    while error is not None:
        shown += [repr(error), str(error)]
        trace = error.__traceback__
        while trace is not None:
            inside = trace.tb_frame.f_locals
            if "streamlab/backends" in trace.tb_frame.f_code.co_filename:
                shown += [f"{name}={value!r}" for name, value in inside.items()]
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("kind", ["redis", "redis+cluster", "redis+sentinel"])
@pytest.mark.parametrize("way", ["url", "option"])
async def test_a_password_is_nowhere_in_what_a_failure_shows(
    kind: str, way: str, opens: Opens
) -> None:
    need("valkey")
    extra = {"requirepass": "right"}
    if kind == "redis+cluster":
        bus = str(free_ports(1)[0])
        extra |= {"cluster-enabled": "yes", "cluster-port": bus}
    with servers.valkey(extra=extra) as server:
        login = ":s3cret@" if way == "url" else ""
        secrets = {} if way == "url" else {"password": "s3cret"}
        query = ""
        if kind == "redis+sentinel":
            secrets |= {"sentinel_password": "s3cret"}
            query = "?service_name=x"
        url = f"{kind}://{login}127.0.0.1:{server.port}/{query}"
        connection = opens(url, **secrets)

        with pytest.raises(AuthError) as caught:
            await connection.topics()

    assert "s3cret" not in held(caught.value)
    assert "s3cret" not in repr(vars(connection))


async def test_a_wrong_option_does_not_show_the_password_beside_it(
    opens: Opens,
) -> None:
    with pytest.raises(UsageError) as caught:
        opens("redis://localhost/", password="s3cret", db=-1)  # noqa: S106 (none)

    shown = [line for line in held(caught.value).splitlines() if "s3cret" in line]
    assert shown == []


async def test_a_moved_slot_is_found_by_a_writer_alone(
    cluster: Any, opens: Opens
) -> None:
    connection = opens(cluster.url)
    producer = await connection.producer("alone")
    await producer.send(Outgoing([b"a"]))
    slot = key_slot(b"alone")
    owner = slot * 3 // 16_384
    source = redis.asyncio.Redis(port=cluster.nodes[owner].port)
    await source.delete("alone")
    await source.aclose()

    await asyncio.to_thread(cluster.move_slot, slot, (owner + 1) % 3)
    await producer.send(Outgoing([b"b"]))

    assert (await connection.info("alone"))[0].records == 1
    assert await connection.trim("alone", keep=0) == 1
