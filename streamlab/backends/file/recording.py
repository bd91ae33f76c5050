"""SeaStreamer's recordings: `file://./path/name.ss/key`.

The topic is the stream key, the partition the shard, the offset the sequence number. The topic
SEA_STREAMER_WILDCARD (or "") is all streams of the file, each under its own key. A file may grow
while it is read; its end mark ends the reading.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from streamlab import positions
from streamlab.backends.base import Connection, Consumer, PartitionInfo, Producer
from streamlab.backends.file.index import FileIndex, Pieces, Stream
from streamlab.backends.file.moving import MovingFileConsumer
from streamlab.backends.file.reader import WILDCARD, FileConsumer
from streamlab.backends.readonly import ReadOnly
from streamlab.errors import PositionError, TopicNotFoundError, UrlError, UsageError
from streamlab.records import (
    AtOffsets,
    AtTime,
    Earliest,
    Newest,
    Offset,
    Partition,
    Position,
    Resolved,
)
from streamlab.uri import StreamUrl

_ALL = {WILDCARD, ""}
_NEW = Partition(WILDCARD, 0)


class FileConnection(ReadOnly):
    """One file. Opened anew for each piece that is read, so there is nothing to close."""

    ids_are_text = False
    live_source = "file"
    what = "a file"

    def __init__(self, path: Path, place: str) -> None:
        """Read `path`, shown to people as `place`."""
        self.place = place
        self._path = path
        self._index = FileIndex(path)
        self._lock = asyncio.Lock()
        self._consumers: weakref.WeakSet[MovingFileConsumer] = weakref.WeakSet()

    async def topics(self) -> list[str]:
        async with self._lock:
            await self._refresh()
            return sorted({key for key, _ in self._index.streams})

    async def info(self, topic: str) -> list[PartitionInfo]:
        async with self._lock:
            await self._refresh()
            return [_line(*item) for item in self._streams(topic).items()]

    async def resolve(self, topic: str, position: Position) -> Resolved:
        async with self._lock:
            await self._refresh()
            found = await _resolve(topic, self._streams(topic), position)
        if topic in _ALL:
            # Streams that the file doesn't have yet are part of "all".
            found[_NEW] = 0
        return found or {Partition(topic, 0): 0}

    async def consumer(
        self, start: Resolved, stop: Resolved | None = None, *, on_lost: str = "skip"
    ) -> Consumer:
        """As the contract says; nothing is ever lost here, so `on_lost` changes nothing."""
        del on_lost
        last = None if stop is None else _numbers(stop)
        reopen = functools.partial(self._open, last=last)
        consumer = MovingFileConsumer(await reopen(start), reopen)
        self._consumers.add(consumer)
        return consumer

    async def partitions(self, topic: str) -> frozenset[Partition]:
        try:
            lines = await self.info(topic)
        except TopicNotFoundError:
            return frozenset()
        return frozenset(line.partition for line in lines)

    async def producer(self, topic: str, *, partitions: int | None = None) -> Producer:
        del partitions
        raise UsageError(
            f"{self.place}: files are read only in this version. To keep {topic!r}, send it "
            "to a redis:// or memory:// topic."
        )

    async def aclose(self) -> None:
        for consumer in list(self._consumers):
            await consumer.aclose()

    async def _refresh(self) -> None:
        """Look at what is new in the file; the lock is held, also while the index is used."""
        await asyncio.to_thread(self._index.refresh)

    def _streams(self, topic: str) -> dict[Partition, Stream]:
        """The streams that a topic stands for."""
        found = {
            Partition(key, shard): stream
            for (key, shard), stream in sorted(self._index.streams.items())
            if topic in _ALL or topic == key
        }
        # A file without any record is one that is about to be written.
        if not found and topic not in _ALL and self._index.streams:
            keys = {key for key, _ in self._index.streams}
            raise TopicNotFoundError.among(topic, self.place, keys)
        return found

    async def _open(
        self, start: Resolved, *, last: dict[Partition, int] | None
    ) -> FileConsumer:
        first = _numbers(start)
        async with self._lock:
            await self._refresh()
            return self._consumer(first, last)

    def _consumer(
        self, first: dict[Partition, int], last: dict[Partition, int] | None
    ) -> FileConsumer:
        index = self._index
        known = {
            p: stream
            for (key, shard), stream in index.streams.items()
            if (p := Partition(key, shard)) in first
        }
        stops = {p: None if last is None else last.get(p) for p in known}
        to_the_end = any(
            stop is not None and first[p] < stop and stop >= known[p].next
            for p, stop in stops.items()
        )
        return FileConsumer(
            Pieces(
                self._path, index.begin({(p.topic, p.number): first[p] for p in known})
            ),
            first,
            last,
            counts={p: s.between(first[p], stops[p]) for p, s in known.items()},
            known=frozenset(index.streams),
            fault=index.fault if to_the_end else None,
        )


def connect(url: StreamUrl, options: Mapping[str, object]) -> Connection:
    """Open a file by URL.

    Raises:
        UrlError: any parameter; there are none.
        UsageError: any option; there are none.
    """
    if options:
        raise UsageError(f"a file takes no options, not even {next(iter(options))!r}.")
    if url.params:
        raise UrlError(
            f"{url}: a file has no parameters. If the ? is part of its name, write %3F."
        )
    return FileConnection(Path(url.path).expanduser(), url.place)


def _numbers(offsets: Resolved) -> dict[Partition, int]:
    found = {}
    for partition, offset in offsets.items():
        if not isinstance(offset, int):
            raise PositionError(
                f"{offset!r} is a Redis entry id; a file's offsets are numbers, as in {{0: 500}}."
            )
        found[partition] = offset
    return found


def _line(partition: Partition, stream: Stream) -> PartitionInfo:
    return PartitionInfo(
        partition,
        first=stream.sequences[0],
        next=stream.next,
        records=len(stream.sequences),
        bytes=stream.sizes[0],
        newest_ms=stream.timestamps_ms[-1],
        oldest_ms=stream.timestamps_ms[0],
    )


async def _resolve(
    topic: str, streams: Mapping[Partition, Stream], position: Position
) -> dict[Partition, Offset]:
    ends: dict[Partition, Offset] = {p: stream.next for p, stream in streams.items()}
    match position:
        case Earliest():
            return {p: stream.sequences[0] for p, stream in streams.items()}
        case AtTime(ms):
            return {p: _at_time(stream, ms) for p, stream in streams.items()}
        case Newest(count):
            return await _newest(count, streams, ends)
        case AtOffsets(offsets):
            return {**ends, **_named(topic, offsets, ends)}
    return ends


def _at_time(stream: Stream, ms: int) -> int:
    # Times may go back, so each is looked at.
    late_enough = np.frombuffer(stream.timestamps_ms, np.int64) >= ms
    place = int(late_enough.argmax())
    return stream.sequences[place] if late_enough[place] else stream.next


def _named(
    topic: str, offsets: Mapping[int, Offset], ends: Resolved
) -> dict[Partition, Offset]:
    if topic in _ALL:
        raise PositionError(
            "{partition: offset} needs one stream, and this URL names all of the file's. "
            "Put its key at the end of the URL."
        )
    found = {Partition(topic, shard): offset for shard, offset in offsets.items()}
    if wrong := sorted(set(found) - set(ends)):
        there = ", ".join(str(p.number) for p in ends)
        raise PositionError(
            f"{topic} has no partition {wrong[0].number}. There are: {there or 'none yet'}."
        )
    return {**_numbers(found)}


async def _newest(
    count: int, streams: Mapping[Partition, Stream], ends: Resolved
) -> dict[Partition, Offset]:
    async def back(
        partition: Partition, before: Offset, most: int
    ) -> Sequence[tuple[Offset, int]]:
        stream = streams[partition]
        last = stream.between(0, int(before))
        first = max(0, last - most)
        rows = zip(
            stream.sequences[first:last], stream.timestamps_ms[first:last], strict=True
        )
        return list(rows)[::-1]

    return await positions.newest(count, ends, back)
