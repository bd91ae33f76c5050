"""What was fetched from Kafka and not handed out yet."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from streamlab.backends.kafka.batches import Batch, Columns, piece
from streamlab.records import Partition, Records

# Small batches of one partition become one block, up to about this many records.
_BLOCK = 20_000


class _Rest(NamedTuple):
    """A block of which rows before `at` are handed out; `after` is the offset behind it."""

    block: Records
    at: int
    after: int


class Shelf:
    """Records in the order they were fetched; packed as long as nobody wants them.

    Works with what `AIOKafkaConsumer.getmany` gives on either road: `Batch` objects, or
    aiokafka's own records, which are made into columns at once.
    """

    def __init__(self) -> None:
        """Nothing is there."""
        self._waiting: deque[tuple[Partition, Batch | _Rest]] = deque()
        self._counts: dict[Partition, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def holds(self, partition: Partition) -> bool:
        """Whether something of this partition lies here."""
        return self._counts.get(partition, 0) > 0

    def put(
        self, got: Mapping[Any, Sequence[Any]], stops: Mapping[Partition, int]
    ) -> None:
        """Take in what was fetched.

        Args:
            got: aiokafka's answer, by its `TopicPartition`.
            stops: first offset that isn't wanted any more, for the partitions that have one.
        """
        for (topic, number), items in got.items():
            partition = Partition(topic, number)
            stop = stops.get(partition)
            if items and not isinstance(items[0], Batch) and items[0] is not None:
                columns = Columns(partition)
                columns.add(items, 0, items[-1].offset + 1)
                self._add(partition, _Rest(columns.block(), 0, columns.after))
                continue
            for batch in items:
                if batch is not None and (stop is None or batch.base < stop):
                    self._add(partition, batch)

    def take(
        self, most: int, stops: Mapping[Partition, int], reached: dict[Partition, int]
    ) -> list[Records]:
        """Blocks with at most so many records in all.

        Args:
            most: of all blocks together.
            stops: as for `put`.
            reached: is told, per partition, the offset behind what was taken.
        """
        taken: list[Records] = []
        while self._waiting and most > 0:
            rest = self._open(most)
            partition = rest.block.partition
            block = rest.block
            end = len(block.values)
            stop = stops.get(partition)
            if stop is not None and end and int(block.offsets[-1]) >= stop:
                end = bisect_left(block.offsets, stop)
            upto = min(end, rest.at + most)
            if upto < end:
                self._waiting.appendleft((partition, rest._replace(at=upto)))
                self._counts[partition] += 1
                reached[partition] = int(block.offsets[upto])
            else:
                reached[partition] = rest.after
            if upto > rest.at:
                whole = rest.at == 0 and upto == len(block.values)
                taken.append(block if whole else piece(block, rest.at, upto))
                most -= upto - rest.at
        return taken

    def drop(self, partitions: Collection[Partition]) -> None:
        """Throw away what lies here of these."""
        kept = [item for item in self._waiting if item[0] not in partitions]
        self._waiting = deque(kept)
        for partition in partitions:
            self._counts.pop(partition, None)

    def clear(self) -> None:
        """Throw everything away."""
        self._waiting.clear()
        self._counts.clear()

    def _add(self, partition: Partition, item: Batch | _Rest) -> None:
        self._waiting.append((partition, item))
        self._counts[partition] = self._counts.get(partition, 0) + 1

    def _next(self) -> Batch | _Rest:
        partition, item = self._waiting.popleft()
        self._counts[partition] -= 1
        return item

    def _open(self, most: int) -> _Rest:
        """What comes first, unpacked: some batches of one partition, enough for `most`."""
        partition, _ = self._waiting[0]
        item = self._next()
        if isinstance(item, _Rest):
            return item
        columns = Columns(partition)
        item.unpack(columns)
        while len(columns) < min(most, _BLOCK) and self._waiting:
            following, batch = self._waiting[0]
            if following != partition or not isinstance(batch, Batch):
                break
            self._next()
            batch.unpack(columns)
        return _Rest(columns.block(), 0, columns.after)
