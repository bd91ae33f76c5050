"""What a Redis server holds: which streams are a topic's, and how their entries are read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import hiredis

from streamlab import positions
from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis import parse as redis_parse
from streamlab.backends.redis.cursor import Facts, facts
from streamlab.backends.redis.lines import Lines, question
from streamlab.backends.redis.parse import Shape
from streamlab.clocks import SYSTEM
from streamlab.errors import PermissionDeniedError, TopicNotFoundError
from streamlab.records import Offset, Partition

_SHARD = re.compile(r"(.+):(0|[1-9]\d{0,9})", re.DOTALL)
_HIGHEST_SHARD = 2**31 - 1
_SCAN_COUNT = 2_000
_SCAN_S = (
    60.0  # looking through all names of a large server is not for every few seconds
)
_NEXT = 4  # so many numbers after the highest are asked for in between
_SAMPLE = 10  # entries from each end, of the first partitions
_SAMPLED_PARTITIONS = 4
_PAGE_BYTES = 1 << 21


class Catalogue:
    """Asks a server about its streams, over a connection of its own.

    Attributes:
        shapes: per topic, how its entries are read, as far as that is known.
        streams: partition → name of its stream, of all topics looked at.
    """

    def __init__(self, lines: Lines) -> None:
        """Connects at the first question."""
        self.shapes: dict[str, Shape] = {}
        self.streams: dict[Partition, str] = {}
        self.lines = lines
        self._settings = lines.settings
        self._scanned: dict[str, float] = {}

    async def topics(self) -> list[str]:
        """Names of the topics, numbered streams counted as one."""
        return sorted({topic_of(name) for name in await self.all_streams()})

    async def all_streams(self) -> list[str]:
        """Names of all streams, sorted."""
        return await self._scan("*")

    async def look(self, topic: str) -> dict[Partition, Facts]:
        """What the server says of each of the topic's streams.

        Raises:
            TopicNotFoundError: it has none.
        """
        numbered = await self._numbered(topic)
        streams = {Partition(topic, n): name for n, name in sorted(numbered.items())}
        replies = await self.lines.ask_all(
            [question(name, "XINFO", "STREAM", name) for name in streams.values()]
        )
        known: dict[Partition, Facts] = {}
        for (partition, name), reply in zip(streams.items(), replies, strict=True):
            there = None if is_missing(reply) else facts(self._good(reply, topic))
            if there is not None:
                known[partition] = there
                self.streams[partition] = name
        if not known:
            raise TopicNotFoundError.among(
                topic, self._settings.place, await self._names()
            )
        return known

    async def partitions(self, topic: str) -> frozenset[Partition]:
        """The topic's partitions there are now; all names are looked through once a minute."""
        since = SYSTEM.running() - self._scanned.get(topic, -math.inf)
        numbered = {p.number: n for p, n in self.streams.items() if p.topic == topic}
        if since >= _SCAN_S:
            numbered |= await self._numbered(topic)
        last = max(numbered, default=-1)
        for number in (0, *range(last + 1, last + 1 + _NEXT)):
            numbered[number] = f"{topic}:{number}"
        names = {*numbered.values(), topic}
        replies = await self.lines.ask_all(
            [question(name, "XINFO", "GROUPS", name) for name in names]
        )
        there = {n for n, r in zip(names, replies, strict=True) if isinstance(r, list)}
        found = {Partition(topic, n): s for n, s in numbered.items() if s in there}
        if topic in there:
            found.setdefault(Partition(topic, 0), topic)
        self.streams |= found
        return frozenset(found)

    def name_for(self, partition: Partition) -> str:
        """What the stream of a partition that isn't there would be called."""
        topic, number = partition
        several = any(p.topic == topic and p.number != number for p in self.streams)
        return f"{topic}:{number}" if number or several else topic

    async def sizes(self, partitions: Sequence[Partition]) -> list[int | None]:
        """Bytes per partition; None where the user may not ask."""
        names = [self.streams[partition] for partition in partitions]
        replies = await self.lines.ask_all(
            [question(name, "MEMORY", "USAGE", name) for name in names]
        )
        return [reply if isinstance(reply, int) else None for reply in replies]

    async def shape(self, topic: str) -> Shape | None:
        """How the topic's entries are read; None while it has none to judge by."""
        key = self._settings.key_field.encode()
        if self._settings.field is not None:
            self.shapes[topic] = Shape(self._settings.field.encode(), key)
        if topic not in self.shapes:
            names = [n for p, n in self.streams.items() if p.topic == topic]
            sample: list[Any] = []
            for name in names[:_SAMPLED_PARTITIONS]:
                sample += await self.back(name, "+", _SAMPLE, topic)
                sample += await self.lines.ask(
                    name, "XRANGE", name, "-", "+", "COUNT", _SAMPLE, what=topic
                )
            if sample:
                fields = [held for _, held in sample]
                self.shapes[topic] = redis_parse.choose(fields, key)
        return self.shapes.get(topic)

    async def back(self, name: str, end: str, count: int, topic: str) -> Any:
        """Up to `count` entries of a stream back from `end`, newest first."""
        words = ("XREVRANGE", name, end, "-", "COUNT", count)
        return await self.lines.ask(name, *words, what=topic)

    def is_message(self, topic: str, fields: Sequence[bytes]) -> bool:
        """Whether an entry with these fields is delivered."""
        shape = self.shapes.get(topic)
        return shape is None or shape.payload is None or shape.payload in fields[::2]

    def _good(self, reply: Any, topic: str) -> Any:
        return self.lines.good(reply, topic)

    async def _numbered(self, topic: str) -> dict[int, str]:
        """Its streams by their numbers, the plain one among them; some may not be streams."""
        numbered: dict[int, str] = {}
        try:
            for name in await self._scan(f"{_escaped(topic)}:*"):
                shard = _SHARD.fullmatch(name)
                if shard and shard[1] == topic and int(shard[2]) <= _HIGHEST_SHARD:
                    numbered[int(shard[2])] = name
        except PermissionDeniedError:
            numbered = {}
        numbered.setdefault(0, topic)
        self._scanned[topic] = SYSTEM.running()
        return numbered

    async def _scan(self, pattern: str) -> list[str]:
        """Names of the streams that match a shell pattern."""
        names: set[bytes] = set()
        for node in await self.lines.nodes():
            cursor = b"0"
            while cursor:
                cursor, page = await self.lines.ask_node(
                    *(node, "SCAN", cursor, "MATCH", pattern),
                    *("COUNT", _SCAN_COUNT, "TYPE", "stream"),
                )
                names.update(page)
                cursor = b"" if cursor == b"0" else cursor
        # A name that is not UTF-8 can't be typed, so it can't be a topic.
        return sorted(filter(None, map(_name, names)))

    async def _names(self) -> list[str]:
        try:
            return await self.topics()
        except PermissionDeniedError:
            return []


