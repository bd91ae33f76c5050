"""What a Kafka cluster holds: topics, partitions, and where records are in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka import errors as aio
from aiokafka.protocol.offset import OffsetRequest

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka.client import Client, again
from streamlab.backends.kafka.wire import LogDirsRequest
from streamlab.errors import BrokerError, PermissionDeniedError, TopicNotFoundError
from streamlab.records import Partition

EARLIEST, LATEST = -2, -1
_NO_OFFSET = -1


class Catalogue:
    """Asks a cluster about its topics; joins nothing, makes nothing."""

    def __init__(self, client: Client) -> None:
        """Connects at the first question."""
        self.client = client
        self._settings = client.settings

    @property
    def isolation(self) -> int:
        """1 for readers that see only what was committed, else 0."""
        return int(self._settings.isolation_level == "read_committed")

    async def topics(self) -> list[str]:
        """Names of the topics but the cluster's own, sorted."""
        answer = await self.client.metadata(None)
        return sorted(
            name
            for error, name, internal, _ in answer.topics
            if not (internal or error)
        )

    async def leaders(self, topic: str) -> dict[Partition, int]:
        """The broker that has each partition, -1 where there is none just now.

        Raises:
            TopicNotFoundError: there is no such topic.
            PermissionDeniedError: we may not look at it.
        """
        found = await self.partitions(topic)
        if not found:
            raise TopicNotFoundError.among(
                topic, self._settings.place, await self.topics()
            )
        return found

    async def partitions(self, topic: str) -> dict[Partition, int]:
        """As `leaders`, but empty where there is no such topic."""
        answer = await self.client.metadata([topic])
        for code, name, _, partitions in answer.topics:
            error = aio.for_code(code)
            if name != topic or error in (
                aio.UnknownTopicOrPartitionError,
                aio.InvalidTopicError,
            ):
                continue
            if error is aio.TopicAuthorizationFailedError:
                raise kafka_errors.translate(
                    self._settings, error(), topic=topic, right="DESCRIBE"
                )
            return {
                Partition(topic, number): leader
                for _, number, leader, *_ in sorted(partitions, key=lambda p: p[1])
            }
        return {}

    async def offsets(
        self, wanted: Mapping[Partition, int], *, isolation: int | None = None
    ) -> dict[Partition, tuple[int, int] | None]:
        """The first offset, the end, or the first record at or after a time.

        Args:
            wanted: per partition EARLIEST, LATEST or ms since 1970.
            isolation: 0 for the end whatever is open, 1 for the last stable offset; None is
                as we read.

        Returns:
            Offset and the record's time (-1 for first and end); None where no record is
            that young.
        """
        if isolation is None:
            isolation = self.isolation

        async def ask() -> dict[Partition, tuple[int, int] | None]:
            leaders: dict[Partition, int] = {}
            for topic in {partition.topic for partition in wanted}:
                leaders |= await self.leaders(topic)
            nodes = {leaders.get(partition, -1) for partition in wanted}
            if -1 in nodes:
                raise aio.LeaderNotAvailableError
            parts = await asyncio.gather(
                *(
                    self._of_node(
                        node,
                        {p: w for p, w in wanted.items() if leaders[p] == node},
                        isolation,
                    )
                    for node in nodes
                )
            )
            return {p: found for part in parts for p, found in part.items()}

        try:
            found: dict[Partition, tuple[int, int] | None] = await again(ask)
        except aio.KafkaError as error:
            topic = next(iter(wanted)).topic
            raise kafka_errors.translate(self._settings, error, topic=topic) from None
        return found

    async def sizes(self, leaders: Mapping[Partition, int]) -> dict[Partition, int]:
        """Bytes per partition, as far as the brokers tell us."""
        found: dict[Partition, int] = {}
        for node in {leader for leader in leaders.values() if leader >= 0}:
            mine = [
                partition for partition, leader in leaders.items() if leader == node
            ]
            topic = mine[0].topic
            try:
                answer = await self.client.ask(
                    LogDirsRequest(topic, [p.number for p in mine]), node
                )
            except (BrokerError, NotImplementedError):
                # It wants a right on the cluster, and other brokers don't know the question.
                continue
            for code, _, topics in answer.log_dirs:
                for name, partitions in topics if not code else ():
                    for number, size, _, future in partitions:
                        if not future:
                            found[Partition(name, number)] = size
        return found

    async def _of_node(
        self, node: int, wanted: Mapping[Partition, int], isolation: int
    ) -> dict[Partition, tuple[int, int] | None]:
        topics: dict[str, list[tuple[int, int]]] = {}
        for (topic, number), at in wanted.items():
            topics.setdefault(topic, []).append((number, at))
        request = OffsetRequest(-1, isolation, list(topics.items()))
        answer = await self.client.ask(request, node)
        found: dict[Partition, tuple[int, int] | None] = {}
        for topic, partitions in answer.topics:
            for number, code, ms, offset, *_ in partitions:
                error = aio.for_code(code)
                if error is aio.TopicAuthorizationFailedError:
                    raise self._denied(topic)
                if error is not aio.NoError:
                    raise error()
                partition = Partition(topic, number)
                found[partition] = None if offset == _NO_OFFSET else (offset, ms)
        return found

    def _denied(self, topic: str) -> PermissionDeniedError:
        error = kafka_errors.translate(
            self._settings,
            aio.TopicAuthorizationFailedError(),
            topic=topic,
            right="DESCRIBE",
        )
        return PermissionDeniedError(str(error))


def numbers(partitions: Iterable[Partition]) -> str:
    """Partition numbers, for messages."""
    return ", ".join(str(partition.number) for partition in sorted(partitions))
