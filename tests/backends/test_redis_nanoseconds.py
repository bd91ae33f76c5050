"""Entry ids that count nanoseconds, as SeaStreamer can write them, on a real Valkey."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from streamlab.errors import BrokerError, UsageError
from streamlab.formats import json
from streamlab.intake import Intake
from streamlab.records import (
    AtTime,
    Earliest,
    Newest,
    Outgoing,
    Partition,
    Records,
)
from tests.backends.redis_reading import read, values

pytestmark = pytest.mark.broker
MS = 1_767_225_600_123
NS = MS * 1_000_000 + 456_789


async def fill(client: Any, name: str = "t", count: int = 4) -> None:
    """Entries 0.6 ms apart, two of each time."""
    for i in range(count):
        for _ in range(2):
            await client.xadd(
                name, {"msg": b'{"n":%d}' % i}, id=f"{NS + i * 600_000}-*"
            )


def nanoseconds(open_: Any, **more: object) -> Any:
    return open_(timestamp_format="nanoseconds", **more)


async def test_timestamps_are_milliseconds_and_offsets_the_ids(
    client: Any, open_: Any
) -> None:
    await fill(client)

    (block,) = await read(nanoseconds(open_), "t")

    assert block.timestamps_ms == [MS, MS] + [MS + 1] * 4 + [MS + 2] * 2
    assert block.offsets[:3] == [
        b"%d-0" % NS,
        b"%d-1" % NS,
        b"%d-0" % (NS + 600_000),
    ]


async def test_positions_by_time_and_facts_are_in_milliseconds(
    client: Any, open_: Any
) -> None:
    await fill(client)
    connection = nanoseconds(open_)

    at = await connection.resolve("t", AtTime(MS + 1))
    newest = await connection.resolve("t", Newest(3))
    (line,) = await connection.info("t")

    assert at == {Partition("t", 0): f"{NS + 600_000}-0"}
    assert newest == {Partition("t", 0): f"{NS + 1_200_000}-1"}
    assert (line.oldest_ms, line.newest_ms) == (MS, MS + 2)


async def test_rows_written_have_such_ids(client: Any, open_: Any) -> None:
    producer = await nanoseconds(open_).producer("t")

    old = await producer.send(Outgoing([b"a", b"b"], timestamps_ms=[MS, MS]))
    new = await producer.send(Outgoing([b"c", b"d"]))

    assert old.offsets == [f"{MS * 1_000_000}-0", f"{MS * 1_000_000}-1"]
    assert old.timestamps_ms == [MS, MS]
    now = (await client.time())[0] * 1000
    assert all(abs(ms - now) < 60_000 for ms in new.timestamps_ms)
    assert [entry for entry, _ in await client.xrange("t")] == [
        o.encode() for o in [*old.offsets, *new.offsets]
    ]


async def test_a_group_of_such_a_topic_is_shared(client: Any, open_: Any) -> None:
    await fill(client)
    connection = nanoseconds(open_)

    async def nobody_minds(partitions: frozenset[Partition]) -> None:
        raise AssertionError(partitions)

    member = await connection.group_consumer(
        ["t"], group="g", start=AtTime(MS + 1), revoked=nobody_minds
    )
    blocks: list[Records] = []
    while len(values(blocks)) < 6:
        blocks += await member.receive(4, 0.5)

    assert [ms for b in blocks for ms in b.timestamps_ms or ()] == [MS + 1] * 4 + [
        MS + 2
    ] * 2


async def test_rows_made_of_them_know_their_time_and_their_place(
    client: Any, open_: Any
) -> None:
    await fill(client)
    intake = Intake(
        json.make(),
        pl.Schema({"n": pl.Int64}),
        meta=("_offset", "_timestamp"),
        ids_are_text=True,
    )

    rows = intake.take(await read(nanoseconds(open_), "t")).rows

    assert rows["_timestamp"].dt.epoch("ms").to_list()[::2] == [
        *(MS, MS + 1, MS + 1, MS + 2)
    ]
    places = zip(rows["__stamp"], rows["__seq"], strict=True)
    assert [intake.offset_text(*place) for place in places] == rows["_offset"].to_list()
    assert rows["__seq"].is_sorted() or rows["__stamp"].is_sorted()


async def test_an_unknown_format_is_refused(open_: Any) -> None:
    with pytest.raises(UsageError, match=r"timestamp_format.*milliseconds, nanosec"):
        open_(timestamp_format="days")


async def test_ids_of_the_other_kind_only_rise(client: Any, open_: Any) -> None:
    await fill(client)
    connection = open_()
    producer = await connection.producer("t")

    with pytest.raises(BrokerError, match="ids only rise"):
        await producer.send(Outgoing([b"x"], timestamps_ms=[MS]))
    assert (await connection.resolve("t", Earliest()))[Partition("t", 0)]
