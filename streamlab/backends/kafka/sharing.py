"""The groups of a Kafka connection: looked at, committed for by hand, and joined."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from streamlab.backends.base import Consumer, GroupInfo, Revoked
from streamlab.backends.kafka import admin as kafka_admin
from streamlab.backends.kafka.clerk import Clerk
from streamlab.backends.kafka.client import Client
from streamlab.backends.kafka.group import KafkaGroupConsumer, Resolve
from streamlab.errors import UsageError
from streamlab.records import Committed, Partition, Position, Resolved

Read = Callable[[Resolved], Awaitable[Consumer]]


class Sharing:
    """What a connection has to do with groups."""

    def __init__(self, client: Client, *, read: Read, resolve: Resolve) -> None:
        """Connects at the first question.

        Args:
            client: of the connection.
            read: makes a reader of partitions chosen by hand, none at first.
            resolve: finds the offsets of a position.
        """
        self._settings = client.settings
        self._clerk = Clerk(client)
        self._read = read
        self._resolve = resolve
        self._members: set[KafkaGroupConsumer] = set()

    async def groups(self) -> list[GroupInfo]:
        return await kafka_admin.groups(self._clerk)

    async def committed(self, group: str, topic: str) -> Mapping[Partition, Committed]:
        done = await kafka_admin.all_committed(self._clerk, group)
        return {p: each for p, each in done.items() if p.topic == topic}

    async def commit(self, group: str, done: Mapping[Partition, Committed]) -> None:
        await kafka_admin.commit(self._clerk, group, done)

    async def join(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Position,
        revoked: Revoked,
        name: str | None = None,
    ) -> KafkaGroupConsumer:
        """A new member of a group, which has its share if the others were quick.

        Raises:
            BrokerError: the cluster can't be reached, or doesn't let us in.
        """
        if not group or not topics:
            raise UsageError("a group has a name, and shares one topic or more")
        member = KafkaGroupConsumer(
            self._settings,
            self._clerk,
            await self._read({}),
            group=group,
            start=start,
            revoked=revoked,
            resolve=self._resolve,
            name=name,
        )
        self._members = {each for each in self._members if not each.closed}
        self._members.add(member)
        await member.join(topics)
        return member

    async def aclose(self) -> None:
        """Leave all groups; bounded by two seconds."""
        await asyncio.gather(*[member.aclose() for member in self._members])
