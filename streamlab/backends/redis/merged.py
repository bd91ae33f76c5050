"""A reader of streams that no single command can name: in a cluster, one reader for each slot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

from streamlab.backends.redis.cursor import Cursor
from streamlab.backends.redis.merge import Merge
from streamlab.backends.redis.reader import Place, RedisConsumer
from streamlab.backends.redis.route import Route
from streamlab.records import Partition, PartitionState, Records, Resolved

# Makes a reader of these streams, which can stand in one command.
Make = Callable[[Sequence[Cursor]], RedisConsumer]


class MergedConsumer:
    """Reads as one what several readers bring; owned by one task."""

    def __init__(
        self,
        route: Route,
        cursors: Sequence[Cursor],
        *,
        make: Make,
        place: Place,
        forget: Callable[[MergedConsumer], None],
    ) -> None:
        """Begin to read; connections are made when something is received.

        Args:
            route: says which streams can stand in one command.
            cursors: one per partition.
            make: makes a reader.
            place: makes cursors for further partitions.
            forget: called once this reader is closed.
        """
        self._route = route
        self._make, self._place = make, place
        self._forget = forget
        self._merge = Merge()
        self._readers: dict[Hashable, RedisConsumer] = {}
        self._emptied = self._closed = False
        self._begin(cursors)

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        readers = [*self._readers.values()]
        return await self._merge.receive(readers, max_records, max_wait)

    def state(self) -> Mapping[Partition, PartitionState]:
        states: dict[Partition, PartitionState] = {}
        for reader in self._readers.values():
            states |= reader.state()
        for block in reversed(self._merge.held):
            first = block.offsets[0]
            if isinstance(first, bytes) and block.partition in states:
                states[block.partition] = PartitionState(
                    first.decode(), caught_up=False, ended=False, behind=None
                )
        return states

    @property
    def ended(self) -> bool:
        if self._closed or not self._readers:
            return self._closed or not self._emptied
        return not self._merge.held and all(r.ended for r in self._readers.values())

    @property
    def lost(self) -> int:
        return sum(reader.lost for reader in self._readers.values())

    @property
    def skipped(self) -> int:
        """Entries without the payload field: passed over, not delivered."""
        return sum(reader.skipped for reader in self._readers.values())

    @property
    def trouble(self) -> str | None:
        return next((r.trouble for r in self._readers.values() if r.trouble), None)

    async def assign(self, start: Resolved) -> None:
        cursors = await self._place(start)
        await self._merge.settle_all()
        self._drop_held(start)
        new: list[Cursor] = []
        for cursor in cursors:
            reader = self._readers.get(self._route.together(cursor.key.decode()))
            if reader is None:
                new.append(cursor)
            else:
                partition = cursor.partition
                await reader.assign({partition: start[partition]})
        self._begin(new)

    async def unassign(self, partitions: Collection[Partition]) -> None:
        await self._merge.settle_all()
        self._drop_held(partitions)
        for place, reader in list(self._readers.items()):
            await reader.unassign(partitions)
            if not reader.state():
                del self._readers[place]
                await reader.aclose()
        self._emptied = not self._readers

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._forget(self)
        await self._merge.settle_all()
        self._merge.held.clear()
        await asyncio.gather(*(r.aclose() for r in self._readers.values()))

    # ---- within -------------------------------------------------------------

    def _begin(self, cursors: Sequence[Cursor]) -> None:
        places: dict[Hashable, list[Cursor]] = {}
        for cursor in cursors:
            place = self._route.together(cursor.key.decode())
            places.setdefault(place, []).append(cursor)
        for place, mine in places.items():
            self._readers[place] = self._make(mine)

    def _drop_held(self, partitions: Collection[Partition]) -> None:
        kept = [b for b in self._merge.held if b.partition not in partitions]
        self._merge.held.clear()
        self._merge.held.extend(kept)
