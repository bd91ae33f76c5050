"""Sets of messages: seen whole or not at all, together with what was read for them."""

from __future__ import annotations

from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import ModeError, UsageError
from tests.scenarios.site import Site, messages, nothing_comes, take

pytestmark = pytest.mark.broker


async def writer(site: Site, topic: str) -> sl.Producer:
    """A producer of sets; on Redis there are none."""
    name = site.name()
    if site.kind == "redis":
        with pytest.raises(UsageError, match="transaction"):
            await site.broker.aio.producer(topic, transactional_id=name)
        pytest.skip("Redis has no transactions of this kind")
    return await site.broker.aio.producer(topic, transactional_id=name)


async def failing(producer: sl.Producer, consumer: sl.Consumer | None = None) -> None:
    async with producer.transaction(consumer):
        await producer.send("666")
        raise ZeroDivisionError


async def test_a_set_is_seen_whole_or_not_at_all(site: Site):
    topic = await site.topic()
    producer = await writer(site, topic)

    async with producer.transaction():
        for number in range(3):
            producer.send_soon(str(number))
    with pytest.raises(ZeroDivisionError):
        await failing(producer)
    async with producer.transaction():
        await producer.send("3")
    with pytest.raises(UsageError, match=r"async with producer\.transaction"):
        await producer.send("outside")
    await producer.end()

    reader = await site.consumer(topic)
    assert await take(reader, 4) == [0, 1, 2, 3]
    assert await nothing_comes(reader)
    await reader.end()


async def test_what_was_read_is_committed_with_what_was_made_of_it(site: Site):
    source, target = await site.topic(), await site.topic()
    producer = await writer(site, target)
    await site.send(source, *range(6))
    how: dict[str, Any] = {"group": site.name(), "mode": "resumable"}

    crashing = await site.consumer(source, **how)
    (message,) = await messages(crashing, 1)
    async with producer.transaction(crashing):
        await producer.send(message.value)
    await messages(crashing, 1)
    with pytest.raises(ZeroDivisionError):
        await failing(producer, crashing)
    await crashing.end(crash=True)
    again = await site.consumer(source, **how)
    for _ in range(5):
        (message,) = await messages(again, 1)
        async with producer.transaction(again):
            await producer.send(message.value)
    await again.end(crash=True)
    await producer.end()

    reader = await site.consumer(target)
    assert await take(reader, 6) == [*range(6)]
    assert await nothing_comes(reader)
    await reader.end()


async def test_one_who_shares_is_not_committed_with_a_set(site: Site):
    topic = await site.topic()
    producer = await writer(site, topic)
    async with await site.consumer(topic, group=site.name()) as member:
        with pytest.raises(ModeError, match="load-balanced"):
            await shared(producer, member)
    await producer.end()


async def shared(producer: sl.Producer, member: sl.Consumer) -> None:
    async with producer.transaction(member):
        await producer.send("1")
