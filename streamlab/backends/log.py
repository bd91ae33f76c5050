"""Logs kept in this process: what `memory` and `demo` write to and read from.

A `LogTopic` may be written by any thread while consumers read it on any loop: its lock guards
the columns, and whoever appends wakes the waiting consumers on their own loops.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from zlib import crc32

from streamlab.clocks import SYSTEM, Clock
from streamlab.errors import ConnectError, PositionError, PositionLost, UsageError
from streamlab.records import (
    Headers,
    Offset,
    Outgoing,
    Partition,
    PartitionState,
    Records,
    Resolved,
)


class Log:
    """One partition: columns of equal length, offsets rising but with gaps where records were
    deleted. Guarded by its topic's lock.

    Attributes:
        low: offsets below it were trimmed away.
        next: the offset of the next record.
    """

    def __init__(self) -> None:
        """Begin empty, at offset 0."""
        self.low = self.next = 0
        self.offsets: list[int] = []
        self.times: list[int] = []
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.headers: list[Headers] = []
        self.bytes = 0

    def append(self, rows: Outgoing, now_ms: int) -> None:
        """Add rows at the end; `rows.partitions` is not looked at."""
        count = len(rows.values)
        self.offsets += range(self.next, self.next + count)
        self.times += (
            [now_ms] * count if rows.timestamps_ms is None else rows.timestamps_ms
        )
        self.values += rows.values
        self.keys += [None] * count if rows.keys is None else rows.keys
        self.headers += [()] * count if rows.headers is None else rows.headers
        self.bytes += sum(map(len, filter(None, rows.values)))
        self.next += count

    def cut(self, first: int, last: int) -> None:
        """Take the rows at places first … last-1 out."""
        self.bytes -= sum(map(len, filter(None, self.values[first:last])))
        columns: tuple[list[int] | list[bytes | None] | list[Headers], ...] = (
            self.offsets,
            self.times,
            self.values,
            self.keys,
            self.headers,
        )
        for column in columns:
            del column[first:last]

    def place(self, offset: int) -> int:
        """Where the first row at or after `offset` stands."""
        return bisect_left(self.offsets, offset)

    def holds_from(self, offset: int) -> bool:
        """Whether there is a row at or after `offset`."""
        return bool(self.offsets) and self.offsets[-1] >= offset

    def block(self, partition: Partition, first: int, last: int) -> Records:
        """The rows at places first … last-1."""
        keys, headers = self.keys[first:last], self.headers[first:last]
        return Records(
            partition,
            self.offsets[first:last],
            self.times[first:last],
            self.values[first:last],
            None if keys.count(None) == len(keys) else keys,
            headers if any(headers) else None,
        )


class LogTopic:
    """A topic of some partitions, and the consumers that wait for more of it.

    Attributes:
        logs: one per partition; take `lock` to look at them.
        trouble: why nothing can be read or written just now, or None.
        clock: by which records get their time, and become due where they come by themselves.
    """

    def __init__(
        self, name: str, partitions: int = 1, *, clock: Clock = SYSTEM
    ) -> None:
        """Make an empty topic."""
        self.name = name
        self.clock = clock
        self.logs = [Log() for _ in range(partitions)]
        self.lock = threading.RLock()
        self.trouble: str | None = None
        self._turn = 0
        self._listeners: weakref.WeakSet[LogConsumer] = weakref.WeakSet()

    def begin(self) -> None:
        """Somebody wants to read what is still to come."""

    def refresh(self, *, hungry: bool) -> float | None:  # noqa: ARG002
        """Bring in what is due by now; called with the lock, before anybody looks.

        Args:
            hungry: a consumer has read everything there is.

        Returns:
            Seconds until more will be due; None if nobody knows.
        """
        return None

    def append(self, rows: Outgoing) -> None:
        """Write rows, all or none, and wake who waits for them."""
        with self.lock:
            wanted = self._partitions(rows)
            for number in sorted(set(wanted)):
                places = [i for i, p in enumerate(wanted) if p == number]
                self.logs[number].append(_pick(rows, places), self.clock.now_ms())
        self.wake()

    def delete(self, partition: int, offset: int) -> None:
        """Take one record away, leaving a gap."""
        with self.lock:
            log = self.logs[partition]
            place = log.place(offset)
            log.cut(place, log.place(offset + 1))

    def trim(self, partition: int, *, keep: int) -> None:
        """Throw all but the newest `keep` records of a partition away; they count as lost."""
        with self.lock:
            log = self.logs[partition]
            log.cut(0, max(0, len(log.offsets) - keep))
            log.low = log.offsets[0] if log.offsets else log.next

    def fail(self, why: str | None) -> None:
        """Cut the topic off, or mend it again with None."""
        self.trouble = why
        self.wake()

    def listen(self, consumer: LogConsumer) -> None:
        """Wake this consumer from now on."""
        with self.lock:
            self._listeners.add(consumer)

    def wake(self) -> None:
        """Tell the waiting consumers to look again; from any thread."""
        with self.lock:
            listeners = list(self._listeners)
        for consumer in listeners:
            consumer.wake()

    def _partitions(self, rows: Outgoing) -> Sequence[int]:
        """A partition per row: as wished, by the key's checksum, or in turn."""
        count = len(self.logs)
        if rows.partitions is not None:
            if wrong := {p for p in rows.partitions if not 0 <= p < count}:
                raise UsageError(
                    f"{self.name} has no partition {min(wrong)}; "
                    f"it has {count}, numbered from 0."
                )
            return rows.partitions
        chosen = []
        for key in rows.keys or [None] * len(rows.values):
            chosen.append((self._turn if key is None else crc32(key)) % count)
            self._turn += key is None
        return chosen


