"""The writer of Kafka topics: whole batches, acknowledged by all replicas, in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka import errors as aio
from aiokafka.producer.message_accumulator import BatchBuilder
from numpy.typing import NDArray

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka.options import Settings
from streamlab.backends.kafka.partitioner import Numbers, Partitioner
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError, ConnectError
from streamlab.records import Headers, Outgoing, Sent

_PATIENCE_S = 30.0
# One request carries a batch of each partition, and brokers hang up at 100 MB.
_REQUEST = 32 << 20
# What a record takes beside key, value and headers, at most.
_FRAME, _HEADER_FRAME = 32, 10
_Row = tuple[int, bytes | None, bytes | None, Headers]


class Lender(Protocol):
    """Who lends the producing client: the connection's pen, or a transaction."""

    def borrow(self, rows: int) -> AbstractAsyncContextManager[AIOKafkaProducer]:
        """The client, to write so many rows with."""
        ...

    async def spoil(self, client: AIOKafkaProducer, error: BaseException) -> None:
        """Hear that a batch failed, or that nobody knows what became of it."""
        ...


class KafkaProducer:
    """Writes to one topic; owned by one task. The client is shared by the connection."""

    def __init__(
        self,
        settings: Settings,
        pen: Lender,
        topic: str,
        *,
        partitions: int,
        most_bytes: int = 1 << 20,
        patience: float = _PATIENCE_S,
    ) -> None:
        """Sends nothing yet.

        Args:
            settings: of the connection.
            pen: lends the client.
            topic: where it writes.
            partitions: how many the topic has.
            most_bytes: the largest batch the topic takes.
            patience: seconds without any acknowledgement after which a send fails.
        """
        self._settings = settings
        self._pen = pen
        self._topic = topic
        self._partitions = partitions
        self._most_bytes = most_bytes
        self._patience = patience
        self._partitioner = Partitioner(topic)

    @property
    def partitions(self) -> int:
        return self._partitions

    async def send(self, rows: Outgoing) -> Sent:
        if not rows.values:
            return Sent((), (), ())
        sending = _Sending(rows)
        try:
            async with self._pen.borrow(len(rows.values)) as client:
                await self._use(client, sending)
        except BrokerError as error:
            raise type(error)(f"{self._so_far(sending)}: {error}") from None
        return sending.sent()

    async def aclose(self) -> None:
        """Nothing is left to do: `send` waits for its acknowledgements."""

    async def _use(self, client: AIOKafkaProducer, sending: _Sending) -> None:
        """Send with this client, and lay it aside if that fails."""
        known = client.client.cluster.partitions_for_topic(self._topic)
        if known is not None and len(known) < self._partitions:
            # It has grown since this client last looked.
            await client.client.force_metadata_update()
        self._partitions = max(self._partitions, len(known or ()))
        sending.numbers = self._partitioner.choose(sending.rows, self._partitions)
        try:
            await self._carry(client, sending)
        except (aio.KafkaError, OSError, BrokerError) as error:
            await self._pen.spoil(client, error)
            raise self._refusal(error, sending) from None
        except BaseException as error:
            await self._pen.spoil(client, error)
            raise

    async def _carry(self, client: AIOKafkaProducer, sending: _Sending) -> None:
        """Write all partitions side by side, as long as acknowledgements come."""
        tasks = [
            asyncio.create_task(self._write(client, sending, number, places))
            for number, places in sending.shares()
        ]
        pending = set(tasks)
        try:
            while pending:
                left = sending.heard + self._patience - SYSTEM.running()
                if left <= 0:
                    raise ConnectError(
                        f"{self._settings.place} has acknowledged nothing for "
                        f"{self._patience:g} s; the others may have arrived or not"
                    )
                _, pending = await asyncio.wait(pending, timeout=left)
        finally:
            for task in pending:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [end for end in ends if isinstance(end, BaseException)]
        for failure in (sending.failure, *failures):
            if failure is not None:
                raise failure

    async def _write(
        self, client: AIOKafkaProducer, sending: _Sending, number: int, places: Numbers
    ) -> None:
        answers: list[asyncio.Future[Any]] = []
        first = 0
        for batch, count in self._batches(client, sending.of(places)):
            answer = await self._hand_over(client, batch, number)
            mine = places[first : first + count]
            answer.add_done_callback(partial(sending.answered, mine))
            answers.append(answer)
            first += count
            if sending.failure is not None:
                break
        await asyncio.gather(*answers, return_exceptions=True)

    async def _hand_over(
        self, client: AIOKafkaProducer, batch: BatchBuilder, number: int
    ) -> asyncio.Future[Any]:
        """Put a batch into the queue, where each partition has one place."""
        while True:
            try:
                answer: asyncio.Future[Any] = await client.send_batch(
                    batch, self._topic, partition=number
                )
            except aio.KafkaTimeoutError:
                continue  # how long is too long, `_carry` knows
            return answer

    def _batches(
        self, client: AIOKafkaProducer, rows: Iterator[_Row]
    ) -> Iterator[tuple[BatchBuilder, int]]:
        """The rows of a partition in batches, each with how many it has."""
        most = min(self._most_bytes, _REQUEST // self._partitions)
        row = next(rows, None)
        while row is not None:
            batch, count = client.create_batch(), 0
            while row is not None and (count == 0 or _fits(batch, row, most)):
                ms, key, value, headers = row
                took = batch.append(timestamp=ms, key=key, value=value, headers=headers)
                if took is None:
                    break
                count += 1
                row = next(rows, None)
            batch.close()
            yield batch, count

    def _refusal(self, error: BaseException, sending: _Sending) -> BrokerError:
        if isinstance(error, aio.MessageSizeTooLargeError):
            return BrokerError(self._too_large(sending))
        return kafka_errors.translate(
            self._settings, error, topic=self._topic, right="WRITE"
        )

    def _too_large(self, sending: _Sending) -> str:
        where = f"{self._topic!r} on {self._settings.place}"
        if len(sending.failed) > 1:
            return (
                f"{where} takes smaller batches (max.message.bytes): "
                'options={"batch.size": 16_384}'
            )
        row = int(sending.failed[0])
        size = len(sending.rows.values[row] or b"")
        return (
            f"row {row} has {size:,} bytes, and {where} takes {self._most_bytes:,} "
            "(max.message.bytes)"
        )

    def _so_far(self, sending: _Sending) -> str:
        count = len(sending.rows.values)
        return f"{sending.acknowledged} of {count} rows for {self._topic!r} were acknowledged"


class _Sending:
    """One call of `send` on its way."""

    def __init__(self, rows: Outgoing) -> None:
        count = len(rows.values)
        self.rows = rows
        self.numbers: Numbers = np.zeros(count, dtype=np.int64)
        self.acknowledged = 0
        self.failure: BaseException | None = None
        self.failed: Numbers = self.numbers[:0]
        self.heard = SYSTEM.running()
        self._offsets = np.full(count, -1, dtype=np.int64)
        self._times: NDArray[np.int64] = (
            np.full(count, SYSTEM.now_ms(), dtype=np.int64)
            if rows.timestamps_ms is None
            else np.asarray(rows.timestamps_ms, dtype=np.int64)
        )

    def shares(self) -> Iterator[tuple[int, Numbers]]:
        """Partitions, each with the places of its rows, in order."""
        order = np.argsort(self.numbers, kind="stable")
        present, starts = np.unique(self.numbers[order], return_index=True)
        return zip(present.tolist(), np.split(order, starts[1:]), strict=True)

    def of(self, places: Numbers) -> Iterator[_Row]:
        """These rows, as (time, key, value, headers)."""
        where = places.tolist()
        keys, headers, values = self.rows.keys, self.rows.headers, self.rows.values
        return zip(
            self._times[places].tolist(),
            itertools.repeat(None) if keys is None else [keys[i] for i in where],
            [values[i] for i in where],
            itertools.repeat([]) if headers is None else [headers[i] for i in where],
            strict=False,
        )

    def answered(self, places: Numbers, answer: asyncio.Future[Any]) -> None:
        """Note what became of a batch."""
        if answer.cancelled():
            return
        if (failure := answer.exception()) is not None:
            if self.failure is None:
                self.failure, self.failed = failure, places
            return
        self.heard = SYSTEM.running()
        self.acknowledged += len(places)
        told = answer.result()
        if told is None:  # acks=0
            return
        if told.offset >= 0:
            self._offsets[places] = np.arange(told.offset, told.offset + len(places))
        if told.timestamp >= 0:  # the topic stamps records as they come in
            self._times[places] = told.timestamp

    def sent(self) -> Sent:
        return Sent(self.numbers.tolist(), self._offsets.tolist(), self._times.tolist())


def _fits(batch: BatchBuilder, row: _Row, most: int) -> bool:
    """Whether a batch that has rows may take one more and stay below `most` bytes."""
    size: int = batch.size() + _FRAME
    if size > most:
        return False
    _, key, value, headers = row
    size += len(key or b"") + len(value or b"")
    for name, content in headers:
        size += _HEADER_FRAME + len(name) * 4 + len(content or b"")
    return size <= most
