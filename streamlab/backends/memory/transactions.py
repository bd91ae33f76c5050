"""Transactions of the broker in memory: what is sent is kept back until the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamlab.backends.base import Producer
from streamlab.backends.inprocess.log import LogTopic
from streamlab.backends.memory.groups import Group
from streamlab.errors import BrokerError, UsageError
from streamlab.records import Committed, Outgoing, Partition, Sent


class MemoryTransactions:
    """Writes whole sets of records or none of them; owned by one task."""

    def __init__(
        self,
        name: str,
        writers: dict[str, object],
        *,
        topic: Callable[[str], LogTopic],
        group: Callable[[str], Group],
    ) -> None:
        """Take over from whoever used `name` before.

        Args:
            name: of this writer, for the broker.
            writers: the broker's: who uses which name now.
            topic: finds the broker's topics, by name.
            group: finds its groups.
        """
        self._name, self._writers = name, writers
        self._topic, self._group = topic, group
        self._kept: list[tuple[LogTopic, Outgoing]] | None = None
        writers[name] = self

    async def begin(self) -> None:
        self._still_ours()
        self._kept = []

    async def producer(self, topic: str) -> Producer:
        return _Kept(self, self._topic(topic))

    async def commit(
        self,
        group: str | None = None,
        done: Mapping[Partition, Committed] | None = None,
    ) -> None:
        self._still_ours()
        kept, self._kept = self._under_way(), None
        for topic, rows in kept:
            topic.append(rows)
        if group is not None and done:
            self._group(group).commit(done)

    async def abort(self) -> None:
        self._kept = None

    async def aclose(self) -> None:
        await self.abort()

    def keep(self, topic: LogTopic, rows: Outgoing) -> Sent:
        """Keep rows back until the commit; what their offsets will be nobody knows yet."""
        self._still_ours()
        kept = self._under_way()
        now = topic.clock.now_ms()
        with topic.lock:
            chosen = topic.choose(rows)
        count = len(rows.values)
        times = rows.timestamps_ms or [now] * count
        kept.append((topic, rows._replace(partitions=chosen, timestamps_ms=times)))
        return Sent(chosen, [-1] * count, times)

    def _under_way(self) -> list[tuple[LogTopic, Outgoing]]:
        if self._kept is None:
            raise UsageError(
                f"transactional_id={self._name!r}: no transaction is under way. "
                "Write: async with producer.transaction(): …"
            )
        return self._kept

    def _still_ours(self) -> None:
        if self._writers.get(self._name) is not self:
            raise BrokerError(
                f"transactional_id={self._name!r}: another writer of that name has taken "
                "over. Give each writer a name of its own."
            )


class _Kept:
    """Writes to one topic, as part of a set."""

    def __init__(self, transactions: MemoryTransactions, topic: LogTopic) -> None:
        self._transactions, self._topic = transactions, topic

    @property
    def partitions(self) -> int:
        return len(self._topic.logs)

    async def send(self, rows: Outgoing) -> Sent:
        return self._transactions.keep(self._topic, rows)

    async def aclose(self) -> None:
        """Nothing is on its way: the set belongs to the transaction."""
