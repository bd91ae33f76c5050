"""Connections to logs kept in this process; `memory` and `demo` bring the logs."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Protocol

from streamlab import positions
from streamlab.backends.base import Consumer, PartitionInfo, Producer
from streamlab.backends.inprocess.log import Log, LogTopic
from streamlab.backends.inprocess.log_reader import LogConsumer, number
from streamlab.errors import ConnectError, PositionError
from streamlab.records import (
    AtOffsets,
    AtTime,
    Earliest,
    Newest,
    Offset,
    Outgoing,
    Partition,
    Position,
    Resolved,
    Sent,
)


class Shelf(Protocol):
    """Where a connection finds its topics."""

    def names(self) -> list[str]:
        """Of the topics there are, sorted."""
        ...

    def find(self, name: str) -> LogTopic:
        """A topic that is there.

        Raises:
            TopicNotFoundError: it isn't.
        """
        ...

    def make(self, name: str) -> LogTopic:
        """A topic to be read, made if the broker does so by itself."""
        ...

    def to_write(self, name: str, partitions: int | None = None) -> LogTopic:
        """A topic to be written, of so many partitions if it isn't there.

        Raises:
            UsageError: nothing can be written here, or it has fewer partitions.
        """
        ...


class LogConnection:
    """One broker that lives in this process."""

    ids_are_text = False

    def __init__(self, shelf: Shelf, *, place: str, live_source: str) -> None:
        """Read and write the topics of `shelf`."""
        self.place = place
        self.live_source = live_source
        self._shelf = shelf
        self._consumers: weakref.WeakSet[Consumer] = weakref.WeakSet()

    async def topics(self) -> list[str]:
        return self._shelf.names()

    async def info(self, topic: str) -> list[PartitionInfo]:
        found = self._reachable(self._shelf.find(topic))
        with found.lock:
            found.refresh(hungry=False)
            return [_line(Partition(topic, n), log) for n, log in enumerate(found.logs)]

    async def resolve(self, topic: str, position: Position) -> Resolved:
        found = self._reachable(self._shelf.make(topic))
        with found.lock:
            found.refresh(hungry=False)
            ends = {Partition(topic, n): log.next for n, log in enumerate(found.logs)}
            match position:
                case Earliest():
                    return {p: _first(found.logs[p.number]) for p in ends}
                case AtTime(ms):
                    return {p: _at_time(found.logs[p.number], ms) for p in ends}
                case AtOffsets(offsets):
                    return {**ends, **_named(topic, offsets, len(found.logs))}
        if isinstance(position, Newest):
            return await _newest(found, position.count, ends)
        return ends

    async def consumer(
        self, start: Resolved, stop: Resolved | None = None, *, on_lost: str = "skip"
    ) -> Consumer:
        find = self._shelf.make
        consumer = LogConsumer(find, start, stop, place=self.place, on_lost=on_lost)
        self._consumers.add(consumer)
        return consumer

    async def partitions(self, topic: str) -> frozenset[Partition]:
        if topic not in self._shelf.names():
            return frozenset()
        count = len(self._reachable(self._shelf.find(topic)).logs)
        return frozenset(Partition(topic, n) for n in range(count))

    async def producer(self, topic: str, *, partitions: int | None = None) -> Producer:
        return LogProducer(self._shelf.to_write(topic, partitions), self.place)

    async def aclose(self) -> None:
        for consumer in list(self._consumers):
            await consumer.aclose()

    def _reachable(self, topic: LogTopic) -> LogTopic:
        if topic.trouble:
            raise ConnectError(f"nobody answers at {self.place}: {topic.trouble}.")
        return topic


class LogProducer:
    """Writes to one log topic."""

    def __init__(self, topic: LogTopic, place: str) -> None:
        """Write to `topic` of the broker at `place`."""
        self._topic = topic
        self._place = place

    @property
    def partitions(self) -> int:
        return len(self._topic.logs)

    async def send(self, rows: Outgoing) -> Sent:
        if self._topic.trouble:
            raise ConnectError(
                f"nobody answers at {self._place}: {self._topic.trouble}. "
                f"None of {len(rows.values)} records was written."
            )
        return self._topic.append(rows)

    async def aclose(self) -> None:
        """Nothing is on its way: every send was done when it returned."""


def _line(partition: Partition, log: Log) -> PartitionInfo:
    times = log.times
    return PartitionInfo(
        partition,
        first=_first(log),
        next=log.next,
        records=len(log.offsets),
        bytes=log.bytes,
        newest_ms=times[-1] if times else None,
        oldest_ms=times[0] if times else None,
    )


def _first(log: Log) -> int:
    return log.offsets[0] if log.offsets else log.next


def _at_time(log: Log, ms: int) -> int:
    # Times may go back, so nothing shorter than looking at each finds the first.
    places = (i for i, time in enumerate(log.times) if time >= ms)
    place = next(places, None)
    return log.next if place is None else log.offsets[place]


def _named(
    topic: str, offsets: Mapping[int, Offset], partitions: int
) -> dict[Partition, int]:
    if wrong := [n for n in offsets if not 0 <= n < partitions]:
        raise PositionError(
            f"{topic} has no partition {wrong[0]}; "
            f"it has {partitions}, numbered from 0."
        )
    return {Partition(topic, n): number(offset) for n, offset in offsets.items()}


async def _newest(topic: LogTopic, count: int, ends: Resolved) -> Resolved:
    async def back(
        partition: Partition, before: Offset, most: int
    ) -> Sequence[tuple[Offset, int]]:
        with topic.lock:
            log = topic.logs[partition.number]
            last = log.place(number(before))
            first = max(0, last - most)
            offsets, times = log.offsets[first:last], log.times[first:last]
        return list(zip(reversed(offsets), reversed(times), strict=True))

    return await positions.newest(count, ends, back)
