"""Which partition a message goes to: by key, in turn, by a rule of one's own, by hand."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import UsageError
from tests.scenarios.site import Site, messages, take

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("mode", ["real-time", "resumable"])
async def test_in_turn_each_partition_gets_its_share(site: Site, mode: str):
    topic = site.name()
    how: dict[str, Any] = {"partition_by": "round-robin", "partitions": 3}
    async with await site.broker.aio.producer(topic, **how) as producer:
        first = [await producer.send(str(n)) for n in range(10)]
    group = {} if mode == "real-time" else {"group": site.name()}
    consumer = await site.consumer(topic, mode=mode, **group)
    seen = await take(consumer, 10)
    async with await site.broker.aio.producer(topic, **how) as producer:
        pending = [producer.send_soon(str(n)) for n in range(10, 20)]
        then = [await one for one in pending]
    seen += await take(consumer, 10)

    assert [receipt.partition for receipt in first] == [n % 3 for n in range(10)]
    assert [receipt.partition for receipt in then] == [n % 3 for n in range(10)]
    assert Counter(seen) == Counter(range(20))
    await consumer.end()


async def test_equal_keys_go_to_one_partition_in_order(site: Site):
    topic = await site.topic(partitions=3)
    async with await site.broker.aio.producer(topic, partitions=3) as producer:
        pending = [producer.send_soon(str(n), key=f"key-{n % 7}") for n in range(70)]
        receipts = [await one for one in pending]
    consumer = await site.consumer(topic)
    seen = await messages(consumer, 70)
    await consumer.end()

    where: dict[int, set[int]] = {}
    for number, receipt in enumerate(receipts):
        where.setdefault(number % 7, set()).add(receipt.partition)
    assert all(len(partitions) == 1 for partitions in where.values())
    assert len({p for found in where.values() for p in found}) > 1
    for key in range(7):
        mine = [int(m.text) for m in seen if m.key == b"key-%d" % key]
        assert mine == [*range(key, 70, 7)]


async def test_a_rule_of_ones_own_and_a_wish_decide(site: Site):
    topic = await site.topic(partitions=3)

    def last_digit(key: bytes | None, value: bytes | None, partitions: int) -> int:
        assert key is None
        return int(value or b"0") % partitions

    async with await site.broker.aio.producer(
        topic, partition_by=last_digit, partitions=3
    ) as producer:
        ruled = [await producer.send(str(n)) for n in (2, 4, 9)]
        wished = await producer.send("2", partition=1)

    assert [receipt.partition for receipt in ruled] == [2, 1, 0]
    assert wished.partition == 1


async def test_a_rule_that_errs_fails_the_message_and_no_other(site: Site):
    topic = await site.topic(partitions=2)

    def wrong(key: bytes | None, value: bytes | None, partitions: int) -> int:
        return partitions if value == b"1" else 0

    producer = await site.broker.aio.producer(topic, partition_by=wrong, partitions=2)
    await producer.send("0")
    with pytest.raises(UsageError, match="partition_by chose 2"):
        await producer.send("1")
    receipt = await producer.send("2")
    await producer.end()

    assert receipt.partition == 0


async def test_messages_of_all_kinds_may_be_mixed(site: Site):
    topic = await site.topic(partitions=3)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    async with await site.broker.aio.producer(topic, partitions=3) as producer:
        pending = [
            producer.send_soon("0", partition=2),
            producer.send_soon("1", key="k"),
            producer.send_soon("2", headers={"h": b"1"}, partition=2),
            producer.send_soon("3", key=b"k", partition=0),
            producer.send_soon("4", partition=2, headers=[("a", b"1"), ("a", b"2")]),
        ]
        if site.kind != "redis":  # ids only rise there
            pending.append(producer.send_soon("5", partition=1, timestamp=when))
        receipts = [await one for one in pending]
    consumer = await site.consumer(topic)
    seen = {m.text: m for m in await messages(consumer, len(receipts))}
    await consumer.end()

    assert [r.id for r in receipts] == [seen[str(n)].id for n in range(len(receipts))]
    assert [seen[n].partition for n in "0234"] == [2, 2, 0, 2]
    assert [seen[n].key for n in "0134"] == [None, b"k", b"k", None]
    assert [*seen["4"].headers] == [("a", b"1"), ("a", b"2")] or site.kind == "redis"
    assert [*seen["2"].headers] == [("h", b"1")]
    if site.kind != "redis":
        assert seen["5"].timestamp == when == receipts[5].timestamp


async def test_receipts_may_be_left_alone_and_flush_tells_what_failed(site: Site):
    topic = await site.topic()

    def wrong(key: bytes | None, value: bytes | None, partitions: int) -> int:
        return -1 if value == b"x" else 0

    producer = await site.broker.aio.producer(topic, partition_by=wrong)
    for number in range(2_500):
        producer.send_soon(str(number))
    await producer.flush()
    producer.send_soon("x")

    with pytest.raises(UsageError, match="partition_by chose -1"):
        await producer.flush()

    await producer.flush()
    await producer.end()
    consumer = await site.consumer(topic)
    assert await take(consumer, 2_500) == [*range(2_500)]
    await consumer.end()


async def test_a_producer_is_anchored_once(site: Site):
    one, two = await site.topic(), await site.topic()
    producer = await site.broker.aio.producer()
    with pytest.raises(UsageError, match="send to which topic"):
        await producer.send("1")
    producer.anchor(one)

    receipts = [await producer.send("1"), await producer.send_to(two, "2")]

    assert [receipt.topic for receipt in receipts] == [one, two]
    assert producer.anchored == one
    with pytest.raises(UsageError, match=r"sends to .* already"):
        producer.anchor(two)
    await producer.end()
    await producer.end()
    with pytest.raises(sl.errors.StreamStoppedError, match="was ended"):
        await producer.send("3")
