"""A file's consumer whose streams can be changed: it begins anew where each of them is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from streamlab.backends.file.reader import FileConsumer
from streamlab.errors import ConnectError
from streamlab.records import Offset, Partition, PartitionState, Records, Resolved

# Opens the file at these places, with the same stops as before.
Open = Callable[[Resolved], Awaitable[FileConsumer]]


class MovingFileConsumer:
    """Reads streams of one file; owned by one task.

    A file is read forwards only, all its streams in one go: to go elsewhere in one of them means
    to open it again.
    """

    def __init__(self, reader: FileConsumer, reopen: Open) -> None:
        """Begin with `reader`."""
        self._reader: FileConsumer | None = reader
        self._reopen = reopen
        self._closed = False

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        if self._reader is not None:
            return await self._reader.receive(max_records, max_wait)
        if self._closed:
            raise ConnectError("this consumer was closed.")
        await asyncio.sleep(max_wait)
        return ()

    def state(self) -> Mapping[Partition, PartitionState]:
        return {} if self._reader is None else self._reader.state()

    @property
    def ended(self) -> bool:
        return self._reader is not None and self._reader.ended

    @property
    def lost(self) -> int:
        return 0  # nothing ever leaves a file

    @property
    def trouble(self) -> str | None:
        return None if self._reader is None else self._reader.trouble

    async def assign(self, start: Resolved) -> None:
        await self._open({**self._places(), **start})

    async def unassign(self, partitions: Collection[Partition]) -> None:
        gone = frozenset(partitions)
        await self._open({p: at for p, at in self._places().items() if p not in gone})

    async def aclose(self) -> None:
        self._closed = True
        if self._reader is not None:
            await self._reader.aclose()

    def _places(self) -> dict[Partition, Offset]:
        return {p: state.next for p, state in self.state().items()}

    async def _open(self, start: Resolved) -> None:
        if self._reader is not None:
            await self._reader.aclose()
        self._reader = await self._reopen(start) if start else None
