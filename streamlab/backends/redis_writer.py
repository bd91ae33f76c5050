"""The writer of Redis streams: pipelined XADD."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import hiredis

from streamlab.backends import redis_errors
from streamlab.backends.redis_options import Settings
from streamlab.backends.redis_route import Route
from streamlab.backends.redis_wire import Link
from streamlab.errors import BrokerError
from streamlab.records import Outgoing

_ROWS, _BYTES = 1_000, 1 << 20


class RedisProducer:
    """Writes to one topic; owned by one task."""

    def __init__(
        self,
        route: Route,
        settings: Settings,
        topic: str,
        *,
        streams: dict[int, str],
        field: str,
        forget: Callable[[RedisProducer], None],
    ) -> None:
        """Connects at the first `send`.

        Args:
            route: the way to the streams.
            settings: of the server.
            topic: where it writes.
            streams: partition → stream there is already; empty for a new topic.
            field: the entry field for the payload.
            forget: called once it is closed.
        """
        self._route = route
        self._settings = settings
        self._topic = topic
        self._streams = dict(streams)
        self._field = field.encode()
        self._key_field = settings.key_field.encode()
        self._forget = forget
        self._link: Link | None = None
        self._turn = 0

    async def send(self, rows: Outgoing) -> int:
        """Each row is one entry: payload field, key field, a field per header.

        With `timestamps_ms` the ids are made of them, and Redis ids only rise: rows must come
        in order of time, none before the stream's last entry.

        Raises:
            BrokerError: a tombstone (Redis has none), a header whose name is taken, a row that
                the server refused, or a lost connection; the message says how many were
                written.
        """
        self._check(rows)
        done = 0
        for count, chunk in self._chunks(rows):
            done += await self._write(chunk, count, done, len(rows.values))
        return done

    async def aclose(self) -> None:
        link, self._link = self._link, None
        self._forget(self)
        if link is not None:
            await link.aclose()

    async def _write(self, chunk: bytes, count: int, done: int, total: int) -> int:
        try:
            if self._link is None or self._link.lost is not None:
                self._link = await (await self._route.node(self._topic)).dial()
            replies = await self._link.pipeline(chunk, count)
        except BrokerError as error:
            raise type(error)(f"{self._so_far(done, total)} {error}") from error
        refusals = [r for r in replies if isinstance(r, hiredis.ReplyError)]
        if refusals:
            done += count - len(refusals)
            raise self._refusal(str(refusals[0]), self._so_far(done, total))
        return count

    def _so_far(self, done: int, total: int) -> str:
        return f"{done} of {total} rows were written to {self._topic!r}, then:"

    def _refusal(self, reply: str, so_far: str) -> BrokerError:
        if "equal or smaller" in reply:
            return BrokerError(
                f"{so_far} a timestamp lies before the newest entry of the stream, and Redis "
                "ids only rise. Sort the rows by time, or send them without timestamps."
            )
        error = redis_errors.refusal(self._settings, reply, self._topic)
        return type(error)(f"{so_far} {error}")

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

    def _chunks(self, rows: Outgoing) -> Iterator[tuple[int, bytes]]:
        """The rows as commands, so many at a time that neither side has much in flight."""
        parts: list[bytes] = []
        size = 0
        for index in range(len(rows.values)):
            part = self._entry(rows, index)
            parts.append(part)
            size += len(part)
            if len(parts) >= _ROWS or size >= _BYTES:
                yield len(parts), b"".join(parts)
                parts, size = [], 0
        if parts:
            yield len(parts), b"".join(parts)

    def _entry(self, rows: Outgoing, index: int) -> bytes:
        value = rows.values[index] or b""
        key = rows.keys[index] if rows.keys is not None else None
        stream = self._stream(rows.partitions, index, key)
        headers = rows.headers[index] if rows.headers is not None else ()
        more: list[bytes] = [] if key is None else [self._key_field, key]
        for name, content in headers:
            more += (name.encode(), content)
        if rows.timestamps_ms is None:
            head = _shared_head(stream, self._field, 5 + len(more))
        else:
            entry = b"%d-*" % rows.timestamps_ms[index]
            head = _head(stream, entry, self._field, 5 + len(more))
        return b"%b$%d\r\n%b\r\n%b" % (head, len(value), value, _words(*more))

    def _stream(
        self, partitions: Sequence[int] | None, index: int, key: bytes | None
    ) -> bytes:
        if partitions is not None:
            number = partitions[index]
            plain = self._streams.get(number)
            return (plain or f"{self._topic}:{number}").encode()
        numbers = sorted(self._streams)
        if not numbers:
            return self._topic.encode()
        if key is not None:
            number = numbers[zlib.crc32(key) % len(numbers)]
        else:
            number = numbers[self._turn % len(numbers)]
            self._turn += 1
        return self._streams[number].encode()


@lru_cache(maxsize=1024)
def _shared_head(stream: bytes, field: bytes, count: int) -> bytes:
    """The same beginning for all rows whose id the server makes."""
    return _head(stream, b"*", field, count)


def _head(stream: bytes, entry: bytes, field: bytes, count: int) -> bytes:
    """The command up to the payload."""
    return b"*%d\r\n%b" % (count, _words(b"XADD", stream, entry, field))


def _words(*words: bytes) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