class Walk:
    """The pages of one walk back; their size follows the size of the entries."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Begin with small pages: entries may be large."""
        self._catalogue = catalogue
        self._per_ms = catalogue.lines.settings.per_ms
        self._most = 100

    async def back(
        self, partition: Partition, before: Offset, most: int
    ) -> Sequence[tuple[Offset, int]]:
        """Up to `most` messages just before `before`, newest first, as (offset, ms)."""
        catalogue, topic = self._catalogue, partition.topic
        end = redis_ids.pair(str(before))
        while end > redis_ids.NONE:
            entries = await catalogue.back(
                catalogue.streams[partition],
                redis_ids.text(redis_ids.before(end)),
                min(most, self._most),
                topic,
            )
            if not entries:
                break
            size = sum(sum(map(len, fields)) for _, fields in entries) / len(entries)
            self._most = max(10, min(positions.PAGE, int(_PAGE_BYTES / (size + 1))))
            end = redis_ids.pair(entries[-1][0])
            found = [e for e, fields in entries if catalogue.is_message(topic, fields)]
            if found:
                return [
                    (entry.decode(), redis_ids.pair(entry)[0] // self._per_ms)
                    for entry in found
                ]
        return []


def is_missing(reply: Any) -> bool:
    """Whether an answer says that there is no such stream."""
    return isinstance(reply, hiredis.ReplyError) and "no such key" in str(reply)


def topic_of(name: str) -> str:
    """The topic a stream belongs to."""
    shard = _SHARD.fullmatch(name)
    return shard[1] if shard and int(shard[2]) <= _HIGHEST_SHARD else name


def _name(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def _escaped(topic: str) -> str:
    """The name as a shell pattern that matches it alone."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", topic)
