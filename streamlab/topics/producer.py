"""Sends messages one by one, for async programs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self

from streamlab.backends.base import Connection, Transactions
from streamlab.errors import EncodeError, StreamStoppedError, UsageError
from streamlab.records import Headers
from streamlab.runtime.loop import io
from streamlab.topics.consumer import Consumer
from streamlab.topics.mailer import Mailer
from streamlab.topics.message import Receipt
from streamlab.topics.outbox import Letter, Outbox, Pending

# Called with key, value and the number of partitions; returns one of them, from 0.
Choose = Callable[[bytes | None, bytes | None, int], int]
Payload = bytes | str | Mapping[str, Any] | list[Any] | None


class Producer:
    """Writes messages; its coroutines belong on one loop, the program's own.

    `await send(…)` returns once the broker has taken the message; `send_soon(…)` returns at once,
    and its result can be awaited later, or left to `flush()`. Messages of one topic go out in the
    order of the calls, and those that wait go out together.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str | None,
        *,
        partition_by: str | Choose,
        partitions: int | None,
        transactions: Transactions | None,
    ) -> None:
        """Not called by users: see `Broker.producer`."""
        self._outbox = Outbox()
        self._mailer = Mailer(
            connection,
            self._outbox,
            partition_by=partition_by,
            partitions=partitions,
            transactions=transactions,
        )
        self._topic = topic
        self._place = connection.place
        self._transactions = transactions
        self._in_transaction = False
        self._closed = False

    async def open(self) -> None:
        """Connect to its topic, on the I/O loop; not called by users."""
        if self._topic is not None:
            await self._mailer.producer(self._topic)

    # -- where to -------------------------------------------------------------------------

    def anchor(self, topic: str) -> None:
        """Send to this topic from now on; once only.

        Raises:
            UsageError: it has a topic.
        """
        if self._topic is not None:
            raise UsageError(
                f"anchor({topic!r}): this producer sends to {self._topic!r} already. "
                f"For another topic: send_to({topic!r}, …), or another producer."
            )
        self._topic = topic

    @property
    def anchored(self) -> str | None:
        """The topic that `send` sends to, or None."""
        return self._topic

    # -- sending --------------------------------------------------------------------------

    async def send(
        self,
        payload: Payload,
        *,
        key: bytes | str | None = None,
        headers: Mapping[str, bytes | str] | Headers = (),
        timestamp: datetime | int | None = None,
        partition: int | None = None,
    ) -> Receipt:
        """Send a message and wait until the broker has taken it.

        Args:
            payload: bytes as they are, text, a dict or list (as JSON), None (a tombstone).
            key: decides the partition; messages of one key stay in order.
            headers: names and values.
            timestamp: an aware datetime, or ms since 1970; None lets the broker stamp it.
            partition: its number, instead of the key's or whose turn it is.

        Raises:
            BrokerError: the broker did not take it.
        """
        return await self.send_soon(
            payload, key=key, headers=headers, timestamp=timestamp, partition=partition
        )

    async def send_to(
        self,
        topic: str,
        payload: Payload,
        *,
        key: bytes | str | None = None,
        headers: Mapping[str, bytes | str] | Headers = (),
        timestamp: datetime | int | None = None,
        partition: int | None = None,
    ) -> Receipt:
        """As `send`, to another topic than its own."""
        return await self.send_soon(
            payload,
            topic=topic,
            key=key,
            headers=headers,
            timestamp=timestamp,
            partition=partition,
        )

    def send_soon(
        self,
        payload: Payload,
        *,
        topic: str | None = None,
        key: bytes | str | None = None,
        headers: Mapping[str, bytes | str] | Headers = (),
        timestamp: datetime | int | None = None,
        partition: int | None = None,
    ) -> Pending:
        """Send a message without waiting; its receipt can be awaited later: `await pending`.

        Nothing is lost by not awaiting it: `flush()` and `end()` wait for all, and raise what
        nobody has seen.
        """
        name = topic if topic is not None else self._topic
        if name is None:
            raise UsageError(
                'send to which topic? producer("orders"), anchor("orders") or '
                'send_to("orders", …).'
            )
        self._may_send()
        pending = Pending(name, self._outbox.lock)
        letter = Letter(
            name,
            _payload(payload),
            key.encode() if isinstance(key, str) else key,
            _headers(headers),
            None if timestamp is None else _ms(timestamp),
            partition,
            pending,
        )
        if self._outbox.put(letter):
            io().post(self._mailer.wake)
        return pending

    async def flush(self) -> None:
        """Wait until the broker has answered everything sent so far.

        Raises:
            BrokerError: the first message it did not take, if nobody has awaited that one.
        """
        await io().bridge(self._mailer.flush())
        if error := self._outbox.unseen():
            raise error

    # -- all or nothing -------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(
        self, consumer: Consumer | None = None
    ) -> AsyncIterator[None]:
        """What is sent within is seen by all or by nobody: `async with producer.transaction():`.

        An error within takes everything back.

        Args:
            consumer: a resumable one; what it has handed out is committed with the rest, so that
                each message is worked on exactly once.

        Raises:
            UsageError: the producer has no transactional_id.
        """
        if self._transactions is None:
            raise UsageError(
                "transaction(): the broker knows a writer of transactions by name: "
                'producer(…, transactional_id="billing-1").'
            )
        await io().bridge(self._transactions.begin())
        self._in_transaction = True
        try:
            yield
            await self.flush()
            done = None if consumer is None else consumer.done()
        except BaseException:
            self._in_transaction = False
            await io().bridge(self._mailer.abort())
            raise
        self._in_transaction = False
        group = None if consumer is None else consumer.group
        await io().bridge(self._transactions.commit(group, done))

    # -- its end --------------------------------------------------------------------------

    async def end(self) -> None:
        """Flush and close; may be called twice.

        Raises:
            BrokerError: as `flush`.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await io().bridge(self._mailer.flush())
        finally:
            await io().bridge(self._mailer.close())
        if error := self._outbox.unseen():
            raise error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.end()

    def _may_send(self) -> None:
        if self._closed:
            raise StreamStoppedError("this producer was ended; nothing can be sent.")
        if self._transactions is not None and not self._in_transaction:
            raise UsageError(
                "this producer has a transactional_id, so it sends within transactions only: "
                "async with producer.transaction(): …"
            )

    def __repr__(self) -> str:
        return f"<Producer {self._topic or '(no topic)'} on {self._place}>"


def _payload(payload: Any) -> bytes | None:
    match payload:
        case None | bytes():
            found: bytes | None = payload
        case str():
            found = payload.encode()
        case bytearray() | memoryview():
            found = bytes(payload)
        case Mapping() | list():
            found = _json(payload)
        case _:
            raise UsageError(
                f"send({payload!r}): a payload is bytes, text, a dict or a list (sent as "
                "JSON), or None (a tombstone)."
            )
    return found


def _json(payload: Any) -> bytes:
    try:
        return json.dumps(payload, ensure_ascii=False).encode()
    except TypeError as error:
        raise EncodeError(
            f"send({payload!r}): not to be written as JSON: {error}."
        ) from error


def _headers(headers: Mapping[str, bytes | str] | Headers) -> Headers:
    if not headers:
        return ()
    pairs: Iterable[tuple[str, bytes | str]] = (
        headers.items() if isinstance(headers, Mapping) else headers
    )
    return [(n, v.encode() if isinstance(v, str) else v) for n, v in pairs]


def _ms(timestamp: datetime | int) -> int:
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise UsageError(
                f"timestamp={timestamp!r} has no zone. Write datetime(…, tzinfo=UTC)."
            )
        return round(timestamp.timestamp() * 1000)
    return int(timestamp)