class LogConsumer:
    """Reads partitions of log topics; owned by one task."""

    def __init__(
        self,
        topics: Mapping[str, LogTopic],
        start: Resolved,
        stop: Resolved | None = None,
        *,
        place: str,
        on_lost: str = "skip",
    ) -> None:
        """Begin at `start`."""
        self._topics = topics
        self._place, self._on_lost = place, on_lost
        self._next = {p: number(offset) for p, offset in start.items()}
        self._stop = {p: number(offset) for p, offset in (stop or {}).items()}
        self._bounded = stop is not None
        self._order = sorted(start)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._closed = False
        self._state: dict[Partition, PartitionState] = {}
        self.lost = 0
        for partition in self._order:
            self._read(partition, 0)
            self._state[partition] = self._state[partition]._replace(caught_up=False)
        for name in {p.topic for p in start}:
            topics[name].listen(self)

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        self._loop = asyncio.get_running_loop()
        deadline = self._loop.time() + max_wait
        # A reader that always finds something must not starve the loop.
        await asyncio.sleep(0)
        while not self.ended:
            self._woken.clear()
            if self._closed:
                raise ConnectError(f"{self._place}: this consumer was closed.")
            blocks, due = self._take(max_records)
            left = deadline - self._loop.time()
            if blocks or left <= 0 or self.ended:
                return blocks
            await self._wait(left, due)
        return ()

    def state(self) -> Mapping[Partition, PartitionState]:
        return dict(self._state)

    @property
    def ended(self) -> bool:
        return self._bounded and all(state.ended for state in self._state.values())

    @property
    def trouble(self) -> str | None:
        return next((t.trouble for t in self._topics.values() if t.trouble), None)

    async def aclose(self) -> None:
        self._closed = True
        self.wake()

    def wake(self) -> None:
        """Look again; from any thread."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # its loop is closed: nobody waits there any more
            self._loop = None

    async def _wait(self, seconds: float, due: float | None) -> None:
        """Until something was written, something is due, or so many seconds have passed."""
        timer = None if due is None else asyncio.create_task(self._ring(due))
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        finally:
            if timer is not None:
                timer.cancel()

    async def _ring(self, seconds: float) -> None:
        clock = next(iter(self._topics.values())).clock
        await clock.sleep(seconds)
        self._woken.set()

    def _take(self, max_records: int) -> tuple[list[Records], float | None]:
        """What is there now, and in how many seconds more is due."""
        if self.trouble:
            for partition, state in self._state.items():
                self._state[partition] = state._replace(caught_up=False)
            return [], None
        with ExitStack() as locks:
            for _, topic in sorted(self._topics.items()):
                locks.enter_context(topic.lock)
            dues = [
                topic.refresh(hungry=self._is_hungry(name))
                for name, topic in self._topics.items()
            ]
            for partition in self._order:
                self._skip_lost(partition)
            blocks = self._take_fairly(max_records)
        return blocks, min((due for due in dues if due is not None), default=None)

    def _take_fairly(self, max_records: int) -> list[Records]:
        # Each partition that has something gets an even share of the room that is left, and
        # another one goes first next time: a busy one must not hold the others back.
        self._order = self._order[1:] + self._order[:1]
        order = sorted(self._order, key=self._holds_more)
        waiting = sum(map(self._holds_more, order))
        blocks = []
        for at, partition in enumerate(order, start=waiting - len(order)):
            share = -(-max_records // (waiting - at)) if at >= 0 else 0
            if block := self._read(partition, share):
                blocks.append(block)
                max_records -= len(block.values)
        return blocks

    def _holds_more(self, partition: Partition) -> bool:
        log = self._topics[partition.topic].logs[partition.number]
        return log.holds_from(self._next[partition])

    def _is_hungry(self, topic: str) -> bool:
        return not any(
            self._holds_more(p)
            for p, state in self._state.items()
            if p.topic == topic and not state.ended
        )

    def _skip_lost(self, partition: Partition) -> None:
        log = self._topics[partition.topic].logs[partition.number]
        at, low = self._next[partition], log.low
        gone = min(low, self._stop.get(partition, low)) - at
        if gone <= 0:
            return
        if self._on_lost == "error":
            raise PositionLost(
                f"{partition.topic} p{partition.number}: the broker no longer has offset "
                f'{at}; its first one is {low}. Read from there with start="earliest".'
            )
        self.lost += gone
        self._next[partition] = at + gone

    def _read(self, partition: Partition, most: int) -> Records | None:
        """Up to `most` rows of one partition; moves its state."""
        topic = self._topics[partition.topic]
        at, stop = self._next[partition], self._stop.get(partition)
        with topic.lock:
            log = topic.logs[partition.number]
            first = log.place(at)
            end = len(log.offsets) if stop is None else max(first, log.place(stop))
            last = min(first + most, end)
            if last == end:
                # Over the gap behind the last row too: what was deleted never comes.
                at = max(at, log.next if stop is None else min(log.next, stop))
            elif last > first:
                at = log.offsets[last - 1] + 1
            self._next[partition] = at
            self._state[partition] = PartitionState(
                at,
                caught_up=last == end,
                ended=stop is not None and at >= stop,
                behind=end - last,
            )
            return log.block(partition, first, last) if last > first else None


def number(offset: Offset) -> int:
    """An offset of a backend whose offsets are numbers.

    Raises:
        PositionError: it is an entry id.
    """
    if isinstance(offset, int):
        return offset
    raise PositionError(
        f"{offset!r} is a Redis entry id; offsets here are numbers, as in {{0: 500}}."
    )


def _pick(rows: Outgoing, places: Sequence[int]) -> Outgoing:
    """The rows at some places."""
    if len(places) == len(rows.values):
        return rows
    return Outgoing(
        [rows.values[i] for i in places],
        rows.keys and [rows.keys[i] for i in places],
        rows.timestamps_ms and [rows.timestamps_ms[i] for i in places],
        rows.headers and [rows.headers[i] for i in places],
    )
