"""Topics of several streams on a real Valkey: which there are, and which a reader reads."""

from __future__ import annotations

from typing import Any

import pytest

from streamlab.errors import TopicNotFoundError, UsageError
from streamlab.records import (
    AtOffsets,
    Earliest,
    Latest,
    Outgoing,
    Partition,
    Records,
    Sent,
)
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
    first = values([*await consumer.receive(20, 1.0)])
    first += values([*await consumer.receive(5, 1.0)])

    await consumer.assign(await connection.resolve("t", AtOffsets({0: "31-0"})))
    rest = await until(consumer, 20)

    assert first == [b"%d" % i for i in range(25)]
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


# ---- writing ------------------------------------------------------------------------


async def test_a_new_topic_gets_as_many_streams_as_it_is_told(
    client: Any, open_: Any
) -> None:
    connection = open_()
    producer = await connection.producer("t", partitions=3)
    before = await open_().partitions("t")

    await producer.send(Outgoing([b"%d" % i for i in range(7)]))

    assert before == {Partition("t", n) for n in range(3)}
    assert producer.partitions == 3
    for n in range(3):
        rows = [fields[b"msg"] for _, fields in await client.xrange(f"t:{n}")]
        assert rows == [b"%d" % i for i in range(n, 7, 3)]
        assert await client.xinfo_groups(f"t:{n}") == []


async def test_rows_of_one_key_go_to_one_stream_whoever_writes(
    client: Any, open_: Any
) -> None:
    keys = [b"k%d" % i for i in range(40)]
    one = await open_().producer("t", partitions=4)
    first = await one.send(Outgoing(keys, keys=keys))

    other = await open_().producer("t")
    second = await other.send(Outgoing(keys, keys=keys))

    assert [*first.partitions] == [*second.partitions]
    assert len({*first.partitions}) == 4


async def test_what_was_sent_is_told_row_by_row(client: Any, open_: Any) -> None:
    producer = await open_().producer("t", partitions=2)

    sent = await producer.send(
        Outgoing([b"a", b"b", b"c"], timestamps_ms=[5, 5, 7], partitions=[1, 1, 0])
    )

    assert sent == Sent([1, 1, 0], ["5-0", "5-1", "7-0"], [5, 5, 7])


async def test_a_topic_that_is_there_keeps_its_streams(client: Any, open_: Any) -> None:
    await client.xadd("t", {"msg": "1"})
    for n in range(3):
        await client.xadd(f"u:{n}", {"msg": "1"})
    connection = open_()

    with pytest.raises(UsageError, match=r"partitions=2: 't' on .* has 1 already"):
        await connection.producer("t", partitions=2)
    assert (await connection.producer("u", partitions=2)).partitions == 3
    assert (await connection.producer("t", partitions=1)).partitions == 1


async def test_transactions_are_refused(open_: Any) -> None:
    with pytest.raises(UsageError, match="Redis has no transactions"):
        await open_().transactions("w")


async def test_trimming_keeps_so_many_of_each_stream(client: Any, open_: Any) -> None:
    connection = open_()
    producer = await connection.producer("t", partitions=2)
    await producer.send(Outgoing([b"x"] * 700))

    assert await connection.trim("t", keep=3) == 694
    assert [await client.xlen(f"t:{n}") for n in (0, 1)] == [3, 3]
    assert await connection.trim("t", keep=3) == 0


async def test_trimming_takes_what_lies_before_an_id(client: Any, open_: Any) -> None:
    connection = open_()
    producer = await connection.producer("t", partitions=2)
    stamps = [1, 1, 2, 2, 3, 3]
    await producer.send(Outgoing([b"x"] * 6, timestamps_ms=stamps))

    assert await connection.trim("t", before={Partition("t", 1): "3-0"}) == 2
    assert [await client.xlen(f"t:{n}") for n in (0, 1)] == [3, 1]
    with pytest.raises(UsageError, match="keep= or before="):
        await connection.trim("t")
    with pytest.raises(TopicNotFoundError):
        await connection.trim("absent", keep=1)
