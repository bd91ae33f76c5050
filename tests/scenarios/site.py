"""A broker of each kind for programs, as quick to miss the dead as it can be made.

A scenario takes the fixture `site` and runs once on each.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio

import streamlab as sl
from streamlab.topics.outbox import Pending

PATIENCE_S = 60.0  # until the test gives up; nothing is judged by time
KINDS = ("memory", "redis", "kafka")


@dataclass
class Site:
    """A broker, and how programs are tried on it.

    Attributes:
        kind: "memory", "redis" or "kafka".
        alone: each partition is read by one member of a group (else all share all of them).
        redis: a client beside, where it is one.
    """

    kind: str
    broker: sl.Broker
    alone: bool
    redis: redis.asyncio.Redis | None = None

    def name(self) -> str:
        """A topic, or a group, that nobody else has."""
        return f"t-{uuid.uuid4().hex[:12]}"

    async def topic(self, partitions: int = 1) -> str:
        """A new topic, which is there and empty."""
        name = self.name()
        if self.redis is None:
            producer = await self.broker.aio.producer(name, partitions=partitions)
            await producer.end()
            return name
        names = [f"{name}:{n}" for n in range(partitions)] if partitions > 1 else [name]
        for stream in names:
            await self.redis.xgroup_create(stream, "makes", mkstream=True)
            await self.redis.xgroup_destroy(stream, "makes")
        return name

    async def send(self, topic: str, *numbers: int, **how: Any) -> list[sl.Receipt]:
        """Messages that are numbers."""
        async with await self.broker.aio.producer(topic, **how) as producer:
            pending: list[Pending] = [producer.send_soon(str(n)) for n in numbers]
            return [await one for one in pending]

    async def consumer(self, names: str | Sequence[str], **how: Any) -> sl.Consumer:
        """A consumer that commits only when told to."""
        return await self.broker.aio.consumer(
            names, **({"start": "earliest", "commit_every": None} | how)
        )


async def take(consumer: sl.Consumer, count: int) -> list[int]:
    """The next so many messages, as numbers."""
    return [int(message.text) for message in await messages(consumer, count)]


async def messages(consumer: sl.Consumer, count: int) -> list[sl.Message]:
    """The next so many messages."""
    async with asyncio.timeout(PATIENCE_S):
        return [await consumer.next() for _ in range(count)]


async def nothing_comes(consumer: sl.Consumer) -> bool:
    """Whether nothing is there for it now."""
    return await consumer.next_batch(1, max_wait=0.5) == []


@pytest.fixture(params=KINDS)
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """One broker after the other."""
    kind: str = request.param
    options: dict[str, object] = {}
    url = "memory://programs?session=500ms"
    if kind == "redis":
        url = request.getfixturevalue("valkey").url
        options = {"claim_idle": 0.5, "claim_interval": 0.1}
    if kind == "kafka":
        url = request.getfixturevalue("kafka").url
        options = {
            "session_timeout_ms": 1_000,
            "heartbeat_interval_ms": 200,
            "rebalance_timeout_ms": 10_000,
        }
    broker = sl.connect(url, options=options)
    client = redis.asyncio.Redis.from_url(url) if kind == "redis" else None
    yield Site(kind, broker, alone=kind != "redis", redis=client)
    await broker.aio.close()
    if client is not None:
        await client.aclose()
