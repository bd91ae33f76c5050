"""Redis and Valkey streams as topics. No group is joined and nothing is written while reading.

A topic is the stream of that name. Streams named `topic:0`, `topic:1`, … are its partitions
(SeaStreamer's shards); beside them the plain stream is partition 0, unless `topic:0` exists.
Which streams there are is seen when a position is resolved; later ones join the next reader, and
the members of a group by themselves.

The payload is the field "msg", or what `redis_parse.choose` finds; `options={"field": …}` names
another. The field "key" is the record's key (`options={"key_field": …}`), further fields are
headers. Entries without the payload field are passed over and counted. An entry always has a
payload, so there are no tombstones.

A server is named by redis://, with TLS rediss://, or by the option `unix_socket_path`; one that
Sentinels watch by redis+sentinel://, a cluster by redis+cluster://. Ids may count nanoseconds
(`options={"timestamp_format": "nanoseconds"}`).

A user needs the rights to XREAD, XRANGE, XREVRANGE and XINFO on the stream; without SCAN only the
plain stream is found, without MEMORY its size is unknown. Committing takes XGROUP, XPENDING, XACK
and MULTI; sharing XREADGROUP and XCLAIM besides, and WATCH to be gone without a trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from streamlab import positions
from streamlab.backends.base import (
    GroupInfo,
    Options,
    PartitionInfo,
    Revoked,
    Transactions,
)
from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis import parse as redis_parse
from streamlab.backends.redis import streams as redis_streams
from streamlab.backends.redis.catalogue import Catalogue, Walk
from streamlab.backends.redis.commits import Commits
from streamlab.backends.redis.cursor import Cursor, Facts
from streamlab.backends.redis.group import RedisGroupConsumer
from streamlab.backends.redis.ids import Id
from streamlab.backends.redis.lines import Lines
from streamlab.backends.redis.merged import MergedConsumer
from streamlab.backends.redis.options import Settings, hidden, settings
from streamlab.backends.redis.reader import RedisConsumer
from streamlab.backends.redis.route import OneServer, Route
from streamlab.backends.redis.wire import Dialer, Link
from streamlab.backends.redis.writer import RedisProducer
from streamlab.errors import (
    BrokerError,
    PositionError,
    TopicNotFoundError,
    UsageError,
)
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

_REMEMBERED = 4_096


def connect(url: StreamUrl, options: Options) -> RedisConnection:
    """A connection to the server of `url`; nothing is sent yet.

    Args:
        url: redis:// with one host, redis+cluster:// with some of the nodes, or
            redis+sentinel:// with the Sentinels; rediss… with TLS.
        options: redis-py's names, `field` and `key_field`; the list is in `options`.

    Raises:
        UsageError: an option or a part of the URL that can't be used.
    """
    options = hidden(options)
    return RedisConnection(settings(url, options))


class RedisConnection:
    """One server: a connection for questions, and one for each reader and writer."""

    def __init__(self, chosen: Settings) -> None:
        """Remember how to get there."""
        self._settings = chosen
        self._route = route_of(chosen)
        self._lines = Lines(self._route)
        self._catalogue = Catalogue(self._lines)
        self._commits = Commits(self._catalogue)
        self._known: dict[tuple[Partition, Offset], Facts] = {}
        self._open: set[
            RedisConsumer | MergedConsumer | RedisGroupConsumer | RedisProducer
        ] = set()

    @property
    def place(self) -> str:
        return self._settings.place

    @property
    def live_source(self) -> str:
        return "redis"

    @property
    def ids_are_text(self) -> bool:
        return True

    async def topics(self) -> list[str]:
        return await self._catalogue.topics()

    async def partitions(self, topic: str) -> frozenset[Partition]:
        return await self._catalogue.partitions(topic)

    async def info(self, topic: str) -> list[PartitionInfo]:
        known = await self._catalogue.look(topic)
        sizes = await self._catalogue.sizes([*known])
        lines, per_ms = [], self._settings.per_ms
        for (partition, there), size in zip(known.items(), sizes, strict=True):
            end = redis_ids.text(redis_ids.after(there.last))
            lines.append(
                PartitionInfo(
                    partition,
                    redis_ids.text(there.first) if there.first else end,
                    end,
                    there.length,
                    size,
                    there.newest[0] // per_ms if there.newest else None,
                    there.first[0] // per_ms if there.first else None,
                )
            )
        return lines

    async def resolve(self, topic: str, position: Position) -> Resolved:
        known = await self._catalogue.look(topic)
        ends: dict[Partition, Offset] = {
            p: redis_ids.text(redis_ids.after(there.last)) for p, there in known.items()
        }
        found = dict(ends)
        match position:
            case Earliest():
                found |= {
                    p: redis_ids.text(t.first) for p, t in known.items() if t.first
                }
            case Latest():
                pass
            case AtTime(ms):
                found |= await self._at_time(ends, ms)
            case Newest(count):
                await self._catalogue.shape(topic)
                walk = Walk(self._catalogue)
                found = await positions.newest(count, ends, walk.back)
            case AtOffsets(offsets):
                found |= self._at_offsets(topic, ends, offsets)
        self._remember(found, known)
        return found

    async def consumer(
        self, start: Resolved, stop: Resolved | None = None, *, on_lost: str = "skip"
    ) -> RedisConsumer | MergedConsumer:
        if on_lost not in ("skip", "error"):
            raise UsageError(f'on_lost={on_lost!r}: there are "skip" and "error".')
        cursors = await self._cursors(start, stop)
        strict = on_lost == "error"
        if self._settings.kind == "cluster":
            merged = MergedConsumer(
                self._route,
                cursors,
                make=partial(self._reader, link=None, strict=strict),
                place=self._cursors,
                forget=self._open.discard,
            )
            self._open.add(merged)
            return merged
        link = await self._route.reader("").dial()
        reader = self._reader(cursors, link=link, strict=strict)
        self._open.add(reader)
        return reader

    def _reader(
        self, cursors: Sequence[Cursor], *, link: Link | None, strict: bool
    ) -> RedisConsumer:
        """A reader of streams that can stand in one command."""
        return RedisConsumer(
            self._route.reader(cursors[0].key.decode() if cursors else ""),
            link,
            cursors,
            self._catalogue.shapes,
            strict=strict,
            place=self._cursors,
            forget=self._open.discard,
        )

    async def groups(self) -> list[GroupInfo]:
        return await self._commits.groups()

    async def committed(self, group: str, topic: str) -> Mapping[Partition, Committed]:
        return await self._commits.committed(group, topic)

    async def commit(self, group: str, done: Mapping[Partition, Committed]) -> None:
        await self._commits.commit(group, done)

    async def group_consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Position,
        revoked: Revoked,  # noqa: ARG002 (nothing is ever taken away: members share all)
        name: str | None = None,
    ) -> RedisGroupConsumer:
        async def begin(topic: str) -> Resolved:
            try:
                found = await self.resolve(topic, start)
                await self._catalogue.shape(topic)
            except TopicNotFoundError:
                return {}
            return found

        member = RedisGroupConsumer(
            self._route,
            self._catalogue,
            group=group,
            name=name,
            begin=begin,
            forget=self._open.discard,
        )
        self._open.add(member)
        try:
            await member.subscribe(topics)
        except BaseException:
            await member.abandon()
            raise
        return member

    async def producer(
        self, topic: str, *, partitions: int | None = None
    ) -> RedisProducer:
        try:
            known = await self._catalogue.look(topic)
            shape = await self._catalogue.shape(topic)
        except TopicNotFoundError:
            known, shape = {}, None
        payload = redis_parse.SEASTREAMER if shape is None else shape.payload
        if self._settings.field is not None:
            payload = self._settings.field.encode()
        if payload is None:
            raise BrokerError(
                f"the entries of {topic!r} on {self.place} have no payload field to write to. "
                'Name one: options={"field": "msg"}.'
            )
        streams = {p.number: self._catalogue.streams[p] for p in known}
        writer = RedisProducer(
            self._route,
            topic,
            streams=await redis_streams.sharded(
                self._lines, topic, streams, partitions
            ),
            field=payload.decode(),
            forget=self._open.discard,
        )
        self._open.add(writer)
        return writer

    async def transactions(self, name: str) -> Transactions:
        raise UsageError(
            f"transactional_id={name!r}: Redis has no transactions over reading and writing. "
            f"On {self.place} records come at least once: write without the id, and let "
            "readers drop what comes twice (unique)."
        )

    async def trim(
        self, topic: str, *, keep: int | None = None, before: Resolved | None = None
    ) -> int:
        """Takes away exactly what was said, though Redis trims whole nodes faster (`~`)."""
        return await redis_streams.trim(self._catalogue, topic, keep, before)

    async def aclose(self) -> None:
        await asyncio.gather(*(used.aclose() for used in list(self._open)))
        await self._lines.aclose()
        await self._route.aclose()

    # ---- positions ----------------------------------------------------------

    async def _at_time(
        self, partitions: Mapping[Partition, Offset], ms: int
    ) -> dict[Partition, Offset]:
        found: dict[Partition, Offset] = {}
        for partition in partitions:
            name = self._catalogue.streams[partition]
            first = f"{max(0, ms) * self._settings.per_ms}-0"
            entries = await self._lines.ask(
                *(name, "XRANGE", name, first, "+", "COUNT", 1), what=partition.topic
            )
            if entries:
                found[partition] = entries[0][0].decode()
        return found

    def _at_offsets(
        self, topic: str, ends: Resolved, offsets: Mapping[int, Offset]
    ) -> dict[Partition, Offset]:
        found: dict[Partition, Offset] = {}
        for number, offset in offsets.items():
            if Partition(topic, number) not in ends:
                there = ", ".join(str(p.number) for p in ends)
                raise PositionError(
                    f"{topic!r} on {self.place} has no partition {number}. "
                    f"There are: {there}."
                )
            found[Partition(topic, number)] = redis_ids.text(redis_ids.given(offset))
        return found

    def _remember(self, found: Resolved, known: Mapping[Partition, Facts]) -> None:
        """Keep what was there at the call: it tells a reader what was lost before it began."""
        for place in found.items():
            self._known.pop(place, None)
            self._known[place] = known[place[0]]
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    async def _cursors(
        self, start: Resolved, stop: Resolved | None = None
    ) -> list[Cursor]:
        """Where reading begins, all topics looked at."""
        catalogue = self._catalogue
        for topic in {partition.topic for partition in start}:
            if any(p not in catalogue.streams for p in start if p.topic == topic):
                await catalogue.look(topic)
            await catalogue.shape(topic)
        return [self._cursor(p, offset, stop) for p, offset in start.items()]

    def _cursor(
        self, partition: Partition, offset: Offset, stop: Resolved | None
    ) -> Cursor:
        if partition not in self._catalogue.streams:
            raise TopicNotFoundError(
                f"{partition.topic!r} on {self.place} has no partition {partition.number}."
            )
        end: Id | None = None
        if stop is not None and partition in stop:
            end = redis_ids.given(stop[partition])
        cursor = Cursor(
            partition,
            self._catalogue.streams[partition].encode(),
            redis_ids.before(redis_ids.given(offset)),
            end,
        )
        cursor.begin(self._known.get((partition, offset)))
        return cursor


def route_of(chosen: Settings) -> Route:
    """The way to the server or servers of these settings."""
    # redis-py's clients are large, and one server does without them.
    if chosen.kind == "cluster":
        from streamlab.backends.redis.cluster import Cluster

        return Cluster(chosen)
    if chosen.kind == "sentinel":
        from streamlab.backends.redis.sentinel import WatchedServer

        return WatchedServer(chosen)
    return OneServer(Dialer(chosen))
