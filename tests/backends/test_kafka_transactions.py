"""Transactions on a real Kafka: readers see whole sets or nothing, offsets included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streamlab import servers, uri
from streamlab.backends.base import Transactions
from streamlab.backends.kafka import connection as backend
from streamlab.backends.kafka.connection import KafkaConnection
from streamlab.errors import BrokerError, UsageError
from streamlab.records import Committed, Earliest, Outgoing, Partition
from tests.backends.kafka_lab import read, values

pytestmark = pytest.mark.broker


@pytest.fixture
async def connection(kafka: servers.Kafka) -> AsyncIterator[KafkaConnection]:
    url = f"kafka://{kafka.host}:{kafka.port}"
    connection = backend.connect(uri.parse(url), {})
    yield connection
    await connection.aclose()


@pytest.fixture
async def sets(connection: KafkaConnection, name: str) -> Transactions:
    return await connection.transactions(f"writer-{name}")


async def seen(connection: KafkaConnection, count: int, *topics: str) -> list[object]:
    """What readers see, once it is so many records: the broker shows a set some ms later."""
    async with asyncio.timeout(20):
        while len(got := values(await read(connection, *topics))) < count:
            pass  # each look is a question to the broker
    return list(got)


async def test_a_set_over_two_topics_is_seen_at_once(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    one, other = f"{name}-one", f"{name}-other"
    await sets.begin()
    for topic in (one, other):
        producer = await sets.producer(topic)
        await producer.send(Outgoing([b"%d" % i for i in range(100)]))

    before = await read(connection, one, other)
    await sets.commit()
    after = await seen(connection, 200, one, other)

    assert before == []
    assert sorted(map(str, after)) == sorted([str(b"%d" % i) for i in range(100)] * 2)


async def test_an_aborted_set_is_never_seen_and_the_next_one_is(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    await sets.begin()
    producer = await sets.producer(name)
    await producer.send(Outgoing([b"bad"] * 10))
    await sets.abort()
    await sets.begin()
    await producer.send(Outgoing([b"good"] * 10))
    await sets.commit()

    assert await seen(connection, 10, name) == [b"good"] * 10


async def test_a_reader_waits_for_an_open_set_and_gets_all_of_it(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    plain = await connection.producer(name, partitions=1)
    await sets.begin()
    producer = await sets.producer(name)
    await producer.send(Outgoing([b"set-1"]))
    await plain.send(Outgoing([b"plain"]))
    start = await connection.resolve(name, Earliest())
    reader = await connection.consumer(start)

    early = values(await reader.receive(100, 0.5))
    await producer.send(Outgoing([b"set-2"]))
    await sets.commit()
    late: list[bytes | None] = []
    async with asyncio.timeout(20):
        while len(late) < 3:
            late += values(await reader.receive(100, 1.0))

    assert early == []
    assert late == [b"set-1", b"plain", b"set-2"]
    await reader.aclose()


async def test_what_a_group_has_done_is_committed_with_the_set(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    place, group = Partition(name, 0), f"group-{name}"
    producer = await sets.producer(name)
    for done in (Committed(1, "first"), Committed(2, "second")):
        await sets.begin()
        await producer.send(Outgoing([b"a", b"b"]))
        await sets.commit(group, {place: done})

    assert len(await seen(connection, 4, name)) == 4
    async with asyncio.timeout(20):  # as the records, it is shown some ms later
        while (await connection.committed(group, name))[place].next != 2:
            pass  # each look is a question to the broker
    assert await connection.committed(group, name) == {place: Committed(2, "second")}


async def test_a_second_writer_of_the_name_fences_the_first(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    await sets.begin()
    producer = await sets.producer(name)
    await producer.send(Outgoing([b"first"]))

    second = await connection.transactions(f"writer-{name}")
    await second.begin()
    await (await second.producer(name)).send(Outgoing([b"second"]))
    with pytest.raises(BrokerError, match="taken over"):
        await producer.send(Outgoing([b"more"]))
    for step in (sets.commit, sets.abort, sets.begin):
        with pytest.raises(BrokerError, match="another writer of that name"):
            await step()
    await second.commit()

    assert await seen(connection, 1, name) == [b"second"]


async def test_a_fenced_writer_hears_of_it_at_the_commit_too(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    await sets.begin()
    await (await sets.producer(name)).send(Outgoing([b"first"]))
    await connection.transactions(f"writer-{name}")

    with pytest.raises(BrokerError, match="another writer of that name"):
        await sets.commit(f"group-{name}", {Partition(name, 0): Committed(1)})

    assert await read(connection, name) == []
    assert await connection.committed(f"group-{name}", name) == {}


async def test_a_set_with_a_row_that_was_refused_can_only_be_aborted(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    await sets.begin()
    producer = await sets.producer(name)
    await producer.send(Outgoing([b"good"]))
    with pytest.raises(BrokerError, match=r"0 of 1 rows .* 2,000,000 bytes"):
        await producer.send(Outgoing([b"x" * 2_000_000]))
    with pytest.raises(BrokerError, match=r"abort\(\) it"):
        await sets.commit()
    await sets.abort()

    await sets.begin()
    await producer.send(Outgoing([b"again"]))
    await sets.commit()

    assert await seen(connection, 1, name) == [b"again"]


async def test_calls_out_of_turn_are_refused(sets: Transactions, name: str) -> None:
    producer = await sets.producer(name)

    with pytest.raises(UsageError, match=r"begin\(\) one first"):
        await producer.send(Outgoing([b"a"]))
    with pytest.raises(UsageError, match=r"begin\(\) one first"):
        await sets.commit()
    await sets.begin()
    with pytest.raises(UsageError, match="a set is under way"):
        await sets.begin()


async def test_closing_takes_back_what_is_under_way(
    connection: KafkaConnection, sets: Transactions, name: str
) -> None:
    await sets.begin()
    await (await sets.producer(name)).send(Outgoing([b"a"]))

    await sets.aclose()
    plain = await connection.producer(name)
    await plain.send(Outgoing([b"b"] * 4))

    # An open set would keep readers from all that follows it.
    assert await seen(connection, 4, name) == [b"b"] * 4
