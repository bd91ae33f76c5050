"""Resumable: one reader of a group, which goes on where it had committed."""

from __future__ import annotations

from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import GroupBusyError
from tests.scenarios.site import Site, messages, nothing_comes, take

pytestmark = pytest.mark.broker
BOTH = pytest.mark.parametrize("mode", ["resumable", "load-balanced"])


async def again(site: Site, topic: str, group: str, mode: str) -> sl.Consumer:
    return await site.consumer(topic, group=group, mode=mode)


@BOTH
async def test_a_reader_that_ended_goes_on_behind_what_it_read(site: Site, mode: str):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(5))
    async with await again(site, topic, group, mode) as consumer:
        assert await take(consumer, 5) == [*range(5)]
        assert await nothing_comes(consumer)  # the fifth is done, too
    await site.send(topic, *range(5, 10))

    async with await again(site, topic, group, mode) as consumer:
        assert await take(consumer, 5) == [*range(5, 10)]


@BOTH
async def test_what_is_in_hand_is_not_done_and_ack_says_so_earlier(
    site: Site, mode: str
):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(10))
    async with await again(site, topic, group, mode) as consumer:
        await take(consumer, 5)
        await consumer.commit()
        await consumer.end(crash=True)

    async with await again(site, topic, group, mode) as consumer:
        (first,) = await messages(consumer, 1)
        assert first.text == "4"
        consumer.ack(first)
        await consumer.commit()
        await consumer.end(crash=True)

    async with await again(site, topic, group, mode) as consumer:
        assert await take(consumer, 5) == [*range(5, 10)]


@BOTH
async def test_acks_without_a_commit_are_forgotten_in_a_crash(site: Site, mode: str):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(5))
    consumer = await again(site, topic, group, mode)
    for message in await messages(consumer, 5):
        consumer.ack(message)
    await consumer.end(crash=True)

    async with await again(site, topic, group, mode) as consumer:
        assert await take(consumer, 5) == [*range(5)]


@BOTH
async def test_by_hand_a_commit_goes_up_to_the_first_that_is_not_acked(
    site: Site, mode: str
):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(6))
    how: dict[str, Any] = {"group": group, "mode": mode}
    consumer = await site.consumer(topic, acks="manual", **how)
    got = await messages(consumer, 6)
    for at in (0, 1, 3, 5):
        consumer.ack(got[at])
    await consumer.commit()
    await consumer.end(crash=True)

    async with await again(site, topic, group, mode) as consumer:
        assert await take(consumer, 4) == [2, 3, 4, 5]


async def test_a_commit_also_goes_back(site: Site):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(6))
    async with await again(site, topic, group, "resumable") as consumer:
        await take(consumer, 6)
        await consumer.commit()
        await consumer.rewind(-5)
        await take(consumer, 2)

    async with await again(site, topic, group, "resumable") as consumer:
        assert await take(consumer, 4) == [2, 3, 4, 5]


async def test_a_group_that_began_at_the_end_gets_what_came_while_nobody_read(
    site: Site,
):
    topic, group = await site.topic(), site.name()
    await site.send(topic, 1, 2)
    how: dict[str, Any] = {"group": group, "mode": "resumable", "start": "latest"}
    async with await site.consumer(topic, **how) as consumer:
        assert await nothing_comes(consumer)
    await site.send(topic, 3, 4)

    async with await site.consumer(topic, **how) as consumer:
        assert await take(consumer, 2) == [3, 4]


async def test_commits_are_made_by_the_way(site: Site):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(4))
    how: dict[str, Any] = {"group": group, "mode": "resumable"}
    consumer = await site.consumer(topic, commit_every="50ms", **how)
    await take(consumer, 3)
    looked = site.broker.aio
    while True:
        await nothing_comes(consumer)
        shown = (await looked.groups()).filter(group=group)
        if shown["behind"].to_list() == [0]:
            break
    await consumer.end(crash=True)

    async with await site.consumer(topic, **how) as consumer:
        assert await nothing_comes(consumer)


async def test_a_group_that_is_shared_is_not_had_alone(site: Site):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(4))
    async with await again(site, topic, group, "load-balanced") as member:
        await take(member, 2)
        consumer = await again(site, topic, group, "resumable")
        await take(consumer, 2)

        with pytest.raises(GroupBusyError, match=group):
            await consumer.commit()
        await consumer.end(crash=True)
