"""What is Redis' own, on a real Valkey: fields, numbered streams, ids, writing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamlab.errors import (
    BrokerError,
    PositionError,
)
from streamlab.records import (
    AtOffsets,
    Earliest,
    Latest,
    Newest,
    Outgoing,
    Records,
)
from tests.backends.redis_reading import read, values

pytestmark = pytest.mark.broker


# ---- fields ---------------------------------------------------------------------


async def test_other_fields_become_key_and_headers(client: Any, open_: Any) -> None:
    await client.xadd("t", {"trace": "7", "msg": "a", "key": "k", "zone": "eu"})

    (block,) = await read(open_(), "t")

    assert block.values == [b"a"]
    assert block.keys == [b"k"]
    assert block.headers == [[("trace", b"7"), ("zone", b"eu")]]


async def test_options_name_payload_and_key(client: Any, open_: Any) -> None:
    await client.xadd("t", {"body": "a", "msg": "no", "who": "k"})

    (block,) = await read(open_(field="body", key_field="who"), "t")

    assert (block.values, block.keys) == ([b"a"], [b"k"])
    assert block.headers == [[("msg", b"no")]]


async def test_entries_of_several_fields_become_json_objects(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"temp": "21.5", "room": "é"})
    await client.xadd("t", {"temp": "22", "room": b"\xff"})

    (block,) = await read(open_(), "t")

    assert [json.loads(value or b"") for value in block.values] == [
        {"temp": "21.5", "room": "é"},
        {"temp": "22", "room": "\\xff"},
    ]


async def test_a_repeated_payload_field_is_a_header_the_second_time(
    client: Any, open_: Any
) -> None:
    await client.execute_command("XADD", "t", "*", "msg", "one", "msg", "two")

    (block,) = await read(open_(), "t")

    assert block.values == [b"one"]
    assert block.headers == [[("msg", b"two")]]


async def test_entries_without_the_payload_move_the_position(
    client: Any, open_: Any
) -> None:
    pipe = client.pipeline()
    pipe.xadd("t", {"msg": "first"})
    for i in range(350):
        pipe.xadd("t", {"noise": i})
    pipe.xadd("t", {"msg": "last"})
    await pipe.execute()
    connection = open_()
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    before = (await client.info("commandstats"))["cmdstat_xread"]["calls"]

    blocks: list[Records] = []
    while len(values(blocks)) < 2:
        blocks += await consumer.receive(1000, 1.0)
    for _ in range(20):
        assert not await consumer.receive(1000, 0.01)

    calls = (await client.info("commandstats"))["cmdstat_xread"]["calls"] - before
    assert values(blocks) == [b"first", b"last"]
    assert consumer.skipped == 350
    assert calls < 10


async def test_the_newest_are_counted_in_messages_not_in_entries(
    client: Any, open_: Any
) -> None:
    for i in range(4):
        await client.xadd("t", {"msg": i})
        await client.xadd("t", {"noise": i})
    connection = open_()

    start = await connection.resolve("t", Newest(3))
    consumer = await connection.consumer(start)

    assert values([*await consumer.receive(1000, 1.0)]) == [b"1", b"2", b"3"]


async def test_payloads_may_hold_anything(client: Any, open_: Any) -> None:
    odd = [
        *(b"", b"\r\n", b"a\r\nb", bytes(range(256)), b"x" * 100_000),
        b"\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$3\r\nmsg\r\n$1\r\nx",
        b"*2\r\n$15\r\n1767225600000-3\r\n*2\r\n$3\r\nmsg\r\n$1\r\nx\r\n",
    ]
    sent = odd * 60
    connection = open_()
    producer = await connection.producer("t")
    assert len((await producer.send(Outgoing(sent))).offsets) == len(sent)

    assert values(await read(connection, "t")) == sent


async def test_a_payload_that_imitates_the_end_of_an_answer_deceives_nobody(
    client: Any, open_: Any
) -> None:
    fake = b"x\r\n*2\r\n$20\r\n9999999999999-999999\r\n*2\r\n$3\r\nmsg\r\n$1\r\nx"
    sent = [b"a"] * 99 + [fake] + [b"b"] * 700 + [fake] + [b"c"] * 50
    connection = open_()
    producer = await connection.producer("t")
    await producer.send(Outgoing(sent))
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))

    blocks: list[Records] = []
    while len(values(blocks)) < len(sent):
        blocks += await consumer.receive(1000, 1.0)

    assert values(blocks) == sent


async def test_a_reader_in_small_steps_does_not_fetch_far_ahead(
    client: Any, open_: Any
) -> None:
    connection = open_()
    producer = await connection.producer("t")
    await producer.send(Outgoing([b"x" * 500] * 20_000))
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    before = (await client.info("commandstats"))["cmdstat_xread"]["calls"]

    for _ in range(200):
        assert len(values([*await consumer.receive(10, 1.0)])) == 10

    calls = (await client.info("commandstats"))["cmdstat_xread"]["calls"] - before
    # 10 + 80 + 640 + 2000: about a megabyte an answer, one answer ahead.
    assert calls <= 6


# ---- numbered streams -------------------------------------------------------------


async def test_numbered_streams_are_partitions(client: Any, open_: Any) -> None:
    for name in ("t:0", "t:2", "t:10", "t:x", "t:02", "tt:1", "t:1:5"):
        await client.xadd(name, {"msg": name})
    await client.set("t:3", "no stream")
    await client.xadd("t", {"msg": "not read"})
    connection = open_()

    lines = await connection.info("t")
    seen = sorted(values(await read(connection, "t")), key=str)

    assert [line.partition.number for line in lines] == [0, 2, 10]
    assert seen == [b"t:0", b"t:10", b"t:2"]


async def test_beside_numbered_streams_the_plain_one_is_partition_0(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "plain"})
    await client.xadd("t:1", {"msg": "one"})

    blocks = await read(open_(), "t")

    assert {b.partition.number: [*b.values] for b in blocks} == {
        0: [b"plain"],
        1: [b"one"],
    }


async def test_topics_count_numbered_streams_as_one(client: Any, open_: Any) -> None:
    for name in ("a:0", "a:1", "b", "c:x"):
        await client.xadd(name, {"msg": "1"})
    await client.set("d", "no stream")

    assert await open_().topics() == ["a", "b", "c:x"]


async def test_a_name_may_hold_the_signs_of_patterns(client: Any, open_: Any) -> None:
    await client.xadd("a*[b]?\\:1", {"msg": "mine"})
    await client.xadd("axb:1", {"msg": "other"})

    assert values(await read(open_(), "a*[b]?\\")) == [b"mine"]


async def test_a_busy_stream_does_not_crowd_out_a_quiet_one(
    client: Any, open_: Any
) -> None:
    connection = open_()
    producer = await connection.producer("t")
    await producer.send(Outgoing([b"busy"] * 3000, partitions=[0] * 3000))
    await producer.send(Outgoing([b"quiet"], partitions=[1]))

    start = await connection.resolve("t", Earliest())
    consumer = await connection.consumer(start)
    first = await consumer.receive(100, 1.0)

    assert b"quiet" in values([*first])


async def test_several_topics_are_read_over_one_connection(
    client: Any, open_: Any
) -> None:
    await client.xadd("a", {"msg": "1"})
    await client.xadd("b", {"other": "2"})

    blocks = await read(open_(), "a", "b")

    assert {b.partition.topic: [*b.values] for b in blocks} == {
        "a": [b"1"],
        "b": [b"2"],
    }


# ---- positions --------------------------------------------------------------------


async def test_an_id_names_the_first_record_delivered(client: Any, open_: Any) -> None:
    for entry in ("5-0", "5-1", "6-0"):
        await client.xadd("t", {"msg": entry}, id=entry)
    connection = open_()

    for offset, first in (
        ("5-0", b"5-0"),
        ("5-1", b"5-1"),
        ("5", b"5-0"),
        ("5-7", b"6-0"),
    ):
        start = await connection.resolve("t", AtOffsets({0: offset}))
        consumer = await connection.consumer(start)
        assert values([*await consumer.receive(10, 1.0)])[0] == first

    with pytest.raises(PositionError, match="no partition 7"):
        await connection.resolve("t", AtOffsets({7: "1-0"}))
    with pytest.raises(PositionError, match="no Redis entry id"):
        await connection.resolve("t", AtOffsets({0: 12}))


async def test_the_end_of_a_quiet_stream_is_pinned_once(
    client: Any, open_: Any
) -> None:
    await client.xadd("busy", {"msg": "old"})
    await client.xadd("quiet", {"msg": "old"})
    connection = open_()
    start = {
        **await connection.resolve("busy", Latest()),
        **await connection.resolve("quiet", Latest()),
    }
    consumer = await connection.consumer(start)

    await client.xadd("quiet", {"msg": "new"})
    for i in range(50):
        await client.xadd("busy", {"msg": i})
    blocks: list[Records] = []
    while len(values(blocks)) < 51:
        blocks += await consumer.receive(7, 1.0)

    assert values(blocks).count(b"new") == 1


# ---- writing ----------------------------------------------------------------------


async def test_rows_go_where_their_partition_or_key_says(
    client: Any, open_: Any
) -> None:
    connection = open_()
    fresh = await connection.producer("t")
    await fresh.send(Outgoing([b"a", b"b"], partitions=[0, 1]))

    producer = await connection.producer("t")
    await producer.send(Outgoing([b"k1", b"k2"], keys=[b"same", b"same"]))
    await producer.send(Outgoing([b"x", b"y"]))

    rows = [await client.xrange(f"t:{n}") for n in (0, 1)]
    inside = [[fields[b"msg"] for _, fields in entries] for entries in rows]
    assert not await client.exists("t")
    assert sorted(map(len, inside)) == [2, 4]
    assert [b"k1", b"k2"] in [[v for v in part if v[:1] == b"k"] for part in inside]
    assert {b"x", b"y"} & {*inside[0]}
    assert {b"x", b"y"} & {*inside[1]}


async def test_timestamps_become_ids_and_only_rise(client: Any, open_: Any) -> None:
    producer = await open_().producer("t")

    await producer.send(Outgoing([b"a", b"b"], timestamps_ms=[1000, 1000]))
    with pytest.raises(BrokerError, match=r"1 of 2 rows.*ids only rise") as caught:
        await producer.send(Outgoing([b"c", b"d"], timestamps_ms=[2000, 500]))

    assert "Sort the rows" in str(caught.value)
    assert [i for i, _ in await client.xrange("t")] == [b"1000-0", b"1000-1", b"2000-0"]


async def test_what_an_entry_can_not_hold_is_refused_before_writing(
    client: Any, open_: Any
) -> None:
    producer = await open_().producer("t")

    with pytest.raises(BrokerError, match=r"row 1 .* tombstone"):
        await producer.send(Outgoing([b"a", None]))
    with pytest.raises(BrokerError, match=r"header .* named 'key'"):
        await producer.send(Outgoing([b"a"], headers=[[("key", b"x")]]))

    assert not await client.exists("t")


async def test_a_topic_keeps_the_field_it_has(client: Any, open_: Any) -> None:
    await client.xadd("one", {"reading": "1"})
    await client.xadd("many", {"a": "1", "b": "2"})
    connection = open_()

    producer = await connection.producer("one")
    await producer.send(Outgoing([b"2"]))

    assert values(await read(connection, "one")) == [b"1", b"2"]
    with pytest.raises(BrokerError, match=r"no payload field.*options="):
        await connection.producer("many")
