"""The only reader of time. Everything else is handed a `Clock`."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for positions and displays, running time for waits and idleness."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...

    def running(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of this clock's running time have passed."""
        ...


class SystemClock:
    """The machine's own time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def running(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class HandClock:
    """A clock that moves only when told to, for tests and for teaching.

    `advance` may be called from any thread; sleepers wake on their own loops.
    """

    def __init__(self, start_ms: int = 0) -> None:
        """Stand still at `start_ms` (ms since 1970)."""
        self._start_ms = start_ms
        self._running = 0.0
        self._order = itertools.count()
        self._sleepers: list[
            tuple[float, int, asyncio.AbstractEventLoop, asyncio.Future[None]]
        ] = []

    def now_ms(self) -> int:
        return self._start_ms + round(self._running * 1000)

    def running(self) -> float:
        return self._running

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        heapq.heappush(
            self._sleepers, (self._running + seconds, next(self._order), loop, woken)
        )
        await woken

    def advance(self, seconds: float) -> None:
        """Move on by `seconds` and wake who has slept long enough."""
        self._running += seconds
        while self._sleepers and self._sleepers[0][0] <= self._running:
            _, _, loop, woken = heapq.heappop(self._sleepers)
            loop.call_soon_threadsafe(_wake, woken)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


SYSTEM = SystemClock()
