"""What a Kafka connection writes: topics, sets of records, and what it throws away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from streamlab.backends.base import Consumer, PartitionInfo
from streamlab.backends.kafka import topics as kafka_topics
from streamlab.backends.kafka.clerk import Clerk
from streamlab.backends.kafka.client import Client
from streamlab.backends.kafka.pen import Pen
from streamlab.backends.kafka.transactions import KafkaTransactions
from streamlab.backends.kafka.writer import KafkaProducer, Lender
from streamlab.errors import UsageError
from streamlab.records import Offset, Partition, Resolved

Info = Callable[[str], Awaitable[Sequence[PartitionInfo]]]
Between = Callable[[Resolved, Resolved], Awaitable[Consumer]]


class Writing:
    """The writers of one connection, and the client they share."""

    def __init__(self, client: Client) -> None:
        """Connects at the first write."""
        self._settings = client.settings
        self._clerk = Clerk(client)
        self._pen = Pen(client.settings)
        self._transactions: set[KafkaTransactions] = set()

    async def producer(
        self, topic: str, *, partitions: int | None = None
    ) -> KafkaProducer:
        """A writer of one topic."""
        return await self._writer(self._pen, topic, partitions)

    async def transactions(self, name: str) -> KafkaTransactions:
        """A writer of sets of records."""
        made = KafkaTransactions(self._settings, name, self._writer)
        self._transactions.add(made)
        await made.open()
        return made

    async def trim(
        self,
        topic: str,
        *,
        keep: int | None,
        before: Resolved | None,
        info: Info,
        between: Between,
    ) -> int:
        """Throw the oldest records away; returns how many offsets are gone.

        Args:
            topic: of which.
            keep: all but so many records of each partition.
            before: all before these offsets.
            info: tells what partitions hold.
            between: reads a range of them.
        """
        if (keep is None) == (before is None) or (keep or 0) < 0:
            raise UsageError(
                f"trim({topic!r}): say keep= (records of each partition, 0 or more) or "
                "before= (offsets), one of the two."
            )
        there = {each.partition: each for each in await info(topic)}
        if before is None:
            cuts = await _newest(there, keep or 0, between)
        else:
            cuts = {
                p: min(int(at), int(there[p].next))
                for p, at in before.items()
                if p in there
            }
        first = {p: int(each.first) for p, each in there.items()}
        cuts = {p: at for p, at in cuts.items() if at > first[p]}
        if not cuts:
            return 0
        lows = await kafka_topics.delete_before(self._clerk, self._settings, cuts)
        return sum(low - first[p] for p, low in lows.items())

    async def aclose(self) -> None:
        """Give up what is under way; bounded by two seconds."""
        await asyncio.gather(
            self._pen.aclose(), *[each.aclose() for each in self._transactions]
        )

    async def _writer(
        self, pen: Lender, topic: str, partitions: int | None = None
    ) -> KafkaProducer:
        there = await kafka_topics.ensure(
            self._clerk, self._settings, topic, partitions
        )
        most = await kafka_topics.most_bytes(self._clerk, topic)
        return KafkaProducer(
            self._settings, pen, topic, partitions=there, most_bytes=most
        )


async def _newest(
    there: dict[Partition, PartitionInfo], keep: int, between: Between
) -> dict[Partition, int]:
    """Where the newest `keep` records of each partition begin, or a little before."""
    return {p: await _newest_of(each, keep, between) for p, each in there.items()}


async def _newest_of(each: PartitionInfo, keep: int, between: Between) -> int:
    """Counts records, not offsets: transactions and compaction leave gaps."""
    first, end = int(each.first), int(each.next)
    back = keep
    while keep and end - back > first and each.records != end - first:
        held = await _count(each.partition, end - back, end, between)
        if held >= keep:
            break
        back += 2 * (keep - held)
    return max(first, end - back)


async def _count(partition: Partition, start: int, end: int, between: Between) -> int:
    places: tuple[dict[Partition, Offset], ...] = ({partition: start}, {partition: end})
    reader = await between(*places)
    held = 0
    try:
        while not reader.ended:
            held += sum(len(b.values) for b in await reader.receive(10_000, 1.0))
    finally:
        await reader.aclose()
    return held
