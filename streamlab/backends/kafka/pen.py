"""The producing client that all writers of a connection share.

A broker takes an idempotent client's batches only in sequence. So after a batch that failed, or
whose fate is unknown, the client is of no more use: it is laid aside, and the next send gets a
fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka import probe as kafka_probe
from streamlab.backends.kafka.client import bounded
from streamlab.backends.kafka.options import Settings
from streamlab.errors import ConnectError

# Beyond a quarter of the 1 MB that brokers take nothing gets faster.
_BATCH = 1 << 18
_START_S = 10.0
# Sequence numbers have 31 bits, and aiokafka gets the step beyond them wrong.
_MOST_ROWS = 2_000_000_000


class Pen:
    """Lends out one producing client, and replaces it when it has failed."""

    def __init__(self, settings: Settings, transactional_id: str | None = None) -> None:
        """Connects when a client is first asked for."""
        self._settings = settings
        self._transactional_id = transactional_id
        self._client: AIOKafkaProducer | None = None
        self._users: dict[AIOKafkaProducer, int] = {}
        self._starting = asyncio.Lock()
        self._rows = 0
        self._closed = False

    @contextlib.asynccontextmanager
    async def borrow(self, rows: int) -> AsyncIterator[AIOKafkaProducer]:
        """The client, to write so many rows with.

        Raises:
            BrokerError: the broker can't be reached, or refuses us.
        """
        client = await self.client()
        self._rows += rows
        self._users[client] = self._users.get(client, 0) + 1
        try:
            yield client
        finally:
            self._users[client] -= 1
            if not self._users[client]:
                del self._users[client]
                if client is not self._client:
                    await discard(client)
            if self._rows > _MOST_ROWS:
                await self.lay_aside(client)

    async def client(self) -> AIOKafkaProducer:
        """The client, connected.

        Raises:
            BrokerError: the broker can't be reached, or refuses us.
        """
        async with self._starting:
            if self._closed:
                raise ConnectError(f"{self._settings.place}: this connection is closed")
            if self._client is None:
                self._client = await self._start()
                self._rows = 0
            return self._client

    async def spoil(self, client: AIOKafkaProducer, error: BaseException) -> None:
        """After a failure of any kind the client is of no more use."""
        del error
        await self.lay_aside(client)

    async def lay_aside(self, client: AIOKafkaProducer) -> None:
        """Lend another one from now on; this one ends once nobody uses it."""
        if self._client is client:
            self._client = None
        if client not in self._users:
            await discard(client)

    async def aclose(self) -> None:
        """End the clients; what was not acknowledged is given up."""
        self._closed = True
        clients = set(self._users)
        if self._client is not None:
            clients.add(self._client)
        self._client = None
        await asyncio.gather(*map(discard, clients))

    async def _start(self) -> AIOKafkaProducer:
        await kafka_probe.reach(self._settings)
        chosen = {"max_batch_size": _BATCH, **self._settings.producing()}
        client = AIOKafkaProducer(**chosen, transactional_id=self._transactional_id)
        try:
            # aiokafka asks for its number until it gets one, for ever if need be.
            async with asyncio.timeout(_START_S):
                await client.start()
        except (KafkaError, OSError) as error:
            await discard(client)
            raise kafka_errors.translate(self._settings, error) from None
        except BaseException:
            await discard(client)
            raise
        return client


async def discard(client: AIOKafkaProducer) -> None:
    """End a client now; batches it still has are not sent. Takes two seconds at most."""
    if client._closed:  # noqa: SLF001 - its own stop() would wait until all is sent
        return
    client._closed = True  # noqa: SLF001 - otherwise it warns when it is collected
    _hear_all(client)
    await bounded(_end(client))


async def _end(client: AIOKafkaProducer) -> None:
    # Without connections its requests end, and only then does its task.
    await client.client.close()
    await client._sender.close()  # noqa: SLF001 - see above
    await client.client.close()


def _hear_all(client: AIOKafkaProducer) -> None:
    """Take note of failures that aiokafka left in futures of its own, or asyncio complains."""
    accumulator, manager = client._message_accumulator, client._txn_manager  # noqa: SLF001 - see above
    batches = [each for queue in accumulator._batches.values() for each in queue]  # noqa: SLF001
    futures = [batch._drain_waiter for batch in batches]  # noqa: SLF001
    if manager is not None and manager._transaction_waiter is not None:  # noqa: SLF001
        futures.append(manager._transaction_waiter)  # noqa: SLF001
    for future in futures:
        if future.done() and not future.cancelled():
            future.exception()
