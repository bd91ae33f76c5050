"""Topics of several streams on a real Valkey: which there are, and which a reader reads."""

from __future__ import annotations

from typing import Any

import pytest

from streamlab.records import AtOffsets, Earliest, Latest, Partition, Records
from tests.backends.redis_reading import values

pytestmark = pytest.mark.broker


async def until(consumer: Any, count: int) -> list[bytes | None]:
    """So many records, or a failure."""
    blocks: list[Records] = []
    for _ in range(200):
        if len(values(blocks)) >= count:
            break
        blocks += await consumer.receive(1000, 0.1)
    return values(blocks)


async def test_partitions_are_those_there_are(client: Any, open_: Any) -> None:
    connection = open_()
    before = await connection.partitions("t")
    for name in ("t:0", "t:3"):
        await client.xadd(name, {"msg": "1"})
    await client.set("t:4", "no stream")

    connection = open_()
    assert before == frozenset()
    assert await connection.partitions("t") == {Partition("t", 0), Partition("t", 3)}


async def test_a_new_stream_is_noticed_without_looking_through_all_names(
    client: Any, open_: Any
) -> None:
    await client.xadd("t:0", {"msg": "1"})
    connection = open_()
    assert await connection.partitions("t") == {Partition("t", 0)}
    scans = (await client.info("commandstats"))["cmdstat_scan"]["calls"]

    await client.xadd("t:1", {"msg": "1"})
    await client.delete("t:0")
    now = await connection.partitions("t")

    assert now == {Partition("t", 1)}
    assert (await client.info("commandstats"))["cmdstat_scan"]["calls"] == scans


async def test_a_plain_stream_is_partition_0_until_there_is_a_numbered_one(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "plain"})
    connection = open_()

    assert await connection.partitions("t") == {Partition("t", 0)}
    await client.xadd("t:1", {"msg": "one"})
    assert await connection.partitions("t") == {Partition("t", 0), Partition("t", 1)}


async def test_an_assigned_partition_is_read_beside_the_others(
    client: Any, open_: Any
) -> None:
    await client.xadd("t:0", {"msg": "a"})
    connection = open_()
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    assert await until(consumer, 1) == [b"a"]
    assert not await consumer.receive(10, 0.05)

    await client.xadd("t:1", {"msg": "b"})
    await connection.partitions("t")
    await consumer.assign({Partition("t", 1): "0-1"})

    assert await until(consumer, 1) == [b"b"]
    assert {*consumer.state()} == {Partition("t", 0), Partition("t", 1)}
    assert consumer.trouble is None
    await client.xadd("t:0", {"msg": "c"})
    assert await until(consumer, 1) == [b"c"]


async def test_assigning_again_moves_a_partition_and_drops_what_was_fetched(
    client: Any, open_: Any
) -> None:
    for i in range(50):
        await client.xadd("t", {"msg": i}, id=f"{i + 1}-0")
    connection = open_()
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    first = values([*await consumer.receive(10, 1.0)])

    await consumer.assign(await connection.resolve("t", AtOffsets({0: "31-0"})))
    rest = await until(consumer, 20)

    assert first == [b"%d" % i for i in range(10)]
    assert rest == [b"%d" % i for i in range(30, 50)]
    assert consumer.lost == 0


async def test_without_partitions_a_reader_is_silent_and_not_at_its_end(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "a"})
    connection = open_()
    consumer = await connection.consumer(await connection.resolve("t", Latest()))

    await consumer.unassign([Partition("t", 0)])
    silence = await consumer.receive(10, 0.02)
    await consumer.assign({Partition("t", 0): "0-1"})

    assert not silence
    assert not consumer.ended
    assert await until(consumer, 1) == [b"a"]
