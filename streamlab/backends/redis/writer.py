"""The writer of Redis streams: pipelined XADD, over as many streams and nodes as there are."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import hiredis

from streamlab.backends.redis import errors as redis_errors
from streamlab.backends.redis.options import Settings
from streamlab.backends.redis.route import Route
from streamlab.backends.redis.wire import Dialer, Link
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError
from streamlab.records import Outgoing, Sent

_ROWS, _BYTES = 1_000, 1 << 20
_TRIES = 8
_FIRST_WAIT_S = 0.05


class _Chunk(NamedTuple):
    """Some rows on their way: their places, their streams and their commands."""

    places: Sequence[int]
    streams: Sequence[bytes]
    commands: Sequence[bytes]


class RedisProducer:
    """Writes to one topic; owned by one task."""

    def __init__(
        self,
        route: Route,
        topic: str,
        *,
        streams: Mapping[int, str],
        field: str,
        forget: Callable[[RedisProducer], None],
    ) -> None:
        """Connects at the first `send`.

        Args:
            route: the way to the streams.
            topic: where it writes.
            streams: partition → its stream; empty for a new topic of one.
            field: the entry field for the payload.
            forget: called once it is closed.
        """
        self._route = route
        self._settings: Settings = route.settings
        self._topic = topic
        self._streams = {n: name.encode() for n, name in streams.items()}
        self._numbers = sorted(streams)
        self._field = field.encode()
        self._key_field = self._settings.key_field.encode()
        self._forget = forget
        self._links: dict[Dialer, Link] = {}
        self._turn = 0

    @property
    def partitions(self) -> int:
        return max(1, len(self._streams))

    async def send(self, rows: Outgoing) -> Sent:
        """Each row is one entry: payload field, key field, a field per header.

        With `timestamps_ms` the ids are made of them, and Redis ids only rise: rows must come
        in order of time, none before the stream's last entry.

        Raises:
            BrokerError: a tombstone (Redis has none), a header whose name is taken, a row that
                the server refused, or a lost connection; the message says how many were
                written.
        """
        self._check(rows)
        places = self._places(rows)
        ids: list[Any] = [None] * len(rows.values)
        for chunk in self._chunks(rows, places):
            try:
                await self._write(chunk, ids)
            except BrokerError as error:
                raise self._explained(error, ids) from error
        return self._sent(ids, places)

    async def aclose(self) -> None:
        self._forget(self)
        await self._hang_up()

    # ---- writing ------------------------------------------------------------

    async def _write(self, chunk: _Chunk, ids: list[Any]) -> None:
        """Write a chunk and note the ids; what another node has by now is sent there."""
        wait = _FIRST_WAIT_S
        for left in range(_TRIES, 0, -1):
            replies = await self._pipelines(chunk)
            refused = [
                i for i, r in enumerate(replies) if isinstance(r, hiredis.ReplyError)
            ]
            if not refused:
                for place, reply in zip(chunk.places, replies, strict=True):
                    ids[place] = reply
                return
            for i, reply in enumerate(replies):
                if not isinstance(reply, hiredis.ReplyError):
                    ids[chunk.places[i]] = reply
            moved = all(redis_errors.is_moved(replies[i]) for i in refused)
            if not (moved and left > 1 and await self._route.look_again()):
                raise self._refusal(str(replies[refused[0]]))
            chunk = _Chunk(
                [chunk.places[i] for i in refused],
                [chunk.streams[i] for i in refused],
                [chunk.commands[i] for i in refused],
            )
            await self._hang_up()
            await SYSTEM.sleep(wait)
            wait *= 2

    async def _pipelines(self, chunk: _Chunk) -> Sequence[Any]:
        """The answers, in the order of the commands."""
        by_node: dict[Dialer, list[int]] = {}
        nodes = {
            stream: await self._route.node(stream.decode())
            for stream in dict.fromkeys(chunk.streams)
        }
        if len({*nodes.values()}) == 1:
            link = await self._link(nodes[chunk.streams[0]])
            return await link.pipeline(b"".join(chunk.commands), len(chunk.commands))
        for i, stream in enumerate(chunk.streams):
            by_node.setdefault(nodes[stream], []).append(i)
        replies: list[Any] = [None] * len(chunk.commands)
        for node, mine in by_node.items():
            link = await self._link(node)
            data = b"".join([chunk.commands[i] for i in mine])
            for i, reply in zip(
                mine, await link.pipeline(data, len(mine)), strict=True
            ):
                replies[i] = reply
        return replies

    async def _link(self, node: Dialer) -> Link:
        link = self._links.get(node)
        if link is None or link.lost is not None:
            link = self._links[node] = await node.dial()
        return link

    async def _hang_up(self) -> None:
        links, self._links = self._links, {}
        for link in links.values():
            await link.aclose()

    def _sent(self, ids: Sequence[bytes], places: Sequence[int]) -> Sent:
        texts = b"\n".join(ids).decode().split("\n") if ids else []
        per_ms = self._settings.per_ms
        stamps = [int(entry.partition("-")[0]) for entry in texts]
        if per_ms > 1:
            stamps = [stamp // per_ms for stamp in stamps]
        return Sent(places, texts, stamps)

    # ---- what is said when it fails -------------------------------------------

    def _explained(self, error: BrokerError, ids: Sequence[Any]) -> BrokerError:
        done = sum(entry is not None for entry in ids)
        return type(error)(
            f"{done} of {len(ids)} rows were written to {self._topic!r}, then: {error}"
        )

    def _refusal(self, reply: str) -> BrokerError:
        if "equal or smaller" in reply:
            return BrokerError(
                "a timestamp lies before the newest entry of the stream, and Redis "
                "ids only rise. Sort the rows by time, or send them without timestamps."
            )
        return redis_errors.refusal(self._settings, reply, self._topic)

    def _check(self, rows: Outgoing) -> None:
        if None in rows.values:
            row = list(rows.values).index(None)
            raise BrokerError(
                f"row {row} for {self._topic!r} is a tombstone (no payload), and a Redis "
                "entry can't be one: nothing was written. Leave such rows out."
            )
        taken = {self._field.decode(), self._key_field.decode()}
        for headers in rows.headers or ():
            for name, _ in headers:
                if name in taken:
                    raise BrokerError(
                        f"a header of {self._topic!r} is named {name!r}, the field of the "
                        "payload or the key: nothing was written. Give it another name."
                    )

    # ---- rows as commands -------------------------------------------------------

    def _places(self, rows: Outgoing) -> Sequence[int]:
        """The partition of each row: as it says, by its key, or in turn."""
        if rows.partitions is not None:
            return rows.partitions
        count, numbers = len(rows.values), self._numbers
        if len(numbers) < 2:
            return (numbers or [0]) * count
        found = []
        for key in rows.keys if rows.keys is not None else [None] * count:
            if key is None:
                found.append(numbers[self._turn % len(numbers)])
                self._turn += 1
            else:
                found.append(numbers[zlib.crc32(key) % len(numbers)])
        return found

    def _stream(self, number: int, rows: Outgoing) -> bytes:
        """The stream of a partition, which may be new."""
        if number not in self._streams:
            plain = not self._streams and rows.partitions is None
            name = self._topic if plain else f"{self._topic}:{number}"
            self._streams[number] = name.encode()
            self._numbers = sorted(self._streams)
        return self._streams[number]

    def _chunks(self, rows: Outgoing, places: Sequence[int]) -> Iterator[_Chunk]:
        """The rows as commands, so many at a time that neither side has much in flight."""
        first = size = 0
        streams: list[bytes] = []
        parts: list[bytes] = []
        stamp = self._stamp()
        plain = rows.keys is None and rows.headers is None
        heads: dict[bytes, bytes] = {}
        for index, value in enumerate(rows.values):
            stream = self._stream(places[index], rows)
            if plain and rows.timestamps_ms is None:
                head = heads.get(stream)
                if head is None:
                    head = heads[stream] = _head(stream, stamp, self._field, 5)
                held = value or b""
                part = b"%b$%d\r\n%b\r\n" % (head, len(held), held)
            else:
                part = self._entry(rows, index, stream, stamp)
            streams.append(stream)
            parts.append(part)
            size += len(part)
            if len(parts) >= _ROWS or size >= _BYTES:
                yield _Chunk(range(first, index + 1), streams, parts)
                first, size, streams, parts = index + 1, 0, [], []
                stamp, heads = self._stamp(), {}
        if parts:
            yield _Chunk(range(first, first + len(parts)), streams, parts)

    def _stamp(self) -> bytes:
        """The id of an entry without a timestamp."""
        return b"*" if self._settings.per_ms == 1 else b"%d-*" % SYSTEM.now_ns()

    def _entry(self, rows: Outgoing, index: int, stream: bytes, stamp: bytes) -> bytes:
        value = rows.values[index] or b""
        key = rows.keys[index] if rows.keys is not None else None
        headers = rows.headers[index] if rows.headers is not None else ()
        more: list[bytes] = [] if key is None else [self._key_field, key]
        for name, content in headers:
            more += (name.encode(), content)
        if rows.timestamps_ms is not None:
            stamp = b"%d-*" % (rows.timestamps_ms[index] * self._settings.per_ms)
            head = _head(stream, stamp, self._field, 5 + len(more))
        else:
            head = _shared_head(stream, stamp, self._field, 5 + len(more))
        return b"%b$%d\r\n%b\r\n%b" % (head, len(value), value, _words(*more))


@lru_cache(maxsize=1024)
def _shared_head(stream: bytes, stamp: bytes, field: bytes, count: int) -> bytes:
    """The same beginning for all rows whose id the server makes."""
    return _head(stream, stamp, field, count)


def _head(stream: bytes, stamp: bytes, field: bytes, count: int) -> bytes:
    """The command up to the payload."""
    return b"*%d\r\n%b" % (count, _words(b"XADD", stream, stamp, field))


def _words(*words: bytes) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
