"""Programs on what is only read: recordings and demos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import streamlab as sl
from streamlab.errors import UsageError
from tests.scenarios.site import messages

TRADES = Path(sl.__file__).parent / "data" / "trades.ss"


async def test_a_recording_is_read_to_its_end_and_gone_about_in():
    broker = sl.connect(f"file://{TRADES}")
    names = await broker.aio.topics()
    everything = await broker.aio.consumer(names, start="earliest", until="latest")
    async with everything as consumer:
        seen = [message async for message in consumer]
        await consumer.rewind(-3)
        newest = [message async for message in consumer]
        await consumer.unassign(*seen[0].id[:2])
        await consumer.rewind("earliest")
        others = [message async for message in consumer]

    counts = Counter((m.topic, m.partition) for m in seen)
    left = {place: n for place, n in counts.items() if place != seen[0].id[:2]}
    assert len(seen) == 10_200
    assert Counter(m.topic for m in newest) == dict.fromkeys(names, 3)
    assert Counter((m.topic, m.partition) for m in others) == left


async def test_a_demo_is_read_from_its_first_record_again():
    broker = sl.connect("demo://trades?rate=max&count=500")
    async with await broker.aio.consumer("trades", start="earliest") as consumer:
        first = await messages(consumer, 500)
        await consumer.rewind("earliest")
        again = await messages(consumer, 500)

    assert sorted(m.id for m in first) == sorted(m.id for m in again)
    assert first[0].json()["symbol"]


@pytest.mark.parametrize("url", [f"file://{TRADES}", "demo://trades"])
async def test_groups_producers_and_trimming_are_refused_with_the_way_out(url: str):
    broker = sl.connect(url)

    with pytest.raises(UsageError, match="has no groups"):
        await broker.aio.consumer("trades", group="g")
    with pytest.raises(UsageError, match="memory:// topic"):
        await broker.aio.producer("trades")
    with pytest.raises(UsageError, match="nothing can be taken away"):
        await broker.topic("trades").aio.trim(keep=1)
    assert (await broker.aio.groups()).is_empty()
