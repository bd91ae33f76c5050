"""Looking into a Kafka partition by messages: what is visible between two offsets.

Offsets lie: transactions leave markers, aborted records stay in the log, compaction and
deletion leave gaps. What a reader would be given is known only by looking.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from aiokafka import errors as aio
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka.catalogue import EARLIEST, Catalogue
from streamlab.backends.kafka.client import again
from streamlab.records import Offset, Partition

_WAIT_MS = 250
_SMALL, _LARGE = 1 << 16, 1 << 20
_MARGIN = 16  # offsets beside the messages wanted: markers are few as a rule
_WIDER = 4
_NEVER = 1 << 63


class Page(NamedTuple):
    """What one answer of the broker held.

    Attributes:
        found: (offset, ms) of the visible records, in order.
        after: where the next answer would begin.
        last: nothing lies behind it for a reader.
    """

    found: list[tuple[int, int]]
    after: int
    last: bool


class Pages:
    """Looks into partitions, for one question; keeps what that needs more than once."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Asks through the catalogue's client."""
        self._catalogue = catalogue
        self._settings = catalogue.client.settings
        self._leaders: dict[Partition, int] = {}
        self._first: dict[Partition, int] = {}

    async def back(
        self, partition: Partition, before: Offset, most: int
    ) -> Sequence[tuple[Offset, int]]:
        """As `positions.newest` asks: up to `most` messages before an offset, newest first."""
        if partition not in self._first:
            found = (await self._catalogue.offsets({partition: EARLIEST}))[partition]
            self._first[partition] = found[0] if found else 0
        first = self._first[partition]
        seen: list[tuple[int, int]] = []
        width = most + _MARGIN
        upto = int(before)
        while len(seen) < most and upto > first:
            start = max(first, upto - width)
            seen = await self._between(partition, start, upto) + seen
            upto, width = start, width * _WIDER
        return list(reversed(seen[-most:]))

    async def first_at(self, partition: Partition, start: int, ms: int) -> int | None:
        """The first visible record from `start` on whose time is `ms` or later."""
        async for page in self.onward(partition, start):
            for offset, at in page.found:
                if at >= ms:
                    return offset
        return None

    async def onward(
        self, partition: Partition, start: int, stop: int = _NEVER
    ) -> AsyncIterator[Page]:
        """Page after page to the end or the stop, larger and larger."""
        size = _SMALL
        while start < stop:
            page = await self._page(partition, start, stop, size)
            yield page
            if page.last:
                return
            start, size = page.after, min(_LARGE, size * 2)

    async def _between(
        self, partition: Partition, start: int, stop: int
    ) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        async for page in self.onward(partition, start, stop):
            found += page.found
        return found

    async def _page(
        self, partition: Partition, start: int, stop: int, size: int
    ) -> Page:
        """What the broker answers to one fetch of about `size` bytes.

        Raises:
            PermissionDeniedError: we may not read the topic.
        """

        async def ask() -> Page:
            try:
                return await self._ask(partition, start, stop, size)
            except aio.KafkaError:
                self._leaders.clear()
                raise

        try:
            found: Page = await again(ask)
        except aio.KafkaError as error:
            raise kafka_errors.translate(
                self._settings, error, topic=partition.topic
            ) from None
        return found

    async def _ask(
        self, partition: Partition, start: int, stop: int, size: int
    ) -> Page:
        if partition not in self._leaders:
            self._leaders |= await self._catalogue.leaders(partition.topic)
        node = self._leaders.get(partition, -1)
        if node < 0:
            raise aio.LeaderNotAvailableError
        isolation = self._catalogue.isolation
        request = FetchRequest(
            _WAIT_MS,
            1,
            size,
            isolation,
            [(partition.topic, [(partition.number, start, size)])],
        )
        answer = await self._catalogue.client.ask(request, node, topic=partition.topic)
        ((_, ((_, code, high, *rest),)),) = answer.topics
        if code == aio.OffsetOutOfRangeError.errno:
            return Page([], start, last=True)
        if code:
            raise aio.for_code(code)
        stable = rest[0] if isolation and rest[0] >= 0 else high
        aborted = rest[2] if answer.API_VERSION >= 11 else rest[-2]
        records = PartitionRecords(
            TopicPartition(*partition),
            MemoryRecords(rest[-1]),
            aborted,
            start,
            key_deserializer=None,
            value_deserializer=None,
            check_crcs=True,
            isolation_level=isolation,
        )
        found: list[tuple[int, int]] = []
        for record in records:
            if record.offset >= stop:
                break
            found.append((record.offset, record.timestamp))
        after = records.next_fetch_offset
        return Page(found, after, after >= stable or after == start)
