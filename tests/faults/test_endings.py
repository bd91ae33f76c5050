"""A client library that cancels its own tasks ends nobody else's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamlab.backends.inprocess.log_reader import LogConsumer
from streamlab.backends.kafka.client import bounded
from streamlab.errors import StreamFailedError
from tests.scenarios.lab import SEVERAL, TYPES, topic


async def test_a_client_that_is_cancelled_within_while_it_closes_is_closed() -> None:
    async def closing() -> None:
        raise asyncio.CancelledError

    await bounded(closing())


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
