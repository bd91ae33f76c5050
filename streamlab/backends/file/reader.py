"""The consumer of a `.ss` file: reads it forwards, and follows it while it grows."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence

from streamlab.backends.file.index import CUT, Pieces, damaged
from streamlab.backends.file.ss import Block, Damage, Piece
from streamlab.clocks import SYSTEM
from streamlab.errors import ConnectError, StreamlabError
from streamlab.records import Partition, PartitionState, Records

WILDCARD = "SEA_STREAMER_WILDCARD"
# A writer that has left half a record for so long is not writing any more.
SETTLED_MS = 2_000
_LONGEST_POLL = 1.024


class FileConsumer:
    """Reads streams of one file; owned by one task."""

    def __init__(
        self,
        pieces: Pieces,
        start: Mapping[Partition, int],
        stop: Mapping[Partition, int] | None,
        *,
        counts: Mapping[Partition, int],
        known: frozenset[tuple[str, int]],
        fault: Damage | None,
    ) -> None:
        """Begin where `pieces` stands.

        Args:
            pieces: the file, at a place before all of `start`.
            start: first sequence per partition. The partition (WILDCARD, 0) stands for streams
                that the file doesn't have yet.
            stop: first sequence not delivered.
            counts: records to come per partition, as far as known.
            known: the streams that were in the file; one that is not among them and belongs to
                a topic of `start` is new, and read from its first record.
            fault: to be raised at the end: what keeps the file's last part from being read.
        """
        self._pieces = pieces
        self._start, self._stop = dict(start), stop
        self._left = dict(counts)
        self._known, self._fault = known, fault
        self._topics = {p.topic for p in start}
        self._next = dict(start)
        self._read_to = dict(start)
        self._ready: deque[Records] = deque()
        self._reading: asyncio.Task[Piece | None] | None = None
        self._error: StreamlabError | None = None
        self._finished = False
        self._closed = False
        self._poll = 0.0
        self.lost = 0
        self.trouble: str | None = None

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max_wait
        # A reader that always finds something must not starve the loop.
        await asyncio.sleep(0)
        while True:
            if self._closed:
                raise ConnectError(f"{self._pieces.path}: this consumer was closed.")
            if self._ready:
                return self._hand_over(max_records)
            if self._error is not None:
                raise self._error
            if self.ended:
                return ()
            await self._look()
            left = deadline - loop.time()
            if self._poll and left <= 0 and not self._ready:
                return ()
            if self._poll and not self._ready:
                await asyncio.sleep(min(self._poll, left))

    def state(self) -> Mapping[Partition, PartitionState]:
        waiting = {block.partition for block in self._ready}
        return {
            p: PartitionState(
                at,
                caught_up=self._pieces.at_end and p not in waiting,
                ended=p not in waiting and (self._finished or self._is_done(p)),
                behind=self._left.get(p, 0),
            )
            for p, at in self._next.items()
        }

    @property
    def ended(self) -> bool:
        return self._finished and not self._ready and self._error is None

    async def aclose(self) -> None:
        self._closed = True
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=2)

    async def _look(self) -> None:
        """Read the next piece; sets how long to wait if there was none."""
        if self._all_done():
            await self._finish()
            return
        # Shielded: a cancelled `receive` must not lose the piece that a thread is reading.
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._pieces.read))
        try:
            piece = await asyncio.shield(self._reading)
        except StreamlabError as error:
            self._reading, self._error = None, error
            return
        self._reading = None
        before = len(self._ready)
        if piece is not None:
            self._take(piece)
        moved = len(self._ready) > before or not self._pieces.at_end
        self._poll = 0.0 if moved else min(max(2 * self._poll, 0.001), _LONGEST_POLL)

    def _take(self, piece: Piece) -> None:
        for block in piece.blocks:
            self._add(block)
        self.trouble = None
        if self._all_done():
            return
        if piece.damage:
            self._error = damaged(self._pieces.path, piece.damage)
        elif piece.ended:
            self._finished = True
        elif piece.rest and self._pieces.at_end and not piece.old_mark:
            self.trouble = f"half a record at byte {piece.next}, waiting for the rest"
            if self._stop is not None and _has_settled(self._pieces):
                self._error = damaged(self._pieces.path, Damage(piece.next, CUT))

    def _add(self, block: Block) -> None:
        partition = Partition(block.key, block.shard)
        if partition not in self._start:
            if not self._is_new(partition):
                return
            self._start[partition] = 0
            self._next[partition] = block.sequences[0]
        stop = None if self._stop is None else self._stop.get(partition)
        first = bisect_left(block.sequences, self._start[partition])
        end = len(block.sequences)
        last = end if stop is None else bisect_left(block.sequences, stop)
        read_to = block.sequences[-1] + 1
        self._read_to[partition] = max(
            self._start[partition], read_to if stop is None else min(stop, read_to)
        )
        if first < last:
            self._ready.append(
                Records(
                    partition,
                    block.sequences[first:last],
                    block.timestamps_ms[first:last],
                    block.values[first:last],
                )
            )
        elif partition not in {ready.partition for ready in self._ready}:
            self._next[partition] = self._read_to[partition]

    def _is_new(self, partition: Partition) -> bool:
        mine = partition.topic in self._topics or WILDCARD in self._topics
        return mine and self._stop is None and partition not in self._known

    def _hand_over(self, max_records: int) -> list[Records]:
        given: list[Records] = []
        while self._ready and max_records > 0:
            block = self._ready.popleft()
            if len(block.values) > max_records:
                self._ready.appendleft(_part(block, max_records, None))
                block = _part(block, 0, max_records)
            given.append(block)
            max_records -= len(block.values)
            self._note(block)
        return given

    def _note(self, block: Records) -> None:
        partition, last = block.partition, block.offsets[-1]
        left = self._left.get(partition, 0) - len(block.values)
        self._left[partition] = max(0, left)
        done = partition not in {ready.partition for ready in self._ready}
        self._next[partition] = self._read_to[partition] if done else int(last) + 1

    def _is_done(self, partition: Partition) -> bool:
        if self._stop is None or partition not in self._stop:
            return False
        return self._read_to[partition] >= self._stop[partition]

    def _all_done(self) -> bool:
        return self._stop is not None and all(map(self._is_done, self._start))

    async def _finish(self) -> None:
        """All stops are reached: was what they stand for all there is?"""
        if self._fault is None:
            self._finished = True
            return
        if self._fault.reason == CUT:
            # Half a record may still be on its way: only a file at rest is a cut one.
            rest = Pieces(self._pieces.path, self._fault.byte)
            piece = await asyncio.to_thread(rest.read)
            if not _has_settled(rest):
                self._poll = 0.1
                return
            if piece is not None and (piece.blocks or piece.ended or piece.old_mark):
                self._fault = None
        self._finished = True
        if self._fault is not None:
            self._error = damaged(self._pieces.path, self._fault)


def _has_settled(pieces: Pieces) -> bool:
    return SYSTEM.now_ms() - pieces.changed_ms >= SETTLED_MS


def _part(block: Records, first: int, last: int | None) -> Records:
    times = block.timestamps_ms
    return Records(
        block.partition,
        block.offsets[first:last],
        None if times is None else times[first:last],
        block.values[first:last],
    )
