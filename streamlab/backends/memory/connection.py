"""Connections to a broker in memory: what all logs can, and groups, transactions, trimming."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Protocol

from streamlab.backends.base import GroupConsumer, GroupInfo, Revoked, Transactions
from streamlab.backends.inprocess.connection import LogConnection, Shelf
from streamlab.backends.inprocess.log_reader import LogConsumer, number
from streamlab.backends.memory.groups import Group
from streamlab.backends.memory.member import MemoryMember
from streamlab.backends.memory.transactions import MemoryTransactions
from streamlab.errors import UsageError
from streamlab.records import Committed, Earliest, Offset, Partition, Position, Resolved


class Broker(Protocol):
    """What a connection needs of its broker beside the topics."""

    writers: dict[str, object]

    def groups(self) -> list[Group]:
        """The groups there are, by name."""
        ...

    def group(self, name: str) -> Group:
        """A group, made if it isn't there."""
        ...


class MemoryConnection(LogConnection):
    """One broker in memory, as one URL sees it."""

    def __init__(
        self, shelf: Shelf, broker: Broker, *, place: str, session: float
    ) -> None:
        """Read and write the topics of `shelf`; members of groups get so long a session."""
        super().__init__(shelf, place=place, live_source="memory")
        self._broker, self._session = broker, session

    async def groups(self) -> list[GroupInfo]:
        return [group.info() for group in self._broker.groups()]

    async def committed(self, group: str, topic: str) -> Mapping[Partition, Committed]:
        there = {each.name: each for each in self._broker.groups()}
        return there[group].committed(topic) if group in there else {}

    async def commit(self, group: str, done: Mapping[Partition, Committed]) -> None:
        for topic in {p.topic for p in done}:
            self._reachable(self._shelf.make(topic))
        self._broker.group(group).commit(done)

    async def group_consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Position,
        revoked: Revoked,
        name: str | None = None,
    ) -> GroupConsumer:
        begin = await self._resolve_all(topics, start=start)
        reader = LogConsumer(self._shelf.make, {}, place=self.place)
        member = MemoryMember(
            self._broker.group(group),
            reader,
            topics,
            begin,
            place=self.place,
            session=self._session,
            revoked=revoked,
            earliest=functools.partial(self._resolve_all, start=Earliest()),
            name=name,
        )
        self._consumers.add(member)
        return member

    async def _resolve_all(self, topics: Sequence[str], *, start: Position) -> Resolved:
        found: dict[Partition, Offset] = {}
        for topic in topics:
            found.update(await self.resolve(topic, start))
        return found

    async def transactions(self, name: str) -> Transactions:
        return MemoryTransactions(
            name,
            self._broker.writers,
            topic=self._shelf.to_write,
            group=self._broker.group,
        )

    async def trim(
        self, topic: str, *, keep: int | None = None, before: Resolved | None = None
    ) -> int:
        if keep is None and before is None:
            raise UsageError("trim: say keep= or before=.")
        found = self._reachable(self._shelf.find(topic))
        ends = before or {}
        gone = 0
        for at in range(len(found.logs)):
            end = ends.get(Partition(topic, at))
            stop = None if end is None else number(end)
            gone += found.trim(at, keep=keep, before=stop)
        return gone
