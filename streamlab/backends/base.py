"""What a backend must do. Its module has one function, `connect(uri, options) -> Connection`.

Everything here runs on the I/O loop; a consumer or producer is owned by one task there.
Connecting is lazy: `connect` itself never touches the network and never fails for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from streamlab.records import (
    Offset,
    Outgoing,
    Partition,
    PartitionState,
    Position,
    Records,
    Resolved,
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

    async def aclose(self) -> None:
        """Give the connection back; bounded by 2 s, may be called twice."""
        ...


class Producer(Protocol):
    """Writes to one topic."""

    async def send(self, rows: Outgoing) -> int:
        """Write the rows in order and return how many the broker acknowledged (all).

        Raises:
            BrokerError: not all were acknowledged; the message says how many were.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was sent and give the connection back."""
        ...


class Connection(Protocol):
    """One broker."""

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

    async def producer(self, topic: str) -> Producer:
        """A writer; makes the topic if the broker does so by itself."""
        ...

    async def aclose(self) -> None:
        """Close all connections; consumers made from here end too."""
        ...


Options = Mapping[str, object]
