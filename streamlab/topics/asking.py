"""Questions to a broker, with an end to the patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from streamlab.backends.base import Connection
from streamlab.errors import ConnectError

T = TypeVar("T")
REQUEST_SECONDS = 10.0  # without progress


async def within(connection: Connection, work: Awaitable[T]) -> T:
    """`work`, or an error once the broker has been silent for too long."""
    try:
        return await asyncio.wait_for(work, REQUEST_SECONDS)
    except TimeoutError:
        raise ConnectError(
            f"{connection.place} has not answered for {REQUEST_SECONDS:g} s."
        ) from None
