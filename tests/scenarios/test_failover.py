"""A member crashes: what it had not committed comes again, to the others; no more than that."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.scenarios.site import PATIENCE_S, Site, take
from tests.scenarios.test_load_balanced import gather, shared_by

pytestmark = pytest.mark.broker


async def test_beta_gets_what_alpha_had_not_committed(site: Site):
    topic, group = await site.topic(), site.name()
    await site.send(topic, *range(10))
    alpha = await site.consumer(topic, group=group, member="alpha")
    assert await take(alpha, 5) == [*range(5)]
    await alpha.end(crash=True)

    beta = await site.consumer(topic, group=group, member="beta")
    got = await gather([beta], 10)
    await beta.next_batch(1, max_wait=0.05)
    await beta.commit()
    again = await site.consumer(topic, group=group, member="alpha")
    await site.send(topic, *range(10, 14))
    rest = await gather([again, beta], 4)
    await again.end()
    await beta.end()

    assert Counter(got[0]) == Counter(range(10))
    assert Counter(rest[0] + rest[1]) == Counter(range(10, 14))


async def test_a_crash_among_two_costs_only_what_was_not_committed(site: Site):
    topic, group = await site.topic(partitions=4), site.name()
    a, b = await shared_by(site, topic, group, ["a", "b"])
    await site.send(topic, *range(40), partition_by="round-robin", partitions=4)
    first = await gather([a, b], 40)
    for member in (a, b):
        await member.next_batch(1, max_wait=0.05)
        await member.commit()
    await site.send(topic, *range(40, 80), partition_by="round-robin", partitions=4)
    second = await gather([a, b], 40)

    await b.end(crash=True)
    seen: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while not set(second[1]) <= set(seen):
            batch = await a.next_batch(10, max_wait=0.05)
            seen += [int(message.text) for message in batch]
    await a.end()

    assert Counter(first[0] + first[1]) == Counter(range(40))
    assert Counter(seen) == Counter(second[1])
    assert second[1]
