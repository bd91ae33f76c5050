"""Several readers read as one, for streams that no single command can name (in a cluster)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

from streamlab.backends.redis import parse as redis_parse
from streamlab.backends.redis.steps import Steps
from streamlab.records import Records

_STEP_S = 1.0  # a reader nobody waits for goes on for so long


class Merge:
    """Owned by one task. A single reader is read directly; several by a task each.

    Attributes:
        held: what came and has not been handed over.
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.held: deque[Records] = deque()
        self._tasks: dict[Steps, asyncio.Task[Sequence[Records]]] = {}

    async def receive(
        self, readers: Collection[Steps], most: int, wait: float
    ) -> Sequence[Records]:
        """At most so many records from whoever has some first."""
        if len(readers) == 1 and not self._tasks and not self.held:
            (reader,) = readers
            return await reader.receive(most, wait)
        if not self.held:
            for reader in readers:
                if reader not in self._tasks and not reader.ended:
                    self._tasks[reader] = asyncio.create_task(
                        reader.receive(most, _STEP_S)
                    )
            if not self._tasks:
                await asyncio.sleep(wait)
            await self._first(wait)
        return redis_parse.take(self.held, most)

    async def settle(self, *readers: Steps) -> None:
        """Let these readers rest; what they have brought is kept."""
        tasks = {r: self._tasks.pop(r) for r in readers if r in self._tasks}
        for task in tasks.values():
            task.cancel()
        for found in await asyncio.gather(*tasks.values(), return_exceptions=True):
            if not isinstance(found, BaseException):
                self.held.extend(found)

    async def settle_all(self) -> None:
        """Let all of them rest."""
        await self.settle(*self._tasks)

    async def _first(self, wait: float) -> None:
        if not self._tasks:
            return
        await asyncio.wait(
            self._tasks.values(), timeout=wait, return_when=asyncio.FIRST_COMPLETED
        )
        for reader, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[reader]
                self.held.extend(task.result())
