"""Questions to the brokers: who coordinates a group, what it committed, what a topic may hold.

Metadata is asked for in a way that never makes a topic, which Kafka would do by default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiokafka import errors as aio
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.metadata import MetadataRequest

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka.client import Client, refreshed
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError

T = TypeVar("T")
_PATIENCE_S = 10.0
_PAUSE_S = 0.1
# What passes by itself once leaders and coordinators have found their places.
PASSING = (
    aio.GroupCoordinatorNotAvailableError,
    aio.GroupLoadInProgressError,
    aio.KafkaConnectionError,
    aio.LeaderNotAvailableError,
    aio.NodeNotReadyError,
    aio.NotControllerError,
    aio.NotCoordinatorForGroupError,
    aio.NotLeaderForPartitionError,
    aio.RequestTimedOutError,
    aio.StaleMetadata,
)


class Clerk:
    """Asks, and asks again for some seconds where that helps."""

    def __init__(self, client: Client) -> None:
        """Asks by way of `client`, which connects with the first question."""
        self._client = client

    async def ask(
        self,
        attempt: Callable[[AIOKafkaClient], Awaitable[T]],
        *,
        topic: str = "",
        group: str = "",
        right: str = "DESCRIBE",
    ) -> T:
        """What `attempt` returns; it is made again after a failure that passes by itself.

        Args:
            attempt: asks the client, and raises aiokafka's errors.
            topic: what it is about, for the error.
            group: likewise.
            right: what a user lacks who is refused.

        Raises:
            BrokerError: another failure, or none passed within some seconds.
        """
        end = SYSTEM.running() + _PATIENCE_S
        while True:
            client = await self._client.open()
            try:
                async with asyncio.timeout(max(_PAUSE_S, end - SYSTEM.running())):
                    return await attempt(client)
            except PASSING as error:
                if SYSTEM.running() >= end:
                    raise self._problem(error, topic, group, right) from None
                await asyncio.sleep(_PAUSE_S)
                await refreshed(client)
            except (aio.KafkaError, OSError) as error:
                raise self._problem(error, topic, group, right) from None

    def _problem(
        self, error: BaseException, topic: str, group: str, right: str
    ) -> BrokerError:
        return kafka_errors.translate(
            self._client.settings, error, topic=topic, group=group, right=right
        )


async def partition_counts(
    client: AIOKafkaClient, topics: Iterable[str]
) -> dict[str, int]:
    """How many partitions each topic has; topics that aren't there are absent.

    Raises:
        TopicAuthorizationFailedError: one of them must not be looked at.
        LeaderNotAvailableError: one of them is just being made.
    """
    answer = await metadata(client, list(topics))
    found: dict[str, int] = {}
    for code, topic, _, partitions in answer.topics:
        kind = aio.for_code(code)
        if kind is aio.UnknownTopicOrPartitionError:
            continue
        if kind is not aio.NoError:
            raise kind(topic)
        found[topic] = len(partitions)
    return found


async def metadata(client: AIOKafkaClient, topics: list[str] | None) -> Any:
    """What any broker knows of these topics (None: of all), kept by the client too.

    Raises:
        NodeNotReadyError: no broker answers.
    """
    node = client.get_random_node()
    if node is None:
        raise aio.NodeNotReadyError
    answer = await client.send(
        node, MetadataRequest(topics, allow_auto_topic_creation=False)
    )
    client.cluster.update_metadata(answer)
    return answer


async def to_coordinator(client: AIOKafkaClient, group: str, request: Any) -> Any:
    """The answer of the broker that looks after `group`."""
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    if client.cluster.broker_metadata(node) is None:
        await metadata(client, [])
    return await client.send(node, request)
