"""Making topics, what they take, and throwing their oldest records away."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiokafka import errors as aio
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import (
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from streamlab.backends.kafka.clerk import PASSING, Clerk, metadata, partition_counts
from streamlab.backends.kafka.options import Settings
from streamlab.errors import BrokerError, TopicNotFoundError, UsageError
from streamlab.records import Partition

_TOPIC = 2  # Kafka's number for this kind of thing that has settings
_TIMEOUT_MS = 10_000
_MADE_S = 5.0
# Kafka's own default of max.message.bytes.
_MOST_BYTES = 1_048_588


async def ensure(
    clerk: Clerk, settings: Settings, topic: str, partitions: int | None
) -> int:
    """How many partitions the topic has; it is made if it isn't there.

    Args:
        clerk: asks the brokers.
        settings: of the connection.
        topic: its name.
        partitions: wanted at least; None leaves it to the broker.

    Raises:
        UsageError: it has fewer.
        TopicNotFoundError: it isn't there, and the broker makes none by itself.
        BrokerError: the broker does not let us.
    """
    there = await _count(clerk, topic)
    if not there and partitions is None:
        there = await _by_itself(clerk, settings, topic)
    elif not there and partitions is not None:
        await clerk.ask(
            lambda client: _create(client, settings, topic, partitions),
            topic=topic,
            right="CREATE",
        )
        there = await _settled(clerk, topic)
    if partitions is not None and there < partitions:
        raise UsageError(
            f"{topic!r} on {settings.place} is there with {there} partition(s), not "
            f"{partitions}. Leave partitions= out, or write to another topic."
        )
    return there


async def most_bytes(clerk: Clerk, topic: str) -> int:
    """The largest batch that the topic takes; Kafka's default if we may not know."""

    async def attempt(client: AIOKafkaClient) -> int:
        answer = await client.send(
            _any_node(client),
            DescribeConfigsRequest([(_TOPIC, topic, ["max.message.bytes"])]),
        )
        for code, _, _, _, entries in answer.resources:
            if not code and entries:
                return int(entries[0][1])
        return _MOST_BYTES

    try:
        return await clerk.ask(attempt, topic=topic)
    except BrokerError:
        return _MOST_BYTES


async def delete_before(
    clerk: Clerk, settings: Settings, before: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Delete the records before these offsets; returns the first offset of each afterwards.

    Raises:
        UsageError: the topic is compacted, and only keeps or loses whole keys.
        BrokerError: it did not happen, or not on all partitions.
    """
    topics = sorted({partition.topic for partition in before})

    async def attempt(client: AIOKafkaClient) -> dict[Partition, int]:
        await metadata(client, topics)
        wanted: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for (topic, number), offset in before.items():
            leader = client.cluster.leader_for_partition(TopicPartition(topic, number))
            if leader in (None, -1):
                raise aio.LeaderNotAvailableError
            wanted[leader][topic].append((number, offset))
        answers = await asyncio.gather(
            *[
                client.send(node, DeleteRecordsRequest(list(each.items()), _TIMEOUT_MS))
                for node, each in wanted.items()
            ]
        )
        return {place: low for answer in answers for place, low in _lows(answer)}

    try:
        return await clerk.ask(attempt, topic=", ".join(topics), right="DELETE")
    except BrokerError as error:
        if "PolicyViolation" not in str(error):
            raise
        raise UsageError(
            f"{', '.join(topics)} on {settings.place} is compacted: it keeps the newest "
            "record of each key and can't be trimmed. To delete a key, send a tombstone."
        ) from None


def _lows(answer: Any) -> list[tuple[Partition, int]]:
    found: list[tuple[Partition, int]] = []
    for topic, partitions, *_ in answer.topics:
        for number, low, code, *__ in partitions:
            kind = aio.for_code(code)
            if kind is not aio.NoError:
                raise kind(topic)
            found.append((Partition(topic, number), low))
    return found


async def _count(clerk: Clerk, topic: str) -> int:
    counts = await clerk.ask(
        lambda client: partition_counts(client, [topic]), topic=topic
    )
    return counts.get(topic, 0)


async def _by_itself(clerk: Clerk, settings: Settings, topic: str) -> int:
    """Let the broker make the topic as it makes all that are written to."""

    async def attempt(client: AIOKafkaClient) -> None:
        answer = await client.send(_any_node(client), MetadataRequest([topic]))
        for code, *_ in answer.topics:
            kind = aio.for_code(code)
            if kind in (aio.InvalidTopicError, aio.TopicAuthorizationFailedError):
                raise kind(topic)

    await clerk.ask(attempt, topic=topic, right="CREATE")
    there = await _settled(clerk, topic)
    if there:
        return there
    near = str(
        TopicNotFoundError.among(topic, settings.place, await _names(clerk))
    ).removesuffix(".")
    raise TopicNotFoundError(
        f"{near}. The broker makes no topics by itself; partitions=1 asks it to."
    )


async def _settled(clerk: Clerk, topic: str) -> int:
    """How many partitions a topic has that is just being made; 0 if it isn't after all."""

    async def attempt(client: AIOKafkaClient) -> int:
        answer = await metadata(client, [topic])
        ((code, _, _, partitions),) = answer.topics
        kind = aio.for_code(code)
        if kind in (aio.UnknownTopicOrPartitionError, *PASSING):
            raise aio.LeaderNotAvailableError
        if kind is not aio.NoError or any(p[2] == -1 for p in partitions):
            raise kind(topic) if code else aio.LeaderNotAvailableError
        return len(partitions)

    try:
        async with asyncio.timeout(_MADE_S):
            return await clerk.ask(attempt, topic=topic)
    except TimeoutError:
        return 0


async def _create(
    client: AIOKafkaClient, settings: Settings, topic: str, partitions: int
) -> None:
    answer = await metadata(client, [])
    request = CreateTopicsRequest(
        # Replication -1 is the broker's own number.
        create_topic_requests=[(topic, partitions, -1, [], [])],
        timeout=_TIMEOUT_MS,
        validate_only=False,
    )
    reply = await client.send(answer.controller_id, request)
    for _, code, *said in reply.topic_errors:
        kind = aio.for_code(code)
        if kind in (aio.NoError, aio.TopicAlreadyExistsError):
            continue
        if issubclass(kind, PASSING) or kind is aio.TopicAuthorizationFailedError:
            raise kind(topic)
        why = said[0] if said and said[0] else kind.__name__
        raise BrokerError(f"{settings.place} does not make topic {topic!r}: {why}")


async def _names(clerk: Clerk) -> list[str]:
    answer = await clerk.ask(lambda client: metadata(client, None))
    return [topic for _, topic, internal, _ in answer.topics if not internal]


def _any_node(client: AIOKafkaClient) -> int:
    node = client.get_random_node()
    if node is None:
        raise aio.NodeNotReadyError
    found: int = node
    return found
