"""Load-balanced: the members of a group share the messages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import ModeError
from tests.scenarios.site import PATIENCE_S, Site

pytestmark = pytest.mark.broker


async def shared_by(
    site: Site, topic: str, group: str, names: Sequence[str], **how: Any
) -> list[sl.Consumer]:
    """Members that all have their share."""
    found = [
        await site.consumer(topic, group=group, member=name, **how) for name in names
    ]
    if site.alone:
        every = (await site.broker.topic(topic).aio.info()).height
        async with asyncio.timeout(PATIENCE_S):
            while sum(len(c.state) for c in found) < every or not all(
                c.state for c in found
            ):
                for consumer in found:
                    await consumer.next_batch(1, max_wait=0.05)
    return found


async def gather(consumers: Sequence[sl.Consumer], count: int) -> list[list[int]]:
    """What each is given until all have been given so many."""
    got: list[list[int]] = [[] for _ in consumers]
    async with asyncio.timeout(PATIENCE_S):
        while sum(map(len, got)) < count:
            for mine, consumer in zip(got, consumers, strict=True):
                batch = await consumer.next_batch(3, max_wait=0.05)
                mine += [int(message.text) for message in batch]
    return got


def add(got: list[list[int]], more: list[list[int]]) -> None:
    for mine, part in zip(got, more, strict=True):
        mine.extend(part)


async def finish(consumer: sl.Consumer) -> None:
    """Ask once more, so that what is in hand is done, and end."""
    assert await consumer.next_batch(1, max_wait=0.05) == []
    await consumer.end()


async def test_two_members_get_everything_together_and_each_gets_some(site: Site):
    topic, group = await site.topic(partitions=4), site.name()
    pair = await shared_by(site, topic, group, ["a", "b"])

    # In turns: where who asks first is given all there is, all of it would be one's.
    got: list[list[int]] = [[], []]
    for first in range(0, 400, 40):
        how: dict[str, Any] = {"partition_by": "round-robin", "partitions": 4}
        await site.send(topic, *range(first, first + 40), **how)
        add(got, await gather(pair, 40))
    for consumer in pair:
        await finish(consumer)

    assert Counter(got[0] + got[1]) == Counter(range(400))
    assert all(got)
    shown = (await site.broker.aio.groups()).filter(group=group)
    assert shown["behind"].sum() == 0
    assert set(shown["state"]) == {"empty"}


async def test_one_who_joins_and_one_who_leaves_cost_nothing(site: Site):
    topic, group = await site.topic(partitions=4), site.name()
    how: dict[str, Any] = {"partition_by": "round-robin", "partitions": 4}
    (a,) = await shared_by(site, topic, group, ["a"])
    await site.send(topic, *range(100), **how)
    first = await gather([a], 100)
    await a.next_batch(1, max_wait=0.05)

    b = await site.consumer(topic, group=group, member="b")
    if site.alone:
        async with asyncio.timeout(PATIENCE_S):
            while len(b.state) != 2 or len(a.state) != 2:
                await a.next_batch(1, max_wait=0.05)
                await b.next_batch(1, max_wait=0.05)
    second: list[list[int]] = [[], []]
    for at in range(100, 200, 20):
        await site.send(topic, *range(at, at + 20), **how)
        add(second, await gather([a, b], 20))
    await finish(b)
    await site.send(topic, *range(200, 300), **how)
    third = await gather([a], 100)
    await a.end()

    got = [number for part in first + second + third for number in part]
    assert Counter(got) == Counter(range(300))
    assert all(second)
    if site.alone:
        assert a.rebalances >= 2
        assert a.news


async def test_topics_that_come_to_match_a_pattern_are_shared_too(site: Site):
    base, group = site.name(), site.name()
    await site.send(f"{base}-a", 1, 2)
    member = await site.consumer(f"{base}-*", group=group, start="latest")
    assert await member.next_batch(1, max_wait=0.5) == []

    await site.send(f"{base}-b", 3, 4)
    (got,) = await gather([member], 2)
    await finish(member)

    assert got == [3, 4]


async def test_members_have_names_of_their_own(site: Site):
    topic, group = await site.topic(partitions=2), site.name()
    await site.send(topic, 1)
    async with (
        await site.consumer(topic, group=group) as a,
        await site.consumer(topic, group=group) as b,
    ):
        names = {a.member, b.member}
        async with asyncio.timeout(PATIENCE_S):
            shown: set[Any] = set()
            while not names <= shown:
                await a.next_batch(1, max_wait=0.05)
                await b.next_batch(1, max_wait=0.05)
                frame = (await site.broker.aio.groups()).filter(group=group)
                shown = set(frame["member"])

        assert len(names) == 2
        assert None not in names


async def test_who_reads_what_is_not_the_programs_to_say(site: Site):
    topic, group = await site.topic(), site.name()
    async with await site.consumer(topic, group=group) as member:
        for call in (
            member.seek("1h"),
            member.rewind("earliest"),
            member.assign(topic),
            member.unassign(topic),
        ):
            with pytest.raises(ModeError, match=r'load-balanced.*mode="resumable"'):
                await call
