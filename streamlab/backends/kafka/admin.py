"""The groups of a cluster and what they committed. Looking makes no group and joins none."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka import errors as aio
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.protocol.admin import DescribeGroupsRequest, ListGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from streamlab.backends.base import GroupInfo, GroupMember
from streamlab.backends.kafka.clerk import Clerk, metadata, to_coordinator
from streamlab.errors import BrokerError
from streamlab.records import Committed, Offset, Partition

_STATES = {
    "Stable": "stable",
    "Empty": "empty",
    "PreparingRebalance": "rebalancing",
    "CompletingRebalance": "rebalancing",
    "Dead": "dead",
}
# A commit by hand belongs to no generation of members.
_BY_HAND, _NOBODY, _AS_LONG_AS_USUAL = -1, "", -1
_AT_ONCE = 16
# Kafka's newer kind of groups: their members are not in the answer to the old question.
_NEWER = "Dead"


class Described(NamedTuple):
    """A group as its coordinator sees it: Kafka's word for its state, members by their ids."""

    state: str
    members: Mapping[str, GroupMember]


async def groups(clerk: Clerk) -> list[GroupInfo]:
    """The groups there are, sorted by name.

    Raises:
        BrokerError: the brokers don't tell.
    """
    described = await clerk.ask(_all_described)
    few = asyncio.Semaphore(_AT_ONCE)

    async def committed(name: str) -> dict[Partition, Committed]:
        async with few:
            return await all_committed(clerk, name)

    names = sorted(described)
    found: list[GroupInfo] = []
    for name, done in zip(
        names, await asyncio.gather(*map(committed, names)), strict=True
    ):
        state, members = described[name]
        # It is on the list, so it is not dead: it is of the newer kind.
        word = "stable" if state == _NEWER else _STATES.get(state, "rebalancing")
        topics = {p.topic for p in done}
        topics.update(p.topic for m in members.values() for p in m.partitions)
        shown = sorted(members.values())
        found.append(GroupInfo(name, word, tuple(sorted(topics)), tuple(shown)))
    return found


async def describe(clerk: Clerk, group: str) -> Described:
    """State and members of a group.

    Raises:
        BrokerError: the broker doesn't tell.
    """

    async def attempt(client: AIOKafkaClient) -> Described:
        answer = await to_coordinator(client, group, DescribeGroupsRequest([group]))
        return _described(group, answer)

    return await clerk.ask(attempt, group=group)


async def all_committed(clerk: Clerk, group: str) -> dict[Partition, Committed]:
    """What a group has committed, of whatever topic.

    Raises:
        BrokerError: the broker doesn't tell.
    """

    async def attempt(client: AIOKafkaClient) -> dict[Partition, Committed]:
        answer = await to_coordinator(client, group, OffsetFetchRequest(group, None))
        if answer.error_code:
            raise aio.for_code(answer.error_code)(group)
        found: dict[Partition, Committed] = {}
        for topic, parts in answer.topics:
            for number, offset, memory, code in parts:
                if code:
                    raise aio.for_code(code)(topic)
                if offset >= 0:
                    found[Partition(topic, number)] = Committed(offset, memory or "")
        return found

    return await clerk.ask(attempt, group=group)


async def commit(clerk: Clerk, group: str, done: Mapping[Partition, Committed]) -> None:
    """Commit for a group without members.

    Raises:
        GroupBusyError: it has members.
        BrokerError: it was not committed, or not all of it.
    """
    topics: dict[str, list[tuple[int, Offset, str]]] = defaultdict(list)
    for (topic, number), (at, memory) in done.items():
        topics[topic].append((number, at, memory))
    request = OffsetCommitRequest(
        group, _BY_HAND, _NOBODY, _AS_LONG_AS_USUAL, list(topics.items())
    )

    async def attempt(client: AIOKafkaClient) -> None:
        answer = await to_coordinator(client, group, request)
        for topic, parts in answer.topics:
            for number, code in parts:
                if code:
                    _refuse(group, Partition(topic, number), code)

    if topics:
        await clerk.ask(attempt, topic=", ".join(sorted(topics)), group=group)


def _refuse(group: str, partition: Partition, code: int) -> None:
    kind = aio.for_code(code)
    if kind is aio.OffsetMetadataTooLargeError:
        raise BrokerError(
            f"group {group!r}: the memory beside the commit of {partition.topic} "
            f"p{partition.number} is longer than the broker keeps (4,096 bytes by default, "
            "offset.metadata.max.bytes)"
        )
    raise kind(group)


async def _all_described(client: AIOKafkaClient) -> dict[str, Described]:
    """All groups; each broker knows those it looks after."""
    answer = await metadata(client, [])
    nodes = [broker[0] for broker in answer.brokers]
    few = asyncio.Semaphore(_AT_ONCE)

    async def names(node: int) -> list[tuple[int, str]]:
        told = await client.send(node, ListGroupsRequest())
        if told.error_code:
            raise aio.for_code(told.error_code)
        return [(node, name) for name, kind, *_ in told.groups if _reads(kind)]

    async def one(node: int, name: str) -> tuple[str, Described]:
        async with few:
            told = await client.send(node, DescribeGroupsRequest([name]))
            return name, _described(name, told)

    known = await asyncio.gather(*map(names, nodes))
    every = [one(node, name) for part in known for node, name in part]
    return dict(await asyncio.gather(*every))


def _described(group: str, answer: Any) -> Described:
    """The first group of an answer.

    aiokafka reads version 3 by the form of version 2, which lacks a field at the end of each
    group: the second one would be nonsense.
    """
    code, _, state, _, _, members, *_ = answer.groups[0]
    if code and aio.for_code(code) is not aio.GroupIdNotFound:
        raise aio.for_code(code)(group)
    return Described(state or _NEWER, dict(map(_member, members)))


def _reads(kind: str) -> bool:
    """Whether a group is one of readers; connectors and the like coordinate otherwise."""
    return kind in ("", ConsumerProtocol.PROTOCOL_TYPE)


def _member(told: Any) -> tuple[str, GroupMember]:
    member_id, *rest = told
    # From version 4 on, a name for static members stands between.
    client_id, host, _, assignment = rest[-4:]
    partitions: Iterable[Partition] = ()
    if assignment:
        partitions = sorted(
            Partition(tp.topic, tp.partition)
            for tp in ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions()
        )
    return member_id, GroupMember(client_id, host.lstrip("/"), tuple(partitions))
