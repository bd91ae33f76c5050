"""What a backend must do. Its module has one function, `connect(uri, options) -> Connection`.

Everything here runs on the I/O loop; a consumer or producer is owned by one task there.
Connecting is lazy: `connect` itself never touches the network and never fails for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from streamlab.records import (
    Committed,
    Mark,
    Offset,
    Outgoing,
    Partition,
    PartitionState,
    Position,
    Records,
    Resolved,
    Sent,
)


class PartitionInfo(NamedTuple):
    """What a broker knows of one partition; None where it doesn't.

    Attributes:
        partition: which one.
        first: offset of the first record there is; the next one's if it is empty.
        next: the offset that the next record will have or exceed (an inclusive position:
            reading from here delivers only what comes later).
        records: how many records there are between.
        bytes: roughly how many bytes they take.
        newest_ms, oldest_ms: broker timestamps of the last and the first record.
    """

    partition: Partition
    first: Offset
    next: Offset
    records: int | None
    bytes: int | None
    newest_ms: int | None
    oldest_ms: int | None


class GroupMember(NamedTuple):
    """One reader of a group, as the broker sees it.

    Attributes:
        name: what it calls itself (Kafka's client id, Redis' consumer name).
        host: where it reads from; "" if the broker doesn't tell.
        partitions: those it alone reads; () where a group's members share all of them.
        pending: records it was given and has not committed; None if the broker can't tell.
        idle_ms: since it was last heard of; None if the broker can't tell.
    """

    name: str
    host: str = ""
    partitions: tuple[Partition, ...] = ()
    pending: int | None = None
    idle_ms: int | None = None


class GroupInfo(NamedTuple):
    """A group of readers.

    Attributes:
        name: of the group.
        state: "stable", "empty", "rebalancing", "dead".
        topics: those it has committed or reads, sorted.
        members: who reads now.
    """

    name: str
    state: str
    topics: tuple[str, ...]
    members: tuple[GroupMember, ...]


class Consumer(Protocol):
    """Reads some partitions, each from a start to an optional stop."""

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        """Blocks of records, at most `max_records` in all.

        Returns as soon as anything is there; `()` after `max_wait` seconds of silence, which
        is never the end (`ended` says that). Records of a partition come in offset order.
        Reconnects by itself and loses nothing; meanwhile `trouble` says what is wrong.

        Raises:
            DamagedFileError: all good records before the damage have been delivered.
            PositionLost: only if the consumer was made with on_lost="error".
            BrokerError: what reconnecting can't mend (a wrong password, a missing right,
                a key that holds something else).
        """
        ...

    def state(self) -> Mapping[Partition, PartitionState]:
        """How far it is, per partition; cheap, no I/O."""
        ...

    @property
    def ended(self) -> bool:
        """Every partition has reached its stop, or the recording its end mark."""
        ...

    @property
    def lost(self) -> int:
        """Records that were asked for and that the broker no longer had."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why nothing comes just now ("reconnecting host:port, try 3, next in 2 s")."""
        ...

    async def assign(self, start: Resolved) -> None:
        """Read these partitions too, each from its offset; one that is read already moves there.

        Records of those partitions that were fetched and not handed out are dropped. Between
        two calls of `receive` only.
        """
        ...

    async def unassign(self, partitions: Collection[Partition]) -> None:
        """Read these partitions no more; with none left, `receive` is silent."""
        ...

    async def aclose(self) -> None:
        """Give the connection back; bounded by 2 s, may be called twice."""
        ...


