"""Filling a Kafka behind the backend's back, by aiokafka's own clients, for the tests beside."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streamlab import uri
from streamlab.backends.kafka import connection as backend
from streamlab.backends.kafka import options as kafka_options
from streamlab.backends.kafka.catalogue import LATEST
from streamlab.backends.kafka.connection import KafkaConnection
from streamlab.backends.kafka.writer import KafkaProducer
from streamlab.records import Earliest, Latest, Offset, Partition, Records
from tests.contracts.lab import NONE, T0, Abilities, Row

READY_S = 20.0


@dataclass
class KafkaLab:
    """A connection under test, and an admin and two producers beside it."""

    connection: KafkaConnection
    admin: AIOKafkaAdminClient
    producer: AIOKafkaProducer
    # Records taken back with their transaction are how offsets get gaps here.
    undone: AIOKafkaProducer
    can: Abilities = field(default_factory=Abilities)
    made: set[str] = field(default_factory=set)

    async def make(
        self,
        topic: str,
        partitions: int = 1,
        *,
        anyway: bool = True,
        **configs: str,
    ) -> None:
        """A topic, ready to be written to; `anyway`: be content with one that is there."""
        if topic in self.made:
            return
        dotted = {name.replace("_", "."): value for name, value in configs.items()}
        wanted = NewTopic(topic, partitions, 1, topic_configs=dotted)
        answer = await self.admin.create_topics([wanted])
        for name, code, *_ in answer.topic_errors:
            if code and not (anyway and for_code(code) is TopicAlreadyExistsError):
                raise for_code(code)(name)
        self.made.add(topic)
        async with asyncio.timeout(READY_S):
            for client in (self.producer.client, self.undone.client):
                while len(await client._wait_on_metadata(topic)) < partitions:
                    await client.force_metadata_update()

    async def fill(
        self,
        topic: str,
        rows: Mapping[int, Sequence[Row]],
        deleted: Mapping[int, Collection[int]] = NONE,
    ) -> None:
        await self.make(topic, len(rows))
        for number, mine in rows.items():
            gone = set(deleted.get(number, ()))
            parts = itertools.groupby(enumerate(mine), key=lambda row: row[0] in gone)
            for undone, part in parts:
                await self.write(topic, number, [row for _, row in part], undone=undone)

    async def write(
        self, topic: str, partition: int, rows: Sequence[Row], *, undone: bool = False
    ) -> None:
        """Append rows, or append them in a transaction that is aborted."""
        client = self.undone if undone else self.producer
        if undone:
            await client.begin_transaction()
        sent = [
            await client.send(
                topic,
                row.value,
                key=row.key,
                partition=partition,
                timestamp_ms=row.ms,
                headers=[*row.headers],
            )
            for row in rows
        ]
        await asyncio.gather(*sent)
        if undone:
            await client.abort_transaction()
            await self.settled(topic, partition)

    async def write_all(self, topic: str, *words: str) -> None:
        """Append to partition 0: "a" as it is, "-a" aborted, "+a" in a set of its own."""
        await self.make(topic)
        for place, word in enumerate(words):
            row = Row(word.lstrip("-+").encode(), T0 + place)
            if word.startswith("+"):
                await self.undone.begin_transaction()
                await self.undone.send_and_wait(
                    topic, row.value, partition=0, timestamp_ms=row.ms
                )
                await self.undone.commit_transaction()
                await self.settled(topic, 0)
            else:
                await self.write(topic, 0, [row], undone=word.startswith("-"))

    async def make_anew(self, topic: str) -> None:
        """Delete a topic, and make one of that name."""
        await self.admin.delete_topics([topic])
        async with asyncio.timeout(READY_S):
            self.made.discard(topic)
            while topic not in self.made:  # the broker deletes by and by
                with contextlib.suppress(KafkaError):
                    await self.make(topic, anyway=False)

    async def settled(self, topic: str, partition: int) -> None:
        """Wait until no transaction is open: the broker writes its markers by and by."""
        place = Partition(topic, partition)
        ask = self.connection._catalogue.offsets
        async with asyncio.timeout(READY_S):
            while True:
                stable = await ask({place: LATEST}, isolation=1)
                if stable == await ask({place: LATEST}, isolation=0):
                    return

    async def trim(self, topic: str, partition: int, *, keep: int) -> None:
        place = Partition(topic, partition)
        end = (await self.connection.resolve(topic, Latest()))[place]
        await self.delete_before(topic, partition, int(end) - keep)

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete a partition's records up to an offset."""
        await self.admin.delete_records(
            {TopicPartition(topic, partition): RecordsToDelete(offset)}
        )


class _Narrow(KafkaConnection):
    """Asks for one partition where the broker would make some: the contract counts on one."""

    async def producer(
        self, topic: str, *, partitions: int | None = None
    ) -> KafkaProducer:
        if partitions is None and not await self.partitions(topic):
            partitions = 1
        return await super().producer(topic, partitions=partitions)


@asynccontextmanager
async def lab_on(
    address: str, *, fast: bool = True, narrow: bool = False
) -> AsyncIterator[KafkaLab]:
    """A lab on the broker at host:port; its topics go with it."""
    url = uri.parse(f"kafka://{address}")
    kind = _Narrow if narrow else KafkaConnection
    connection = kind(kafka_options.settings(url, {}), fast=fast)
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    producer = AIOKafkaProducer(bootstrap_servers=address)
    undone = AIOKafkaProducer(
        bootstrap_servers=address, transactional_id=f"lab-{uuid.uuid4()}"
    )
    for client in (admin, producer, undone):
        await client.start()
    lab = KafkaLab(connection, admin, producer, undone)
    try:
        yield lab
    finally:
        await connection.aclose()
        if lab.made:
            await admin.delete_topics([*lab.made])
        await admin.close()
        await producer.stop()
        await undone.stop()


def connect(url: str, *, fast: bool = True, **options: object) -> KafkaConnection:
    """The backend under test."""
    return backend.connect(uri.parse(url), options, fast=fast)


async def read(connection: KafkaConnection, *topics: str) -> list[Records]:
    """All blocks there are now."""
    start: dict[Partition, Offset] = {}
    stop: dict[Partition, Offset] = {}
    for topic in topics:
        start |= await connection.resolve(topic, Earliest())
        stop |= await connection.resolve(topic, Latest())
    consumer = await connection.consumer(start, stop)
    blocks: list[Records] = []
    async with asyncio.timeout(READY_S):
        while not consumer.ended:
            blocks += await consumer.receive(1000, 1.0)
    await consumer.aclose()
    return blocks


def values(blocks: Sequence[Records]) -> list[bytes | None]:
    """All payloads in a row."""
    return [value for block in blocks for value in block.values]
