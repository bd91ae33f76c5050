"""One member of a group: aiokafka's coordinator without its consumer.

It joins, keeps the heartbeat and says which partitions are ours. Reading them is not its
business, so nothing is fetched, and a reader that rests keeps its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aiokafka import ConsumerRebalanceListener
from aiokafka import errors as aio
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka import probe as kafka_probe
from streamlab.backends.kafka.options import Settings
from streamlab.clocks import SYSTEM
from streamlab.errors import AuthError, BrokerError, PermissionDeniedError, TlsError
from streamlab.records import Partition

log = logging.getLogger("streamlab")
_COMMIT_S = 10.0
_LOOK_S = 1.0
_LEAVE_S, _CLOSE_S = 0.8, 0.5
_SESSION_MS, _REBALANCE_MS, _METADATA_MS = 10_000, 30_000, 5_000
# A reader may rest as long as it likes: the heartbeat alone says that it lives.
_FOR_EVER_MS = 2**31 - 1
_HOPELESS = (
    aio.InconsistentGroupProtocolError,
    aio.InvalidGroupIdError,
    aio.InvalidSessionTimeoutError,
)
_GONE = (
    aio.CommitFailedError,
    aio.IllegalGenerationError,
    aio.RebalanceInProgressError,
    aio.UnknownMemberIdError,
)


class Events(Protocol):
    """Who hears of partitions."""

    async def taken(self, partitions: frozenset[Partition]) -> None:
        """These go once this returns."""
        ...

    def given(self, partitions: frozenset[Partition]) -> None:
        """These, and no others, are ours from now on; must not take long."""
        ...


class Membership:
    """Being a member of one group; owned by its consumer."""

    def __init__(
        self, settings: Settings, group: str, name: str, events: Events
    ) -> None:
        """Not joined yet.

        Args:
            settings: of the connection.
            group: which one.
            name: what this member is called (Kafka's client id).
            events: hears of partitions.
        """
        self._settings = settings
        self._group = group
        self._name = name
        self._listener = _Listener(events)
        self._client: AIOKafkaClient | None = None
        self._subscription: Any = None
        self._coordinator: Any = None
        self._problem: str | None = None
        self._failure: BrokerError | None = None
        self._minding: asyncio.Task[None] | None = None
        chosen = settings.consuming()
        self._session_ms = int(chosen.get("session_timeout_ms", _SESSION_MS))
        self._heartbeat_ms = min(
            int(chosen.get("heartbeat_interval_ms", 3_000)), self._session_ms // 3
        )
        self._rebalance_ms = int(chosen.get("rebalance_timeout_ms", _REBALANCE_MS))

    @property
    def patience(self) -> float:
        """How many seconds a rebalance waits for us, less a margin to come back in time."""
        return self._rebalance_ms / 1000 * 0.8

    @property
    def trouble(self) -> str | None:
        """Why nothing can be known of the group just now."""
        if self._problem is not None:
            return self._problem
        if self._coordinator is not None and self._coordinator.coordinator_id is None:
            return f"looking for who coordinates group {self._group!r}"
        return None

    async def join(self, topics: Sequence[str]) -> None:
        """Become a member, in the background from here on.

        Raises:
            BrokerError: the cluster can't be reached, or doesn't let us in.
        """
        await kafka_probe.reach(self._settings)
        common = {"metadata_max_age_ms": _METADATA_MS, **self._settings.common()}
        self._client = client = _Looking(**{**common, "client_id": self._name})
        try:
            await client.bootstrap()
        except (aio.KafkaError, OSError) as error:
            await client.close()
            raise kafka_errors.translate(self._settings, error) from None
        self._subscription = SubscriptionState()
        # The coordinator wakes whoever waits for a fetch; here nobody does.
        self._subscription.register_fetch_waiters(set())
        await self.subscribe(topics)
        self._coordinate()
        self._minding = asyncio.create_task(self._mind(), name="kafka membership")

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Share these topics from now on."""
        if self._client is not None:
            await self._client.set_topics(topics)
            self._subscription.subscribe(topics=set(topics), listener=self._listener)

    def check(self) -> None:
        """See how the membership fares.

        Raises:
            BrokerError: what trying again doesn't mend.
        """
        self._look()
        if self._failure is not None:
            raise self._failure

    async def _mind(self) -> None:
        """Mend what can be, also while nobody reads: aiokafka stands still until it is asked."""
        while self._failure is None:
            self._look()
            await SYSTEM.sleep(_LOOK_S)

    def _look(self) -> None:
        coordinator = self._coordinator
        if coordinator is None or self._failure is not None:
            return
        try:
            coordinator.check_errors()
        except aio.KafkaError as error:
            problem = kafka_errors.translate(
                self._settings, error, group=self._group
            ).with_traceback(None)
            if isinstance(error, _HOPELESS):
                self._failure = BrokerError(self._hopeless(error))
            elif isinstance(problem, (AuthError, PermissionDeniedError, TlsError)):
                self._failure = problem
            else:
                self._problem = str(problem)
                self._mend()

    def _hopeless(self, error: BaseException) -> str:
        where = f"group {self._group!r} on {self._settings.place}"
        if isinstance(error, aio.InconsistentGroupProtocolError):
            return (
                f"{where} divides its partitions in another way than ours: its other members "
                'need partition.assignment.strategy "roundrobin" too'
            )
        if isinstance(error, aio.InvalidSessionTimeoutError):
            return (
                f"{where}: the broker takes no session.timeout.ms={self._session_ms}; its "
                "bounds are group.min.session.timeout.ms and group.max.session.timeout.ms"
            )
        return f"{where}: the broker takes no such name"

    async def commit(self, done: Mapping[Partition, int]) -> None:
        """Commit as a member; partitions that meanwhile went to others are skipped.

        Raises:
            BrokerError: it was not committed.
        """
        offsets = {
            TopicPartition(*p): OffsetAndMetadata(n, "") for p, n in done.items()
        }
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._coordinator.commit_offsets(None, offsets)
        except _GONE:
            # Whoever was thrown out of the group, or is between two of its generations,
            # has no partitions.
            log.info(
                "group %s: a commit came after its partitions had gone", self._group
            )
        except (aio.KafkaError, OSError) as error:
            cause = kafka_errors.translate(self._settings, error, group=self._group)
            raise type(cause)(
                f"group {self._group!r} did not commit: {cause}"
            ) from None

    async def leave(self) -> None:
        """Tell the group, which then need not wait until the session is over."""
        coordinator = await self._stop()
        known = coordinator is not None and coordinator.coordinator_id is not None
        if known and coordinator.member_id:
            request = LeaveGroupRequest(self._group, coordinator.member_id)
            with contextlib.suppress(aio.KafkaError, OSError):
                async with asyncio.timeout(_LEAVE_S):
                    await coordinator._send_req(request)  # noqa: SLF001 - as its close() does
        await self._hang_up()

    async def abandon(self) -> None:
        """Be gone without a word."""
        await self._stop()
        await self._hang_up()

    async def _stop(self) -> Any:
        """End all tasks; the coordinator's own close() could wait for a whole rebalance."""
        coordinator, self._coordinator = self._coordinator, None
        tasks = [] if coordinator is None else _tasks(coordinator)
        if self._minding is not None:
            tasks.append(self._minding)
        for task in tasks:
            task.cancel()
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=_CLOSE_S)
            for task in done:
                _heard(task)
        return coordinator

    def _coordinate(self) -> None:
        self._coordinator = GroupCoordinator(
            self._client,
            self._subscription,
            group_id=self._group,
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=self._heartbeat_ms,
            rebalance_timeout_ms=self._rebalance_ms,
            max_poll_interval_ms=_FOR_EVER_MS,
            enable_auto_commit=False,
            assignors=(RoundRobinPartitionAssignor,),
        )

    def _mend(self) -> None:
        """Start again what an unexpected answer has ended."""
        coordinator = self._coordinator
        if coordinator._coordination_task.done():  # noqa: SLF001 - aiokafka gives up here
            # Its heartbeat would keep a member in the group that reads nothing.
            for task in _tasks(coordinator):
                task.cancel()
                task.add_done_callback(_heard)
            self._coordinate()
            # It goes on as the same member, which can still commit.
            self._coordinator.member_id = coordinator.member_id
            self._coordinator.generation = coordinator.generation
            self._coordinator.request_rejoin()
            return
        heartbeat = coordinator._heartbeat_task  # noqa: SLF001 - and here
        if heartbeat is not None and heartbeat.done():
            coordinator._heartbeat_task = None  # noqa: SLF001 - it goes with the next join
            coordinator.request_rejoin()

    def well(self) -> None:
        """Note that the group works (again)."""
        self._problem = None

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(TimeoutError, aio.KafkaError):
                async with asyncio.timeout(_CLOSE_S):
                    await client.close()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's words in ours; it swallows what is raised here."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._events.taken(_ours(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._events.given(_ours(assigned))


class _Looking(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """A client that never makes a topic by asking for it."""

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        request = MetadataRequest(
            list(topics) if topics else None, allow_auto_topic_creation=False
        )
        for broker in cluster_metadata.brokers():
            try:
                answer = await self.send(broker.nodeId, request)
            except (aio.KafkaError, TimeoutError):
                continue
            if not answer.brokers:
                return False
            cluster_metadata.update_metadata(answer)
            return True
        cluster_metadata.failed_update(None)
        return False


def _tasks(coordinator: Any) -> list[asyncio.Task[None]]:
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
    tasks = [getattr(coordinator, name) for name in names]
    return [task for task in tasks if task is not None]


def _heard(task: asyncio.Task[None]) -> None:
    """Take note of how a task ended, or asyncio complains that nobody did."""
    if not task.cancelled():
        task.exception()


def _ours(partitions: set[TopicPartition]) -> frozenset[Partition]:
    return frozenset(Partition(tp.topic, tp.partition) for tp in partitions)