class GroupConsumer(Consumer, Protocol):
    """Shares its topics with the other members of a group.

    Who reads what is the broker's to say, so `assign` and `unassign` are refused (ModeError);
    `state` has the partitions that are this member's now.
    """

    @property
    def name(self) -> str:
        """What this member is called in its group."""
        ...

    @property
    def rebalances(self) -> int:
        """How often partitions came or went since it joined (on Redis: how often records of a
        member that went silent were taken over).
        """
        ...

    @property
    def news(self) -> str:
        """The last such event in a clause ("b left: partitions 2 3 → a"), or ""."""
        ...

    async def commit(self, upto: Mapping[Partition, Mark]) -> None:
        """Nothing before these places is needed again. Partitions that have gone are skipped.

        Raises:
            BrokerError: it was not committed, and what was in it may come again.
        """
        ...

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Share these topics from now on, instead of those before.

        Of one that was not among them, partitions without a commit begin at their first record.
        """
        ...

    async def abandon(self) -> None:
        """Be gone as in a crash: nothing committed, nobody told; bounded by 2 s."""
        ...


class Producer(Protocol):
    """Writes to one topic."""

    @property
    def partitions(self) -> int:
        """How many partitions the topic has (at least 1)."""
        ...

    async def send(self, rows: Outgoing) -> Sent:
        """Write the rows in order; returns once the broker has acknowledged all of them.

        Raises:
            BrokerError: not all were acknowledged; the message says how many were.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was sent and give the connection back."""
        ...


class Transactions(Protocol):
    """Writes whole sets of records or none of them, to any topics; owned by one task."""

    async def begin(self) -> None:
        """Begin a set.

        Raises:
            BrokerError: another writer of the same id has taken over.
        """
        ...

    async def producer(self, topic: str) -> Producer:
        """A writer whose records belong to the set under way."""
        ...

    async def commit(
        self,
        group: str | None = None,
        done: Mapping[Partition, Committed] | None = None,
    ) -> None:
        """Let readers see the set; with it, what `group` has done."""
        ...

    async def abort(self) -> None:
        """Take the set back; readers that read committed records never see it."""
        ...

    async def aclose(self) -> None:
        """Abort what is under way, give the connection back."""
        ...


# Awaited before partitions are taken away: finish and commit what was read of them.
Revoked = Callable[[frozenset[Partition]], Awaitable[None]]


class Connection(Protocol):
    """One broker."""

    @property
    def ids_are_text(self) -> bool:
        """Whether offsets are entry ids such as "1767225600000-3" (Redis)."""
        ...

    @property
    def place(self) -> str:
        """The broker as shown to people: scheme, host and port, never a secret."""
        ...

    @property
    def live_source(self) -> str:
        """Kind of broker, for the card ("redis", "file", "demo", "memory")."""
        ...

    async def topics(self) -> list[str]:
        """Names of the topics there are, sorted."""
        ...

    async def info(self, topic: str) -> list[PartitionInfo]:
        """One line per partition, in order.

        Raises:
            TopicNotFoundError: there is no such topic (where the broker can tell).
        """
        ...

    async def resolve(self, topic: str, position: Position) -> Resolved:
        """One offset per partition for `position`, as things stand now.

        Walks by messages, never by arithmetic on offsets: transactions, compaction and
        deletions leave gaps.
        """
        ...

    async def consumer(
        self, start: Resolved, stop: Resolved | None = None, *, on_lost: str = "skip"
    ) -> Consumer:
        """A reader without a group: nothing is joined, nothing committed.

        Args:
            start: first offset delivered, per partition; the partitions are those named here.
            stop: first offset not delivered, per partition; None reads on for ever.
                Reaching it never waits for a record that does not come.
            on_lost: "skip" goes on at the first record there is; "error" raises.
        """
        ...

    async def partitions(self, topic: str) -> frozenset[Partition]:
        """The partitions there are now; cheap enough to be asked every few seconds.

        Empty for a topic that is not there.
        """
        ...

    async def groups(self) -> list[GroupInfo]:
        """The groups of readers there are, sorted by name. Only looks."""
        ...

    async def committed(self, group: str, topic: str) -> Mapping[Partition, Committed]:
        """What a group has committed; partitions without a commit are absent. Only looks."""
        ...

    async def commit(self, group: str, done: Mapping[Partition, Committed]) -> None:
        """Commit for a group whose one reader assigns its partitions by hand; makes the group.

        Positions may also go back.

        Raises:
            GroupBusyError: the group has members that share it (load-balanced).
            BrokerError: it was not committed.
        """
        ...

    async def group_consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Position,
        revoked: Revoked,
        name: str | None = None,
    ) -> GroupConsumer:
        """Join a group that shares topics (load-balanced).

        Args:
            topics: what it shares.
            group: its name; made if it isn't there.
            start: where partitions begin that the group has not committed.
            revoked: awaited, within the time a broker gives for it, before partitions are
                taken away; not where members share all of them (Redis).
            name: what this member is called; None makes a name of host, process and number.
        """
        ...

    async def producer(self, topic: str, *, partitions: int | None = None) -> Producer:
        """A writer; makes the topic if it isn't there and the broker lets us.

        Args:
            topic: where to.
            partitions: how many a topic that isn't there yet gets; None is the broker's own
                number, or 1.

        Raises:
            UsageError: the topic is there, with fewer partitions.
        """
        ...

    async def transactions(self, name: str) -> Transactions:
        """A writer of whole sets of records, known to the broker by `name`.

        Raises:
            UsageError: this kind of broker has none.
        """
        ...

    async def trim(
        self, topic: str, *, keep: int | None = None, before: Resolved | None = None
    ) -> int:
        """Throw the oldest records away; returns how many are gone, as far as known.

        Args:
            topic: of which.
            keep: all but so many of each partition (at least: some brokers keep a few more).
            before: all before these offsets.

        Raises:
            UsageError: this kind of topic can't be trimmed.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections; consumers made from here end too."""
        ...


Options = Mapping[str, object]
