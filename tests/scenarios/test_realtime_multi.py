"""Several topics at once: quiet ones lose nothing beside busy ones."""

from __future__ import annotations

from collections import Counter

import pytest

from streamlab.errors import TopicNotFoundError
from tests.scenarios.site import Site, messages, nothing_comes, take

pytestmark = pytest.mark.broker


async def test_a_message_on_the_quiet_one_between_two_reads_is_not_lost(site: Site):
    busy, quiet = await site.topic(), await site.topic()
    consumer = await site.broker.aio.consumer([busy, quiet])

    await site.send(busy, *range(10))
    first = await take(consumer, 10)
    await site.send(quiet, 100)
    await site.send(busy, *range(10, 20))
    then = await take(consumer, 11)

    assert first == [*range(10)]
    assert Counter(then) == Counter([100, *range(10, 20)])
    await consumer.end()


async def test_one_busy_and_three_quiet_ones(site: Site):
    busy = await site.topic()
    quiet = [await site.topic() for _ in range(3)]
    consumer = await site.broker.aio.consumer([busy, *quiet])

    await site.send(busy, *range(500))
    for at, name in enumerate(quiet):
        await site.send(name, 1000 + at)

    seen = await take(consumer, 503)
    assert Counter(seen) == Counter([*range(500), 1000, 1001, 1002])
    await consumer.end()


@pytest.mark.parametrize("start", ["latest", "earliest"])
async def test_history_is_replayed_only_for_who_asks_for_it(site: Site, start: str):
    busy, quiet = await site.topic(), await site.topic()
    await site.send(busy, 1, 2)
    await site.send(quiet, 3, 4)
    consumer = await site.broker.aio.consumer([busy, quiet], start=start)

    await site.send(busy, 10)
    await site.send(quiet, 20)

    history = [1, 2, 3, 4] if start == "earliest" else []
    seen = await take(consumer, len(history) + 2)
    assert Counter(seen) == Counter([*history, 10, 20])
    assert await nothing_comes(consumer)
    await consumer.end()


async def test_five_rounds_of_busy_and_quiet_lose_nothing(site: Site):
    busy, quiet = await site.topic(), await site.topic()
    await site.send(quiet, -1)
    consumer = await site.broker.aio.consumer([busy, quiet])

    seen: list[int] = []
    wanted: list[int] = []
    for turn in range(5):
        many = [*range(turn * 100, turn * 100 + 50)]
        await site.send(busy, *many)
        seen += await take(consumer, 50)
        await site.send(quiet, 10_000 + turn)
        seen += await take(consumer, 1)
        wanted += [*many, 10_000 + turn]

    assert seen == wanted
    await consumer.end()


async def test_a_pattern_is_every_topic_that_matches_those_to_come_too(site: Site):
    base = site.name()
    await site.send(f"{base}-a", 1)
    await site.send(f"x{base}-a", 666)
    consumer = await site.consumer(f"{base}-*")
    first = await take(consumer, 1)

    await site.send(f"{base}-b", 2)
    (then,) = await messages(consumer, 1)

    assert first == [1]
    assert (then.topic, then.text) == (f"{base}-b", "2")
    await consumer.end()


async def test_a_pattern_that_nothing_matches_is_an_error(site: Site):
    await site.send("sensor-1", 1)

    with pytest.raises(TopicNotFoundError, match=r"no topic 'sensr-\*'.*'sensor-1'"):
        await site.consumer("sensr-*")


@pytest.mark.parametrize("mode", ["real-time", "resumable", "load-balanced"])
async def test_a_topic_that_is_missing_is_named_with_the_nearest(site: Site, mode: str):
    if site.kind == "memory":
        pytest.skip("reading makes topics there")
    topic = await site.topic()
    group = None if mode == "real-time" else site.name()

    with pytest.raises(TopicNotFoundError, match=f"no topic '{topic}x'.*'{topic}'"):
        await site.consumer(f"{topic}x", group=group, mode=mode)


async def test_partitions_that_are_added_are_read_from_their_start(site: Site):
    if site.kind != "memory":
        pytest.skip("grows only in memory here")
    from streamlab.backends.memory import broker as memory

    topic = await site.topic(partitions=2)
    consumer = await site.broker.aio.consumer(topic)

    memory.broker("programs").grow(topic, 4)
    await site.send(topic, *range(8), partition_by="round-robin")

    assert Counter(await take(consumer, 8)) == Counter(range(8))
    await consumer.end()
