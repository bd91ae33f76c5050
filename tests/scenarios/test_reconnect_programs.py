"""The broker is killed under a program and comes back: what it had taken is read, once committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

import streamlab as sl
from streamlab import servers
from streamlab.backends.memory import broker as memory
from streamlab.errors import BrokerError
from tests.brokers import need
from tests.scenarios.site import PATIENCE_S

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


@dataclass
class Fragile:
    """A broker of one's own that can be killed, and come back with what it had taken."""

    url: str
    kill: Callable[[], object]
    restart: Callable[[], object]


@pytest.fixture(
    params=["memory", "redis", pytest.param("kafka", marks=pytest.mark.slow)]
)
async def fragile(request: pytest.FixtureRequest) -> AsyncIterator[Fragile]:
    if request.param == "memory":
        there = memory.broker("fragile")
        yield Fragile("memory://fragile", there.cut, there.mend)
        return
    if request.param == "redis":
        need("valkey")
        server: servers.Valkey | servers.Kafka = servers.valkey(appendonly=True)
    else:
        need("kafka")
        server = servers.kafka()
    yield Fragile(server.url, server.kill, server.restart)
    server.close()


async def stubborn(producer: sl.Producer, number: int) -> sl.Receipt:
    """Send until the broker has taken it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await producer.send(str(number))
            except BrokerError:
                await asyncio.sleep(0.02)


async def test_a_program_outlives_its_broker(fragile: Fragile):
    broker = sl.connect(fragile.url)
    producer = await broker.aio.producer("orders")
    receipts = [await stubborn(producer, n) for n in range(20)]
    consumer = await broker.aio.consumer(
        "orders", group="g", mode="resumable", start="earliest", commit_every="50ms"
    )
    seen = [await consumer.next() for _ in range(10)]
    await consumer.commit()

    await asyncio.to_thread(fragile.kill)
    seen += await consumer.next_batch(3)
    async with asyncio.timeout(PATIENCE_S):
        while not (trouble := consumer.trouble):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)
    consumer.ack(seen[-1])
    with pytest.raises(BrokerError):
        await asyncio.wait_for(consumer.commit(), PATIENCE_S)
    await asyncio.to_thread(fragile.restart)
    receipts += [await stubborn(producer, n) for n in range(20, 40)]
    async with asyncio.timeout(PATIENCE_S):
        while len({message.id for message in seen}) < 40:
            seen += await consumer.next_batch(100, max_wait=0.1)
        while await consumer.next_batch(1, max_wait=0.1) or consumer.trouble:
            continue
    await consumer.end()
    await producer.end()
    again = await broker.aio.consumer("orders", group="g", mode="resumable")
    rest = await again.next_batch(100, max_wait=0.5)
    await again.end()
    await broker.aio.close()

    assert trouble
    assert {receipt.id for receipt in receipts} <= {message.id for message in seen}
    assert rest == []
