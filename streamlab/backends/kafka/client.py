"""Questions to a Kafka cluster: one client, opened at the first of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as aio
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka import probe as kafka_probe
from streamlab.backends.kafka.options import Settings
from streamlab.errors import ConnectError

_CLOSE_S = 2.0
_REFRESH_S = 1.0
_TRIES = 8
_PAUSE_S = 0.15
# Leaders move, and metadata of a moment ago may be wrong: worth asking again.
_AGAIN = (
    aio.LeaderNotAvailableError,
    aio.NodeNotReadyError,
    aio.NotLeaderForPartitionError,
    aio.StaleMetadata,
)


async def bounded(closing: Coroutine[Any, Any, object]) -> None:
    """Close one of aiokafka's clients; whatever hangs in there is left behind after 2 s."""
    # In a task of its own: aiokafka cancels tasks of its own and waits for them, and lets
    # their CancelledError through, which here would end the task that reads.
    task = asyncio.create_task(closing)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait({task}, timeout=_CLOSE_S)
    finally:
        task.cancel()


async def stopped(reader: AIOKafkaConsumer) -> None:
    """Close a consumer of aiokafka's, and its client even if that was left out."""
    await bounded(reader.stop())
    # What its tasks raise at their end may have kept stop() from getting there.
    await bounded(reader._client.close())  # noqa: SLF001 (there is no other door)


def without_creating(client: AIOKafkaClient) -> None:
    """Let this client of aiokafka's ask for all topics' metadata, never for one topic's.

    A broker makes a topic that is asked for by name if it isn't there, and aiokafka does not
    say that it mustn't: a reader would bring a deleted topic back.
    """
    update = client._metadata_update  # noqa: SLF001 (there is no other door)

    async def of_all(cluster: Any, _topics: Any) -> Any:
        return await update(cluster, None)

    client._metadata_update = of_all  # noqa: SLF001


async def refreshed(client: AIOKafkaClient) -> None:
    """Look afresh at who leads what.

    Not for long: a client that somebody closes meanwhile would never come to an end with it.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REFRESH_S):
            await client.force_metadata_update()


class Client:
    """One connection to each broker that was asked something; owned by a `Connection`."""

    def __init__(self, settings: Settings) -> None:
        """Touches neither network nor files."""
        self.settings = settings
        self._client: AIOKafkaClient | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> AIOKafkaClient:
        """Aiokafka's client, connected.

        Raises:
            BrokerError: what keeps us out, within seconds.
        """
        async with self._opening:
            if self._client is None:
                await kafka_probe.reach(self.settings)
                client = AIOKafkaClient(**self.settings.common())
                try:
                    await client.bootstrap()
                except (OSError, aio.KafkaError) as error:
                    await bounded(client.close())
                    raise kafka_errors.translate(self.settings, error) from None
                self._client = client
        return self._client

    async def aclose(self) -> None:
        """Give the connections back; the next question opens them again."""
        client, self._client = self._client, None
        if client is not None:
            await bounded(client.close())

    async def ask(
        self, request: Any, node: int | None = None, *, topic: str = ""
    ) -> Any:
        """The answer to one request.

        Args:
            request: one of aiokafka's.
            node: the broker to ask; None asks any.
            topic: the one in question, for the message.

        Raises:
            BrokerError: no answer, or the connection broke twice.
        """
        for last in (False, True):
            client = await self.open()
            try:
                return await client.send(await _node(client, node), request)
            except aio.NodeNotReadyError:
                if last:
                    raise await self._silent(client, node) from None
            except (OSError, aio.KafkaError) as error:
                if last or not isinstance(error, (OSError, aio.KafkaConnectionError)):
                    raise kafka_errors.translate(
                        self.settings, error, topic=topic
                    ) from None
            # It may have gone stale since the last question: once more, from the beginning.
            await self.aclose()
        raise AssertionError("unreachable")

    async def metadata(self, topics: list[str] | None) -> Any:
        """What the brokers say of these topics, or of all; makes none."""
        return await self.ask(MetadataRequest(topics, allow_auto_topic_creation=False))

    async def metadata_of(self, node: int) -> None:
        """See whether this broker answers.

        Raises:
            ConnectError: it doesn't.
        """
        await self.ask(MetadataRequest([], allow_auto_topic_creation=False), node)

    async def _silent(self, client: AIOKafkaClient, node: int | None) -> ConnectError:
        """The error for a broker that the cluster names and that we can't reach."""
        there = client.cluster.broker_metadata(node)
        if there is None:
            return ConnectError(
                f"{self.settings.place}: broker {node} is not there now"
            )
        failure = await kafka_probe.unreachable(self.settings, there.host, there.port)
        if failure is None:
            return ConnectError(f"{self.settings.place}: broker {node} hung up")
        if (there.host, there.port) in self.settings.hosts:
            return failure
        return ConnectError(
            f"{failure}. The cluster calls its broker {node} {there.host}:{there.port} "
            "(advertised.listeners), and that is where its records are"
        )


async def again(step: Any) -> Any:
    """Run `step()` until the leaders it needs are known, for about a second."""
    for left in reversed(range(_TRIES)):
        try:
            return await step()
        except _AGAIN:
            if not left:
                raise
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError("unreachable")


async def _node(client: AIOKafkaClient, node: int | None) -> int:
    found = client.get_random_node() if node is None else node
    if found is None or client.cluster.broker_metadata(found) is None:
        await refreshed(client)
        found = client.get_random_node() if node is None else node
    if found is None:
        raise aio.NodeNotReadyError("no broker is known")
    return int(found)
