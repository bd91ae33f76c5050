"""Going elsewhere: a position names the first message that comes, on every backend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import PositionError, UsageError
from tests.scenarios.site import Site, messages, nothing_comes, take

pytestmark = pytest.mark.broker
MODES = pytest.mark.parametrize("mode", ["real-time", "resumable"])


async def hundred(site: Site, mode: str) -> tuple[str, list[sl.Receipt], sl.Consumer]:
    """A topic of a hundred messages, some ms apart, and a consumer that is somewhere in it."""
    topic = await site.topic()
    receipts: list[sl.Receipt] = []
    async with await site.broker.aio.producer(topic) as producer:
        for number in range(100):
            receipt = await producer.send(str(number))
            while number == 29 and datetime.now(UTC) <= receipt.timestamp + timedelta(
                milliseconds=2
            ):
                pass
            receipts.append(receipt)
    how: dict[str, Any] = {} if mode == "real-time" else {"group": site.name()}
    consumer = await site.consumer(topic, mode=mode, **how)
    assert await take(consumer, 37) == [*range(37)]
    return topic, receipts, consumer


@MODES
async def test_rewinding_names_the_first_message_that_comes(site: Site, mode: str):
    topic, receipts, consumer = await hundred(site, mode)

    await consumer.rewind("earliest")
    assert await take(consumer, 100) == [*range(100)]
    await consumer.rewind({0: receipts[30].offset})
    assert await take(consumer, 70) == [*range(30, 100)]
    await consumer.rewind(-10)
    assert await take(consumer, 10) == [*range(90, 100)]
    await consumer.rewind("latest")
    assert await nothing_comes(consumer)
    await site.send(topic, 100)
    assert await take(consumer, 1) == [100]
    await consumer.end()


@MODES
async def test_seeking_names_the_first_message_at_or_after_a_time(
    site: Site, mode: str
):
    _, receipts, consumer = await hundred(site, mode)
    stamps = [receipt.timestamp_ms for receipt in receipts]

    for at in (stamps[50], stamps[29] + 1, stamps[0]):
        await consumer.seek(datetime.fromtimestamp(at / 1000, UTC))
        (first,) = await messages(consumer, 1)
        wanted = next(n for n, stamp in enumerate(stamps) if stamp >= at)
        assert int(first.text) == wanted
    await consumer.seek("1h")
    assert await take(consumer, 1) == [0]
    await consumer.end()


async def test_what_was_fetched_before_does_not_come_after(site: Site):
    _, receipts, consumer = await hundred(site, "real-time")

    for at in (80, 3, 99, 0):
        await consumer.rewind({0: receipts[at].offset})
        assert await take(consumer, 1) == [at]
    await consumer.end()


async def test_seek_takes_times_and_rewind_what_is_a_position(site: Site):
    topic = await site.topic()
    async with await site.consumer(topic) as consumer:
        with pytest.raises(UsageError, match=r"Anywhere else: rewind\(-5\)"):
            await consumer.seek(-5)  # type: ignore[arg-type]
        with pytest.raises(PositionError, match="no position"):
            await consumer.rewind("beginning")
