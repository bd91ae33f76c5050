"""FRAME: what was read and has not been handed over yet: at most one block ahead of the worker.

That nothing more is fetched while it is full is all the back-pressure there is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

from streamlab.clocks import SYSTEM
from streamlab.records import Partition, Records

BLOCK = 50_000  # records a decode under load: per-call costs vanish, and caches still hold it
FEWEST = 1_000
RATE_OVER = 5.0  # seconds that the shown rate is a mean of


class Hopper:
    """Blocks of records on their way to the worker. Belongs to the I/O loop.

    Attributes:
        arrivals: when how many records came, over the last seconds.
        newest_ms: broker time of the newest record so far.
        stirred: set when there is a reason to hand over.
        full: set when there is enough to hand over without waiting for the tick.
    """

    def __init__(self, budget_bytes: int) -> None:
        """Empty; `budget_bytes` is what the source and all derived from it may hold."""
        self.arrivals: deque[tuple[float, int]] = deque()
        self.newest_ms: int | None = None
        self.stirred = asyncio.Event()
        self.full = asyncio.Event()
        self._budget = budget_bytes
        self._blocks: list[Records] = []
        self._held = 0
        self._limit = FEWEST  # until the first records tell how large they are
        self._room = asyncio.Event()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._blocks)

    @property
    def partitions(self) -> frozenset[Partition]:
        """Those of which something waits."""
        return frozenset(block.partition for block in self._blocks)

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched."""
        return self._held < self._limit

    @property
    def wants(self) -> int:
        """How many records may be fetched."""
        return max(1, self._limit - self._held)

    async def until_room(self) -> None:
        """Return once more may be fetched."""
        while not self.has_room:
            self._room.clear()
            await self._room.wait()

    def put(self, blocks: Sequence[Records]) -> None:
        """Records that have come; at least one block."""
        count = sum(len(block.values) for block in blocks)
        self._blocks.extend(blocks)
        self._held += count
        self._note_arrival(blocks, count)
        sample = blocks[0].values[:50]
        mean = sum(len(value or b"") for value in sample) / len(sample) + 50
        self._limit = int(min(BLOCK, max(FEWEST, self._budget / 16 / mean)))
        self.stirred.set()
        if self._held >= self._limit // 2:
            self.full.set()

    def take(self) -> list[Records]:
        """All of it, in order of arrival."""
        blocks, self._blocks = self._blocks, []
        self._held = 0
        self.stirred.clear()
        self.full.clear()
        self._room.set()
        return blocks

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget what waits of these partitions."""
        self._blocks = [b for b in self._blocks if b.partition not in partitions]
        self._held = sum(len(block.values) for block in self._blocks)
        self._room.set()

    def hurry(self) -> None:
        """Hand over at once, whatever the tick says."""
        self.stirred.set()
        self.full.set()

    def _note_arrival(self, blocks: Sequence[Records], count: int) -> None:
        now = SYSTEM.running()
        self.arrivals.append((now, count))
        while self.arrivals and self.arrivals[0][0] < now - RATE_OVER:
            self.arrivals.popleft()
        newest = max(_last_ms(block) for block in blocks)
        self.newest_ms = max(self.newest_ms or newest, newest)


def _last_ms(block: Records) -> int:
    """Broker time of the last record of a block; on Redis the first half of its id."""
    if block.timestamps_ms is not None:
        return int(block.timestamps_ms[-1])
    return int(bytes(block.offsets[-1]).split(b"-")[0])
