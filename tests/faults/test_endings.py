"""Clients that are closed, or cancel their own tasks: nobody else ends or waits with them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient

from streamlab import servers
from streamlab.backends.inprocess.log_reader import LogConsumer
from streamlab.backends.kafka.client import bounded, refreshed
from streamlab.errors import StreamFailedError
from tests.scenarios.lab import SEVERAL, TYPES, topic


async def test_a_client_that_is_cancelled_within_while_it_closes_is_closed() -> None:
    async def closing() -> None:
        raise asyncio.CancelledError

    await bounded(closing())


@pytest.mark.broker
async def test_a_look_by_a_client_that_somebody_has_closed_comes_to_an_end(
    kafka: servers.Kafka,
) -> None:
    """A reader that is not answered takes the connection's client away from a commit."""
    client = AIOKafkaClient(bootstrap_servers=f"{kafka.host}:{kafka.port}")
    await client.bootstrap()
    await client.close()

    async with asyncio.timeout(20):
        await refreshed(client)


def test_a_reading_that_is_cancelled_from_within_has_failed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of tasks takes a child that was cancelled for one that ended well."""
    source = topic(name, format="json", schema=TYPES)
    source.send(SEVERAL)

    async def receive(*_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(LogConsumer, "receive", receive)
    live = source.live(start="earliest")

    with pytest.raises(StreamFailedError, match="broke off"):
        live.wait(count=1)
