"""Whole sets of records, seen by readers of committed records all at once or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from aiokafka import AIOKafkaProducer
from aiokafka import errors as aio
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka.options import Settings
from streamlab.backends.kafka.pen import Pen
from streamlab.backends.kafka.writer import KafkaProducer, Lender
from streamlab.errors import BrokerError, ConnectError, UsageError
from streamlab.records import Committed, Partition

_PATIENCE_S = 30.0
_CLOSE_S = 1.5
_FENCED = (aio.ProducerFenced, aio.InvalidProducerEpoch)
Writer = Callable[[Lender, str], Awaitable[KafkaProducer]]


class KafkaTransactions:
    """A writer of sets; owned by one task.

    `commit` returns once the broker has promised; readers see the set some milliseconds later.
    A set that failed in any way can only be aborted. A writer that was fenced stays so: to take
    its name back would fence the other one in turn.
    """

    def __init__(self, settings: Settings, name: str, writer: Writer) -> None:
        """Nothing is sent yet.

        Args:
            settings: of the connection.
            name: what the broker knows the writer by.
            writer: makes a writer of a topic that borrows its client from here.
        """
        self._settings = settings
        self._name = name
        self._writer = writer
        self._pen = Pen(settings, name)
        self._client: AIOKafkaProducer | None = None
        self._failure: BrokerError | None = None
        self._fenced = False

    async def open(self) -> None:
        """Take the name over from whoever had it; what they had under way is aborted."""
        await self._pen.client()

    async def begin(self) -> None:
        self._refuse_fenced()
        if self._client is not None:
            raise UsageError(
                f"transactions {self._name!r}: a set is under way. "
                "commit() or abort() it before the next begin()."
            )
        client = await self._pen.client()
        async with self._asking(client):
            await client.begin_transaction()
        self._client = client

    async def producer(self, topic: str) -> KafkaProducer:
        return await self._writer(self, topic)

    async def commit(
        self,
        group: str | None = None,
        done: Mapping[Partition, Committed] | None = None,
    ) -> None:
        client = self._under_way()
        if self._failure is not None:
            raise type(self._failure)(
                f"this set can't be committed any more, abort() it: {self._failure}"
            )
        async with self._asking(client, group or ""):
            if group is not None and done:
                offsets = {
                    TopicPartition(*p): OffsetAndMetadata(each.next, each.memory)
                    for p, each in done.items()
                }
                await client.send_offsets_to_transaction(offsets, group)
            await client.commit_transaction()
        self._client = None

    async def abort(self) -> None:
        client, broken = self._under_way(), self._failure is not None
        self._client = self._failure = None
        self._refuse_fenced()
        if not broken:
            async with self._asking(client):
                await client.abort_transaction()
            return
        # Its batches are out of sequence. A new client of the same name makes the broker abort
        # what the old one had under way.
        await self._pen.lay_aside(client)
        await self._pen.client()

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._failure is None:
            with contextlib.suppress(BrokerError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S), self._asking(client):
                    await client.abort_transaction()
        await self._pen.aclose()

    @contextlib.asynccontextmanager
    async def borrow(self, rows: int) -> AsyncIterator[AIOKafkaProducer]:
        """The client of the set under way.

        Raises:
            UsageError: there is none.
            BrokerError: it has failed.
        """
        client = self._under_way()
        if self._failure is not None:
            raise self._failure
        async with self._pen.borrow(rows) as lent:
            if lent is not client:
                raise ConnectError(f"transactions {self._name!r}: this set is broken")
            yield client

    async def spoil(self, client: AIOKafkaProducer, error: BaseException) -> None:
        """The set is lost; its client is kept until `abort`."""
        self._note(client, error, "")

    @contextlib.asynccontextmanager
    async def _asking(
        self, client: AIOKafkaProducer, group: str = ""
    ) -> AsyncIterator[None]:
        """A request about the set, bounded, with its failure noted."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                yield
        except (aio.KafkaError, OSError, AssertionError) as error:
            raise self._note(client, error, group) from None

    def _note(
        self, client: AIOKafkaProducer, error: BaseException, group: str
    ) -> BrokerError:
        """Remember why the set is lost; the first reason stays."""
        cause: BaseException = error
        # After a fatal answer aiokafka only says that its state is not right.
        if (deeper := client._message_accumulator._exception) is not None:  # noqa: SLF001
            cause = deeper.__cause__ or deeper
        self._fenced = self._fenced or isinstance(cause, _FENCED)
        if self._failure is None:
            self._failure = (
                self._taken()
                if self._fenced
                else kafka_errors.translate(self._settings, cause, group=group)
            )
        return self._failure

    def _under_way(self) -> AIOKafkaProducer:
        if self._client is None:
            self._refuse_fenced()
            raise UsageError(
                f"transactions {self._name!r}: no set is under way. begin() one first."
            )
        return self._client

    def _refuse_fenced(self) -> None:
        if self._fenced:
            raise self._taken()

    def _taken(self) -> BrokerError:
        return BrokerError(
            f"transactions {self._name!r} on {self._settings.place}: another writer of that "
            "name has taken over, or a set took longer than the broker's "
            "transaction.timeout.ms. What this one had under way is aborted; "
            "to write on, open them anew or under another name."
        )
