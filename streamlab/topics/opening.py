"""Opens consumers for programs, in each of the three modes; on the I/O loop."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from streamlab import positions
from streamlab.backends.base import Connection
from streamlab.clocks import SYSTEM
from streamlab.durations import fixed_span
from streamlab.errors import ModeError, UsageError
from streamlab.records import Earliest, Offset, Partition, Position, Resolved
from streamlab.topics.asking import within
from streamlab.topics.consumer import Consumer
from streamlab.topics.ledger import Ledger
from streamlab.topics.modes import Mode, needs_own
from streamlab.topics.names import Names
from streamlab.topics.producer import Choose, Producer
from streamlab.topics.pump import Pump, Share
from streamlab.topics.sharing import mode_of

FETCH = 5_000  # messages fetched at once by one who reads alone
FETCH_SHARED = 100  # and by one who shares: what it holds, others can't have


@dataclass(frozen=True, slots=True)
class Wish:
    """What a program asked for.

    Attributes:
        names: of topics, or patterns.
        mode, group, member: how it reads, for whom, and as whom.
        start, until: the first message wanted, the first not wanted (or None).
        manual: only explicit acks count.
        every: seconds between commits; None leaves them to the program.
        create: partitions of a topic that isn't there; None doesn't make it.
    """

    names: tuple[str, ...]
    mode: Mode
    group: str | None
    member: str | None
    start: Position
    until: Position | None
    manual: bool
    every: float | None
    create: int | None


def wish(
    names: str | Iterable[str],
    *,
    group: str | None,
    mode: str | None,
    start: Any,
    until: Any,
    member: str | None,
    acks: str,
    commit_every: Any,
    create: int | None,
) -> Wish:
    """A program's arguments, checked before anything is opened."""
    listed = (names,) if isinstance(names, str) else tuple(names)
    if not listed:
        raise UsageError('consumer(): name a topic, or several: consumer(["a", "b"]).')
    found: Mode = mode_of(group, mode) or "real-time"
    if found == "load-balanced" and until is not None:
        raise needs_own(f"until={until!r}", group or "")
    if member is not None and found != "load-balanced":
        raise ModeError(
            f"member={member!r}: only who shares a group has a name in it. "
            'Write group="billing" without a mode, or leave member out.'
        )
    if acks not in {"auto", "manual"}:
        raise UsageError(
            f'acks={acks!r}: "auto" (done once the next is asked for) or "manual".'
        )
    if start is None or (start == "committed" and group is not None):
        start = "latest"
    every = None
    if commit_every is not None and group is not None:
        every = fixed_span(commit_every, "commit_every").seconds
    stop = None
    if until is not None:
        stop = positions.parse(until, what="until", clock=SYSTEM)
    return Wish(
        names=listed,
        mode=found,
        group=group,
        member=member,
        start=positions.parse(start, what="start", clock=SYSTEM),
        until=stop,
        manual=acks == "manual",
        every=every,
        create=create,
    )


async def open_consumer(connection: Connection, asked: Wish) -> Consumer:
    """Open what was asked for and begin to fetch."""
    names = Names(connection, asked.names, patterns=True)
    if asked.create is not None:
        await _make_missing(connection, names, asked.create)
    topics = await within(connection, names.current())
    ledger = Ledger(tracks=asked.group is not None)
    if asked.mode == "load-balanced":
        backend, pump = await _shared(connection, asked, names, topics, ledger)
    else:
        backend, pump = await _own(connection, asked, names, topics, ledger)
    pump.begin(f"consumer {', '.join(asked.names)}")
    made = Consumer(
        connection,
        names,
        ledger,
        pump,
        mode=asked.mode,
        group=asked.group,
        start=asked.start,
        manual=asked.manual,
        backend=backend,
    )
    weakref.finalize(made, pump.forgotten).atexit = False
    return made


async def _make_missing(connection: Connection, names: Names, partitions: int) -> None:
    """So that readers and writers can start in any order."""
    there = await within(connection, connection.topics())
    for name in names.given:
        if name not in there and name not in names.patterns:
            work = connection.producer(name, partitions=partitions)
            await (await within(connection, work)).aclose()


async def _own(
    connection: Connection,
    asked: Wish,
    names: Names,
    topics: Sequence[str],
    ledger: Ledger,
) -> tuple[Any, Pump]:
    start = await resolved(connection, topics, asked.start)
    stop = None
    if asked.until is not None:
        stop = await resolved(connection, topics, asked.until)
    done: dict[Partition, Offset] = {}
    if asked.group is not None:
        for topic in topics:
            found = await within(connection, connection.committed(asked.group, topic))
            done |= {p: each.next for p, each in found.items() if p in start}
        # Partitions that came to be while nobody read are read from their first record.
        known = {p.topic for p in done}
        start = {**start, **await resolved(connection, known, Earliest()), **done}
    consumer = await connection.consumer(start, stop)
    pump = Pump(
        connection,
        consumer,
        ledger,
        names,
        Share(group=asked.group, committed=done, every=asked.every),
        topics=tuple(topics),
        most=FETCH,
        ahead=True,
        follow=stop is None,
    )
    ledger.put((), consumer.state())
    return consumer, pump


async def _shared(
    connection: Connection,
    asked: Wish,
    names: Names,
    topics: Sequence[str],
    ledger: Ledger,
) -> tuple[Any, Pump]:
    made: list[Pump] = []
    # Joining would make some brokers wait in silence for a topic that isn't there.
    await resolved(connection, topics, asked.start)

    async def revoked(partitions: frozenset[Partition]) -> None:
        for pump in made:  # none yet: nothing was read either
            await pump.revoked(partitions)

    member = await connection.group_consumer(
        topics,
        group=asked.group or "",
        start=asked.start,
        revoked=revoked,
        name=asked.member,
    )
    made.append(
        Pump(
            connection,
            member,
            ledger,
            names,
            Share(group=asked.group, member=member, every=asked.every),
            topics=tuple(topics),
            most=FETCH_SHARED,
            ahead=False,
            follow=True,
        )
    )
    return member, made[0]


async def resolved(
    connection: Connection, topics: Iterable[str], position: Position
) -> Resolved:
    """One offset per partition of some topics."""
    found: dict[Partition, Offset] = {}
    for topic in topics:
        found.update(await within(connection, connection.resolve(topic, position)))
    return found


async def open_producer(
    connection: Connection,
    topic: str | None,
    partition_by: str | Choose,
    partitions: int | None,
    transactional_id: str | None,
) -> Producer:
    """Open what was asked for; a topic that is named is made if it isn't there."""
    if isinstance(partition_by, str) and partition_by not in {"key", "round-robin"}:
        raise UsageError(
            f'partition_by={partition_by!r}: "key", "round-robin", or a function of key, value '
            "and the number of partitions."
        )
    if partitions is not None and partitions < 1:
        raise UsageError(f"partitions={partitions}: a number from 1 up.")
    transactions = None
    if transactional_id is not None:
        transactions = await connection.transactions(transactional_id)
    made = Producer(
        connection,
        topic,
        partition_by=partition_by,
        partitions=partitions,
        transactions=transactions,
    )
    if topic is not None and transactions is None:
        await made.open()
    return made
