"""FRAME: records read ahead of a replay clock, per partition, until the clock has come to them.

A record is due at its broker timestamp, but never before one that stands earlier in its
partition: records of a partition keep their order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamlab.frames.arranging import NEVER, part, stamps
from streamlab.frames.hopper import BLOCK, FEWEST
from streamlab.records import (
    Offset,
    Partition,
    PartitionState,
    Records,
    Resolved,
    offset_rank,
)

Int64s = NDArray[np.int64]
EVER = 2**62  # ms after all times


@dataclass(slots=True)
class Shelf:
    """What was read ahead of one partition.

    Attributes:
        blocks: the records, each block with when its records are due (ms).
        count: of records.
        last: when the last one ever read is due.
        state: of the consumer, as of the last answer.
        parked: whether the consumer does not read it for now.
        moved: whether the consumer was told to read it anew, and so knows no stop any more.
    """

    blocks: deque[tuple[Records, Int64s]] = field(default_factory=deque)
    count: int = 0
    last: int = NEVER
    state: PartitionState | None = None
    parked: bool = False
    moved: bool = False

    @property
    def head(self) -> int | None:
        """When the first record is due."""
        return int(self.blocks[0][1][0]) if self.blocks else None

    @property
    def next(self) -> Offset | None:
        """The first offset that was not taken."""
        if self.blocks:
            return _plain(self.blocks[0][0].offsets[0])
        return None if self.state is None else self.state.next


class Ahead:
    """Records read ahead. Belongs to the I/O loop.

    Attributes:
        room: set whenever something was taken.
    """

    def __init__(
        self, partitions: Collection[Partition], stop: Resolved | None, budget: int
    ) -> None:
        """Nothing read yet; `stop` has the first offset not wanted, `budget` bytes for all."""
        self.room = asyncio.Event()
        self._shelves = {partition: Shelf() for partition in sorted(partitions)}
        self._stop = stop
        self._budget = budget
        self._most = FEWEST

    def __bool__(self) -> bool:
        return any(shelf.count for shelf in self._shelves.values())

    @property
    def cap(self) -> int:
        """How many records of one partition are read ahead."""
        return max(FEWEST // 2, self._most // max(1, len(self._shelves)))

    @property
    def bounded(self) -> bool:
        """Whether the reading has an end."""
        return self._stop is not None

    @property
    def first(self) -> int | None:
        """When the next record is due; None if none is known."""
        heads = [shelf.head for shelf in self._shelves.values()]
        return min((head for head in heads if head is not None), default=None)

    @property
    def through(self) -> int:
        """All that is due by then (ms) was read; EVER if there is nothing more."""
        return min(map(self._through, self._shelves.values()), default=EVER)

    @property
    def knows_first(self) -> bool:
        """Whether the next record of every partition is known, or that there is none."""
        return all(s.count or self._exhausted(s) for s in self._shelves.values())

    @property
    def done(self) -> bool:
        """Whether every partition of a bounded reading is read to its end."""
        return self.bounded and all(map(self._is_over, self._shelves))

    @property
    def hungry(self) -> bool:
        """Whether the clock can't go on before more is read of some partition."""
        return any(
            not self._exhausted(s) and not self._is_full(s) and s.head in (None, s.last)
            for s in self._shelves.values()
        )

    @property
    def full(self) -> dict[Partition, Offset]:
        """Partitions that are read far enough ahead, and where to go on with them."""
        return {
            p: s.state.next
            for p, s in self._shelves.items()
            if s.state is not None and self._is_full(s) and not s.parked
        }

    @property
    def starved(self) -> dict[Partition, Offset]:
        """Partitions that are parked and should be read again, and from where."""
        return {
            p: s.state.next
            for p, s in self._shelves.items()
            if s.parked and s.state is not None and s.count < self.cap // 2
        }

    @property
    def parked(self) -> bool:
        """Whether some partition is."""
        return any(shelf.parked for shelf in self._shelves.values())

    def park(self, partitions: Collection[Partition]) -> None:
        """The consumer reads these no more for now."""
        for partition in partitions:
            self._shelves[partition].parked = True

    def unpark(self, partitions: Collection[Partition]) -> None:
        """The consumer reads these again."""
        for partition in partitions:
            shelf = self._shelves.setdefault(partition, Shelf())
            shelf.parked, shelf.moved = False, True
            if shelf.state is not None:
                shelf.state = shelf.state._replace(caught_up=False)

    def put(
        self, blocks: Sequence[Records], states: Mapping[Partition, PartitionState]
    ) -> None:
        """What the consumer has brought, and where it is now."""
        for partition, state in states.items():
            self._shelves.setdefault(partition, Shelf()).state = state
        for whole in blocks:
            block = self._before_stop(whole)
            if block is None:
                continue
            shelf = self._shelves.setdefault(block.partition, Shelf())
            due = np.maximum(np.maximum.accumulate(stamps(block)), shelf.last)
            shelf.last = int(due[-1])
            shelf.blocks.append((block, due))
            shelf.count += len(due)
        if blocks:
            sample = blocks[0].values[:50]
            mean = sum(len(value or b"") for value in sample) / len(sample) + 50
            self._most = int(min(BLOCK, max(FEWEST, self._budget / 16 / mean)))

    def take(self, moment: int) -> dict[Partition, tuple[list[Records], int]]:
        """All that is due by `moment`, and when the last of each partition was."""
        taken = {}
        for partition, shelf in self._shelves.items():
            blocks, last = list[Records](), NEVER
            while shelf.blocks and shelf.blocks[0][1][0] <= moment:
                block, due = shelf.blocks.popleft()
                count = int(np.searchsorted(due, moment, side="right"))
                if count < len(due):
                    shelf.blocks.appendleft((part(block, count, None), due[count:]))
                    block = part(block, 0, count)
                blocks.append(block)
                shelf.count -= count
                last = int(due[count - 1])
            if blocks:
                taken[partition] = blocks, last
        self.room.set()
        return taken

    def heads(self) -> dict[Partition, int | None]:
        """When the next record of each partition is due, as far as known."""
        return {partition: shelf.head for partition, shelf in self._shelves.items()}

    def places(self) -> dict[Partition, Offset]:
        """The first offset of each partition that was not taken."""
        return {p: s.next for p, s in self._shelves.items() if s.next is not None}

    def _through(self, shelf: Shelf) -> int:
        if self._exhausted(shelf):
            return EVER
        if shelf.head == shelf.last and self._is_full(shelf):
            return shelf.last  # so many of one instant are handed over in pieces
        return shelf.last - 1

    def _is_full(self, shelf: Shelf) -> bool:
        return shelf.count >= self.cap

    @staticmethod
    def _exhausted(shelf: Shelf) -> bool:
        state = shelf.state
        return (
            state is not None and not shelf.parked and (state.caught_up or state.ended)
        )

    def _is_over(self, partition: Partition) -> bool:
        shelf = self._shelves[partition]
        if shelf.state is None or shelf.parked:
            return False
        if shelf.state.ended or partition not in (self._stop or {}):
            return True
        # Its end may lie in a gap: where nothing more comes, that is it.
        at, end = offset_rank(shelf.state.next), offset_rank(self._stop[partition])  # type: ignore[index]  # it is in there
        return shelf.moved and (at >= end or shelf.state.caught_up)

    def _before_stop(self, block: Records) -> Records | None:
        """What is wanted of a block, where the consumer no longer knows the stop."""
        stop = (self._stop or {}).get(block.partition)
        if stop is None or not self._shelves[block.partition].moved:
            return block
        end = offset_rank(stop)
        wanted = sum(offset_rank(_plain(each)) < end for each in block.offsets)
        return part(block, 0, wanted) if wanted else None


def _plain(offset: int | bytes) -> Offset:
    return offset.decode() if isinstance(offset, bytes) else int(offset)
