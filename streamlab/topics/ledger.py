"""Messages between a broker's consumer and the program that reads them, and what is done of them.

Filled on the I/O loop, emptied on the program's; the lock guards all of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from streamlab.records import Mark, Offset, Partition, PartitionState, Records, Resolved
from streamlab.topics.message import Message, messages, partition_of


class Ledger:
    """What was fetched, what was handed out, and what of that is done.

    Attributes:
        ended: nothing more will come.
        error: why, if that is not the end that was asked for.
    """

    def __init__(self, *, tracks: bool) -> None:
        """Begin empty; `tracks` keeps what was handed out until it is acked."""
        self.ended = False
        self.error: BaseException | None = None
        self._tracks = tracks
        self._lock = threading.RLock()
        self._ready: deque[Message] = deque()
        # Beside it, per partition: offset and number since the reader joined.
        self._waiting: dict[Partition, deque[tuple[Offset, int]]] = {}
        # Handed out and not acked, in the order of handing out.
        self._open: dict[Partition, dict[Offset, int]] = {}
        self._last: list[Message] = []
        self._states: dict[Partition, PartitionState] = {}
        self._sleepers: list[
            tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]
        ] = []

    def __len__(self) -> int:
        return len(self._ready)

    # -- filled on the I/O loop -----------------------------------------------------------

    def put(
        self, blocks: Sequence[Records], states: Mapping[Partition, PartitionState]
    ) -> None:
        """Take what was fetched, and how far the consumer is by now."""
        with self._lock:
            self._states = dict(states)
            came = dict.fromkeys(states, 0)
            for block in blocks:
                if block.partition in came:
                    came[block.partition] += len(block.values)
            number = {p: states[p].handed_out - count for p, count in came.items()}
            for block in blocks:
                if block.partition not in came:  # taken away while it was on its way
                    continue
                some = messages(block)
                first = number[block.partition]
                number[block.partition] = first + len(some)
                self._ready.extend(some)
                if self._tracks:
                    waiting = self._waiting.setdefault(block.partition, deque())
                    waiting.extend((m.offset, first + i) for i, m in enumerate(some))
            if blocks:
                self._wake()

    def move(self, start: Resolved) -> None:
        """Partitions go on at these places: what was fetched or handed out of them is void."""
        with self._lock:
            self.drop(start)
            self._forget(start)
            for partition, offset in start.items():
                state = self._states.get(partition)
                handed_out = 0 if state is None else state.handed_out
                self._states[partition] = PartitionState(
                    offset,
                    caught_up=False,
                    ended=False,
                    behind=None,
                    handed_out=handed_out,
                )
            self.ended = False

    def drop(self, partitions: Collection[Partition]) -> dict[Partition, Mark]:
        """Hand out no more of these; returns up to where they have been handed out."""
        with self._lock:
            reached = {p: self._reached(p) for p in partitions if p in self._states}
            self._ready = deque(
                m for m in self._ready if partition_of(m) not in partitions
            )
            for partition in partitions:
                self._waiting.pop(partition, None)
            return reached

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These are not read any more."""
        with self._lock:
            for partition in self._forget(partitions):
                self._states.pop(partition, None)

    def _forget(self, partitions: Iterable[Partition]) -> list[Partition]:
        gone = list(partitions)
        for partition in gone:
            self._open.pop(partition, None)
        self._last = [m for m in self._last if partition_of(m) not in gone]
        return gone

    def finish(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        with self._lock:
            self.ended, self.error = True, error
            self._wake()

    # -- emptied on the program's loop ------------------------------------------------------

    def take(self, most: int) -> list[Message]:
        """Hand messages out; () if there are none just now."""
        with self._lock:
            count = min(most, len(self._ready))
            given = [self._ready.popleft() for _ in range(count)]
            if self._tracks:
                for message in given:
                    partition = partition_of(message)
                    offset, number = self._waiting[partition].popleft()
                    # One that is handed out twice counts where it was first.
                    self._open.setdefault(partition, {}).setdefault(offset, number)
                self._last += given
            return given

    async def more(self) -> None:
        """Until there is something, or nothing will come."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._ready or self.ended:
                return
            woken: asyncio.Future[None] = loop.create_future()
            self._sleepers.append((loop, woken))
        await woken

    def ack(self, message: Message) -> bool:
        """A message is done; whether it was open."""
        with self._lock:
            found = self._open.get(partition_of(message), {}).pop(message.offset, None)
            return found is not None

    def ack_handed_out(self) -> None:
        """All that was handed out so far is done."""
        with self._lock:
            for message in self._last:
                self._open.get(partition_of(message), {}).pop(message.offset, None)
            self._last.clear()

    # -- how far it is ----------------------------------------------------------------------

    def done(self, *, in_hand: bool = False) -> dict[Partition, Mark]:
        """Per partition the place before which everything is done, or is `in_hand`."""
        with self._lock:
            reached = {p: self._reached(p) for p in self._states}
            return reached if in_hand else self.low(reached)

    def low(self, reached: Mapping[Partition, Mark]) -> dict[Partition, Mark]:
        """The same for partitions of which no more is handed out than was `reached`."""
        with self._lock:
            return {p: self._low(p, mark) for p, mark in reached.items()}

    def is_open(self, partitions: Iterable[Partition]) -> bool:
        """Whether something that was handed out of these is not acked."""
        with self._lock:
            return any(self._open.get(p) for p in partitions)

    def states(self) -> dict[Partition, PartitionState]:
        """How far the program is: what is fetched and not handed out is still ahead."""
        with self._lock:
            found = {}
            ahead: dict[Partition, int] = {}
            first: dict[Partition, Offset] = {}
            for message in self._ready:
                partition = partition_of(message)
                ahead[partition] = ahead.get(partition, 0) + 1
                first.setdefault(partition, message.offset)
            for partition, state in self._states.items():
                count = ahead.get(partition, 0)
                found[partition] = state._replace(
                    next=first.get(partition, state.next),
                    caught_up=state.caught_up and not count,
                    ended=state.ended and not count,
                    behind=None if state.behind is None else state.behind + count,
                )
            return found

    def _reached(self, partition: Partition) -> Mark:
        """Up to where a partition was handed out."""
        if waiting := self._waiting.get(partition):
            return Mark(*waiting[0])
        return self._states[partition].mark

    def _low(self, partition: Partition, reached: Mark) -> Mark:
        if opened := self._open.get(partition):
            return Mark(*next(iter(opened.items())))
        return reached

    def _wake(self) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for loop, woken in sleepers:
            try:
                loop.call_soon_threadsafe(_wake, woken)
            except RuntimeError:  # that program's loop is closed
                continue


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
