"""Real time: no group, nothing committed, every reader gets everything."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import (
    ModeError,
    StreamStoppedError,
    UsageError,
    WrongLoopError,
)
from streamlab.records import Partition, offset_rank
from tests.scenarios.site import PATIENCE_S, Site, messages, nothing_comes, take

pytestmark = pytest.mark.broker


async def test_latest_gets_what_comes_and_earliest_what_was_there_too(site: Site):
    one, two = await site.topic(), await site.topic()
    await site.send(one, *range(5))
    late = await site.broker.aio.consumer(one)
    early = await site.consumer([one, two])

    receipts = await site.send(one, *range(5, 10))
    await site.send(two, *range(100, 110))

    assert await take(late, 5) == [5, 6, 7, 8, 9]
    seen = await messages(early, 20)
    texts = {
        name: [int(m.text) for m in seen if m.topic == name] for name in (one, two)
    }
    assert texts == {one: [*range(10)], two: [*range(100, 110)]}
    ranks = [offset_rank(receipt.offset) for receipt in receipts]
    assert all(a < b for a, b in itertools.pairwise(ranks))
    assert {receipt.partition for receipt in receipts} == {0}
    await late.end()
    await early.end()


async def test_a_receipt_names_the_message_it_becomes(site: Site):
    topic = await site.topic()
    async with await site.broker.aio.producer(topic) as producer:
        receipt = await producer.send({"n": 1}, key="k", headers={"h": "ü"})
        tombstone = await producer.send(b"", key=b"k")
    consumer = await site.consumer(topic)

    first, second = await messages(consumer, 2)

    assert (first.id, second.id) == (receipt.id, tombstone.id)
    assert first.timestamp == receipt.timestamp
    assert first.timestamp.utcoffset() is not None
    assert (first.json(), first.key, [*first.headers]) == (
        {"n": 1},
        b"k",
        [("h", "ü".encode())],
    )
    assert (second.value, second.text) == (b"", "")
    await consumer.end()


async def test_iteration_ends_at_until_and_next_says_so(site: Site):
    topic = await site.topic()
    await site.send(topic, *range(10))
    consumer = await site.consumer(topic, until="latest")
    await site.send(topic, 10, 11)

    seen = [int(message.text) async for message in consumer]

    assert seen == [*range(10)]
    with pytest.raises(StreamStoppedError, match="has reached its end"):
        await consumer.next()
    await consumer.rewind(-1)  # the newest there is, which lies behind the end
    await consumer.rewind("earliest")
    assert await take(consumer, 10) == [*range(10)]
    await consumer.end()


async def test_an_ended_consumer_hands_nothing_out(site: Site):
    topic = await site.topic()
    await site.send(topic, *range(3))
    consumer = await site.consumer(topic)
    await take(consumer, 3)
    waiting = asyncio.create_task(consumer.next())
    await asyncio.sleep(0)

    await consumer.end()
    await consumer.end()

    with pytest.raises(StreamStoppedError, match="was ended"):
        await waiting
    with pytest.raises(StreamStoppedError, match="was ended"):
        await consumer.next()


async def test_a_call_that_is_cancelled_loses_nothing(site: Site):
    topic = await site.topic()
    consumer = await site.consumer(topic)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consumer.next(), 0.01)

    await site.send(topic, *range(50))

    assert await take(consumer, 50) == [*range(50)]
    await consumer.end()


async def test_a_batch_is_what_there_is(site: Site):
    topic = await site.topic()
    await site.send(topic, *range(10))
    consumer = await site.consumer(topic)

    first = await consumer.next_batch(4)
    rest: list[sl.Message] = []
    while len(first + rest) < 10:
        rest += await consumer.next_batch(100, max_wait="20s")

    assert [int(m.text) for m in first + rest] == [*range(10)]
    assert len(first) <= 4
    assert await consumer.next_batch(100, max_wait=0.01) == []
    await consumer.end()


async def test_it_says_how_far_it_is(site: Site):
    topic = await site.topic()
    await site.send(topic, *range(10))
    consumer = await site.consumer(topic)

    seen = await messages(consumer, 4)
    state = consumer.state[Partition(topic, 0)]

    assert state.next != seen[-1].offset
    assert consumer.lag in {6, None}
    assert consumer.trouble is None
    await take(consumer, 6)
    assert await nothing_comes(consumer)
    assert consumer.state[Partition(topic, 0)].caught_up
    await consumer.end()


async def test_there_is_nothing_to_commit(site: Site):
    topic = await site.topic()
    await site.send(topic, 1)
    consumer = await site.consumer(topic)
    (message,) = await messages(consumer, 1)

    with pytest.raises(ModeError, match="commit: this reader is real-time"):
        await consumer.commit()
    with pytest.raises(ModeError, match="ack: this reader is real-time"):
        consumer.ack(message)
    await consumer.end()


async def test_partitions_are_taken_and_given_back_by_hand(site: Site):
    one, two = await site.topic(), await site.topic()
    await site.send(one, *range(3))
    await site.send(two, *range(10, 13))
    consumer = await site.consumer(one)
    assert await take(consumer, 3) == [0, 1, 2]

    await consumer.assign(two)
    assert await take(consumer, 3) == [10, 11, 12]
    await consumer.unassign(one)
    await site.send(one, 3)
    await site.send(two, 13)
    assert await take(consumer, 1) == [13]
    with pytest.raises(UsageError, match="this consumer doesn't read that"):
        await consumer.unassign(one)
    await consumer.unassign(two)
    with pytest.raises(UsageError, match="no partition is assigned"):
        await consumer.next()
    await consumer.end()


async def test_tasks_that_take_at_once_are_given_different_messages(site: Site):
    topic = await site.topic()
    await site.send(topic, *range(60))
    consumer = await site.consumer(topic, group=site.name(), acks="manual")

    parts = await asyncio.gather(*(take(consumer, 20) for _ in range(3)))

    assert sorted(number for part in parts for number in part) == [*range(60)]
    await consumer.end()


async def test_one_that_is_let_go_of_is_closed(site: Site):
    topic, group = await site.topic(), site.name()
    consumer = await site.consumer(topic, group=group)
    await nothing_comes(consumer)

    del consumer
    gc.collect()

    async with asyncio.timeout(PATIENCE_S):
        states = ["stable"]
        while states != ["empty"]:
            frame = (await site.broker.aio.groups()).filter(group=group)
            states = frame["state"].unique().to_list()
            await asyncio.sleep(0.02)


def test_a_consumer_made_by_a_plain_call_is_read_in_a_program():
    broker = sl.connect("memory://programs")
    producer = broker.producer("plain")
    consumer = broker.consumer("plain", start="earliest")

    async def program() -> list[int]:
        async with producer, consumer:
            await producer.send("7")
            with pytest.raises(WrongLoopError, match=r"await broker\.aio\.consumer"):
                broker.consumer("plain")
            return await take(consumer, 1)

    assert asyncio.run(program()) == [7]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"mode": "load-balanced"}, 'Name one: group="g"'),
        ({"mode": "resumable"}, 'Name one: group="g"'),
        ({"group": "g", "mode": "real-time"}, "joins no group"),
        ({"group": "g", "mode": "shared"}, "there are real-time, resumable"),
        ({"group": "g", "until": "latest"}, "until='latest': this reader shares"),
        ({"member": "a"}, "only who shares a group has a name"),
        ({"acks": "never"}, '"manual"'),
    ],
)
async def test_group_and_mode_must_fit(how: dict[str, Any], said: str):
    broker = sl.connect("memory://programs")

    with pytest.raises(UsageError, match=said):
        await broker.aio.consumer("t", **how)
