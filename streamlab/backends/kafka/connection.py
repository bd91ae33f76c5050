"""Kafka, and what speaks its protocol (Redpanda), as topics.

Looking joins no group, commits nothing and makes no topic. Under `isolation_level`
"read_committed" (the default) the end is the last stable offset: records of transactions that
are still open don't exist yet, and those of aborted ones never did.

A user needs the rights DESCRIBE and READ on the topic; without DESCRIBE on the cluster the
sizes of partitions are unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from streamlab import positions
from streamlab.backends.base import (
    GroupInfo,
    Options,
    PartitionInfo,
    Revoked,
)
from streamlab.backends.kafka import batches as kafka_batches
from streamlab.backends.kafka.catalogue import EARLIEST, LATEST, Catalogue, numbers
from streamlab.backends.kafka.client import Client
from streamlab.backends.kafka.group import KafkaGroupConsumer
from streamlab.backends.kafka.options import Settings, settings
from streamlab.backends.kafka.pages import Pages
from streamlab.backends.kafka.reader import KafkaConsumer
from streamlab.backends.kafka.sharing import Sharing
from streamlab.backends.kafka.transactions import KafkaTransactions
from streamlab.backends.kafka.writer import KafkaProducer
from streamlab.backends.kafka.writing import Writing
from streamlab.errors import PositionError, TopicNotFoundError, UsageError
from streamlab.records import (
    AtOffsets,
    AtTime,
    Committed,
    Earliest,
    Latest,
    Newest,
    Offset,
    Partition,
    Position,
    Resolved,
)
from streamlab.uri import StreamUrl

# Before the first visible record there may be any number of aborted ones.
_PAGES_TO_FIRST = 20
# So many offsets are looked through for the number of records; with more it is unknown.
_COUNTED = 1_000


def connect(
    url: StreamUrl, options: Options, *, fast: bool | None = None
) -> KafkaConnection:
    """A connection to the cluster of `url`; nothing is sent yet.

    Args:
        url: kafka:// or kafka+ssl://, with one host or several.
        options: aiokafka's names, librdkafka's or Java's; the list is in kafka_options.
        fast: False reads record by record also where whole batches can be had.

    Raises:
        UsageError: an option or a part of the URL that can't be used.
    """
    return KafkaConnection(settings(url, options), fast=fast is not False)


def road() -> tuple[bool, str]:
    """Whether whole batches are read, and why or why not."""
    return kafka_batches.road()


class KafkaConnection:
    """One cluster: a client for questions, and one for each reader and writer."""

    def __init__(self, chosen: Settings, *, fast: bool = True) -> None:
        """Remember how to get there."""
        self._settings = chosen
        self._fast = fast
        self._client = Client(chosen)
        self._catalogue = Catalogue(self._client)
        self._open: set[KafkaConsumer] = set()
        self._writing = Writing(self._client)
        self._sharing = Sharing(self._client, read=self.consumer, resolve=self.resolve)

    @property
    def place(self) -> str:
        return self._settings.place

    @property
    def live_source(self) -> str:
        return "kafka"

    @property
    def ids_are_text(self) -> bool:
        return False

    async def topics(self) -> list[str]:
        return await self._catalogue.topics()

    async def partitions(self, topic: str) -> frozenset[Partition]:
        return frozenset(await self._catalogue.partitions(topic))

    async def info(self, topic: str) -> list[PartitionInfo]:
        leaders = await self._catalogue.leaders(topic)
        first = await self._offsets(leaders, EARLIEST)
        after = await self._offsets(leaders, LATEST)
        sizes = await self._catalogue.sizes(leaders)
        pages = Pages(self._catalogue)
        return list(
            await asyncio.gather(
                *(
                    self._line(pages, p, first[p], after[p], sizes.get(p))
                    for p in leaders
                )
            )
        )

    async def resolve(self, topic: str, position: Position) -> Resolved:
        leaders = await self._catalogue.leaders(topic)
        if isinstance(position, Earliest):
            return await self._offsets(leaders, EARLIEST)
        ends = await self._offsets(leaders, LATEST)
        match position:
            case Latest():
                return ends
            case AtTime(ms):
                return await self._at_time(ends, ms)
            case Newest(count):
                return await positions.newest(count, ends, Pages(self._catalogue).back)
            case AtOffsets(offsets):
                return {**ends, **self._at_offsets(topic, ends, offsets)}

    async def consumer(
        self, start: Resolved, stop: Resolved | None = None, *, on_lost: str = "skip"
    ) -> KafkaConsumer:
        if on_lost not in ("skip", "error"):
            raise UsageError(f'on_lost={on_lost!r}: there are "skip" and "error".')
        await self._check(start)
        reader = KafkaConsumer(
            self._catalogue,
            strict=on_lost == "error",
            fast=self._fast,
            forget=self._open.discard,
        )
        self._open.add(reader)
        try:
            await reader.begin(start, stop)
        except BaseException:
            await reader.aclose()
            raise
        return reader

    async def groups(self) -> list[GroupInfo]:
        return await self._sharing.groups()

    async def committed(self, group: str, topic: str) -> Mapping[Partition, Committed]:
        return await self._sharing.committed(group, topic)

    async def commit(self, group: str, done: Mapping[Partition, Committed]) -> None:
        await self._sharing.commit(group, done)

    async def group_consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Position,
        revoked: Revoked,
        name: str | None = None,
    ) -> KafkaGroupConsumer:
        return await self._sharing.join(
            topics, group=group, start=start, revoked=revoked, name=name
        )

    async def producer(
        self, topic: str, *, partitions: int | None = None
    ) -> KafkaProducer:
        return await self._writing.producer(topic, partitions=partitions)

    async def transactions(self, name: str) -> KafkaTransactions:
        return await self._writing.transactions(name)

    async def trim(
        self, topic: str, *, keep: int | None = None, before: Resolved | None = None
    ) -> int:
        return await self._writing.trim(
            topic, keep=keep, before=before, info=self.info, between=self.consumer
        )

    async def aclose(self) -> None:
        await asyncio.gather(self._sharing.aclose(), self._writing.aclose())
        await asyncio.gather(*(used.aclose() for used in list(self._open)))
        await self._client.aclose()

    # ---- positions ----------------------------------------------------------

    async def _offsets(
        self, partitions: Mapping[Partition, int], at: int
    ) -> dict[Partition, Offset]:
        found = await self._catalogue.offsets(dict.fromkeys(partitions, at))
        return {p: found[p][0] if found[p] else 0 for p in partitions}  # type: ignore[index]  # first and end are always known

    async def _at_time(self, ends: Resolved, ms: int) -> dict[Partition, Offset]:
        """The first records that a reader is given and that are not older than `ms`.

        The broker also finds records that were taken back with their transaction.
        """
        found = await self._catalogue.offsets(dict.fromkeys(ends, max(0, ms)))
        hits = {p: hit[0] for p, hit in found.items() if hit is not None}
        pages = Pages(self._catalogue)
        seen = await asyncio.gather(
            *(pages.first_at(p, at, ms) for p, at in hits.items())
        )
        visible = {p: at for p, at in zip(hits, seen, strict=True) if at is not None}
        return {**ends, **visible}

    def _at_offsets(
        self, topic: str, ends: Resolved, offsets: Mapping[int, Offset]
    ) -> dict[Partition, Offset]:
        found: dict[Partition, Offset] = {}
        for number, offset in offsets.items():
            partition = Partition(topic, number)
            if partition not in ends:
                raise PositionError(
                    f"{topic!r} on {self.place} has no partition {number}. "
                    f"There are: {numbers(ends)}."
                )
            if not isinstance(offset, int):
                raise PositionError(
                    f"{topic!r} on {self.place}: {offset!r} is a Redis entry id, and "
                    f"Kafka's offsets are numbers. Write {{{number}: 500}}."
                )
            found[partition] = offset
        return found

    async def _check(self, start: Resolved) -> None:
        for topic in {partition.topic for partition in start}:
            leaders = await self._catalogue.leaders(topic)
            for partition in start:
                if partition.topic == topic and partition not in leaders:
                    raise TopicNotFoundError(
                        f"{topic!r} on {self.place} has no partition {partition.number}."
                    )

    # ---- what is there ------------------------------------------------------

    async def _line(
        self,
        pages: Pages,
        partition: Partition,
        first: Offset,
        after: Offset,
        size: int | None,
    ) -> PartitionInfo:
        if first == after:
            return PartitionInfo(partition, after, after, 0, size, None, None)
        head, whole = await self._head(pages, partition, int(first), int(after))
        if head is None:
            return PartitionInfo(partition, first, after, None, size, None, None)
        if not head:
            return PartitionInfo(partition, after, after, 0, size, None, None)
        tail = [head[-1]] if whole else await pages.back(partition, after, 1)
        return PartitionInfo(
            partition,
            head[0][0],
            after,
            len(head) if whole else None,
            size,
            tail[0][1] if tail else None,
            head[0][1],
        )

    async def _head(
        self, pages: Pages, partition: Partition, first: int, after: int
    ) -> tuple[list[tuple[int, int]] | None, bool]:
        """The first visible records, and whether these are all there are before `after`.

        None where they lie behind too much that isn't visible to look for them.
        """
        seen: list[tuple[int, int]] = []
        countable = after - first <= _COUNTED
        left = _PAGES_TO_FIRST
        async for page in pages.onward(partition, first, after):
            seen += page.found
            left -= 1
            if page.last or page.after >= after:
                return seen, True
            if not left or (seen and not countable):
                break
        return seen or None, False
