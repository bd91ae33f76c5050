"""Records as they come from a broker, and the positions that name a place among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

# An offset names a record inside its partition. It is an integer everywhere but on Redis, where
# it is the entry id as text, "1767225600000-3" (SeaStreamer's packed number is not one-to-one).
Offset = int | str
Headers = Sequence[tuple[str, bytes]]

# The metadata columns, as users see them.
TOPIC, PARTITION, OFFSET, TIMESTAMP, KEY, HEADERS = META = (
    "_topic",
    "_partition",
    "_offset",
    "_timestamp",
    "_key",
    "_headers",
)
REASON, PAYLOAD = "_reason", "_payload"


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Records(NamedTuple):
    """A block of one partition, columns as the client gives them.

    No object of ours stands for a single message: whoever holds a million of those pays for
    them at every garbage collection. All columns have the same length, at least 1.

    Attributes:
        partition: where the block comes from.
        offsets: one per record, rising. Integers; on Redis the entry ids as ASCII bytes.
        timestamps_ms: the broker's time of each record, ms since 1970 UTC; None on Redis,
            where it is the first half of the id (unless that counts nanoseconds).
        values: payloads; None is a tombstone.
        keys: the records' keys, or None if no record of the block has one.
        headers: pairs per record, or None if no record of the block has any.
    """

    partition: Partition
    offsets: Sequence[int] | Sequence[bytes]
    timestamps_ms: Sequence[int] | None
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Headers] | None = None


class Outgoing(NamedTuple):
    """Rows on their way to a broker; columns of equal length (or None for "none has any").

    Attributes:
        values: payloads; None is a tombstone.
        keys: bytes or None per row.
        timestamps_ms: ms since 1970; None lets the broker stamp them.
        headers: pairs per row.
        partitions: wanted partition per row; None lets the backend choose (by key, else in turn).
    """

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None = None
    timestamps_ms: Sequence[int] | None = None
    headers: Sequence[Headers] | None = None
    partitions: Sequence[int] | None = None


class Earliest(NamedTuple):
    """The first record there is."""


class Latest(NamedTuple):
    """The end, as it is when the position is resolved."""


class Newest(NamedTuple):
    """The newest `count` *messages* of the topic, over all its partitions."""

    count: int  # type: ignore[assignment]  # hides a method of tuples nobody calls


class AtTime(NamedTuple):
    """The first offset whose broker timestamp is at or after `ms` (since 1970 UTC)."""

    ms: int


class AtOffsets(NamedTuple):
    """Given offsets; partitions not named are at the end."""

    offsets: Mapping[int, Offset]


Position = Earliest | Latest | Newest | AtTime | AtOffsets
# A position once resolved: the first offset delivered (or, as an end, the first one not).
Resolved = Mapping[Partition, Offset]


class PartitionState(NamedTuple):
    """How far a consumer is in one partition.

    Attributes:
        next: the first offset not yet handed over.
        caught_up: the broker's last answer held nothing more for this partition.
        ended: the stop offset (or the end of a finished recording) is reached.
        behind: records between `next` and the end, as last known; None if unknown.
        handed_out: records that a member of a group was given since it joined; 0 without one.
    """

    next: Offset
    caught_up: bool
    ended: bool
    behind: int | None
    handed_out: int = 0

    @property
    def mark(self) -> Mark:
        """This place, for a commit later on."""
        return Mark(self.next, self.handed_out)


class Mark(NamedTuple):
    """A place in one partition, up to which records may be done.

    Attributes:
        next: the first offset that is not among them.
        handed_out: how many records had been handed out there; what a Redis group commits, for
            its members are given records out of order when they take over a dead one's.
    """

    next: Offset
    handed_out: int = 0


class Committed(NamedTuple):
    """What a group has committed of one partition.

    Attributes:
        next: the first record that may still be needed.
        memory: what the reader wrote beside it, for itself; "" where somebody else committed.
    """

    next: Offset
    memory: str = ""


class Sent(NamedTuple):
    """What a broker said of the rows it took; columns in the order of the rows.

    Attributes:
        partitions: where each went.
        offsets: the offset of each, as users see it; -1 where the broker does not tell.
        timestamps_ms: the time that each was given, ms since 1970.
    """

    partitions: Sequence[int]
    offsets: Sequence[Offset]
    timestamps_ms: Sequence[int]


def offset_rank(offset: Offset) -> tuple[int, ...]:
    """What offsets of one partition are ordered by; Redis ids by time, then number."""
    if isinstance(offset, int):
        return (offset,)
    time, _, number = offset.partition("-")
    return (int(time), int(number or 0))
