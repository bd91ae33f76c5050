"""Groups as the broker keeps them: made on first use, looked at, never by looking."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import streamlab as sl
from tests.scenarios.site import Site, take
from tests.scenarios.test_load_balanced import gather

pytestmark = pytest.mark.broker


async def groups(site: Site, group: str) -> pl.DataFrame:
    return (await site.broker.aio.groups()).filter(group=group)


async def test_a_group_is_made_when_it_is_joined_and_kept_when_it_is_left(site: Site):
    topic, group = await site.topic(), site.name()
    before = await groups(site, group)
    async with await site.consumer(topic, group=group, member="a") as consumer:
        await site.send(topic, *range(5))
        assert (await gather([consumer], 5))[0] == [*range(5)]
        assert await consumer.next_batch(1, max_wait=0.05) == []
        during = await groups(site, group)
    after = await groups(site, group)

    assert before.is_empty()
    row = during.row(0, named=True)
    assert (row["state"], row["topic"], row["partition"]) == ("stable", topic, 0)
    assert row["member"] == "a"
    assert after["state"].to_list() == ["empty"]
    assert after["member"].to_list() == [None]


async def test_info_tells_how_far_a_group_is_behind(site: Site):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(10))
    handle = site.broker.topic(topic)
    none = await handle.aio.info(group=group)
    how: dict[str, Any] = {"group": group, "mode": "resumable"}
    async with await site.consumer(topic, **how) as consumer:
        got = await take(consumer, 10)
        await consumer.next_batch(1, max_wait=0.05)
    await site.send(topic, 10, 11)
    done = await handle.aio.info(group=group)

    assert got == [*range(10)]
    assert none["committed"].to_list() == [None]
    assert none["behind"].to_list() == [10]
    assert done["behind"].to_list()[0] in {2, None}
    assert "committed" not in (await handle.aio.info()).columns


async def test_looking_joins_no_group(site: Site):
    topic = await site.topic()
    await site.send(topic, *range(5))
    before = set((await site.broker.aio.groups())["group"])

    handle = site.broker.topic(topic, format="text")
    await handle.aio.peek()
    await handle.aio.info(group="nobody")
    await handle.aio.read()
    await site.broker.aio.topics()
    async with await site.consumer(topic) as consumer:
        await take(consumer, 5)
        during = set((await site.broker.aio.groups())["group"])

    assert before == during == set((await site.broker.aio.groups())["group"])


async def test_two_groups_do_not_take_from_each_other(site: Site):
    topic = await site.topic()
    await site.send(topic, *range(20))
    one = await site.consumer(topic, group=site.name())
    two = await site.consumer(topic, group=site.name())

    assert (await gather([one], 20))[0] == [*range(20)]
    assert (await gather([two], 20))[0] == [*range(20)]
    await one.end()
    await two.end()


async def test_old_messages_are_thrown_away_by_number_and_by_place(site: Site):
    topic = await site.topic()
    receipts = await site.send(topic, *range(10))
    handle = site.broker.topic(topic)

    gone = await handle.aio.trim(before={0: receipts[4].offset})
    async with await site.consumer(topic) as consumer:
        left = await take(consumer, 6)
    await handle.aio.trim(keep=0)
    empty = await handle.aio.info()

    assert gone == 4
    assert left == [*range(4, 10)]
    assert empty["records"].to_list()[0] in {0, None}
    with pytest.raises(sl.errors.UsageError, match="say one of keep"):
        await handle.aio.trim()


async def test_readers_and_writers_may_start_in_any_order(site: Site):
    topic, group = site.name(), site.name()

    async with await site.consumer(topic, group=group, create=1) as consumer:
        await site.send(topic, *range(5))

        assert (await gather([consumer], 5))[0] == [*range(5)]


async def test_a_topic_that_is_not_there_is_an_error_unless_it_shall_be_made(
    site: Site,
):
    if site.kind == "memory":
        pytest.skip("a broker in memory makes a topic when it is first read")

    with pytest.raises(sl.errors.TopicNotFoundError, match="no topic"):
        await site.consumer(site.name(), group=site.name())
