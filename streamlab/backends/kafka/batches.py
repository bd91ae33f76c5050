"""The fast road: whole record batches out of aiokafka's fetcher, without an object per record.

aiokafka unpacks each fetched batch into one `ConsumerRecord` per message, and whoever holds
those pays for them at every garbage collection: 0.7 M records/s, 2 M/s without them. Consumers
that are made with `value_deserializer=MARK` are given `Batch` objects instead, by a generator
that takes the place of aiokafka's own. It keeps that one's duties: what lies before the sought
offset in a batch is cut, aborted and control batches are passed over, positions move on behind
them. All other consumers of the process are left as they are.
"""

from __future__ import annotations

import inspect
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import aiokafka
from aiokafka import errors as aio
from aiokafka.consumer import fetcher

from streamlab.records import Headers, Partition, Records

# Of `PartitionRecords._unpack_records`: what we have read, understood and replaced (the same
# from aiokafka 0.12 to 0.14).
_KNOWN = ("10b83276e7de89bf",)
_COMMITTED = 1


def MARK(value: bytes | None) -> bytes | None:  # noqa: N802 (a constant that must be callable)
    """The `value_deserializer` that asks for batches; on any other road it changes nothing."""
    return value


@cache
def road() -> tuple[bool, str]:
    """Whether the fast road is taken, and why or why not; takes effect at the first call."""
    version = f"aiokafka {aiokafka.__version__}"
    kind = getattr(fetcher, "PartitionRecords", None)
    original = getattr(kind, "_unpack_records", None)
    if kind is None or original is None:
        return False, f"{version} unpacks records elsewhere; reading record by record"
    if fingerprint(original) not in _KNOWN:
        return (
            False,
            f"{version} unpacks records in a new way; reading record by record",
        )

    def unpack(self: Any) -> Iterator[Any]:
        fast = self._value_deserializer is MARK
        return _batches(self) if fast else original(self)

    kind._unpack_records = unpack  # noqa: SLF001 (there is no other door)
    return True, f"whole batches out of {version}"


def fingerprint(function: Any) -> str:
    """A function's text in sixteen characters; comments and layout don't count."""
    try:
        lines = inspect.getsource(function).splitlines()
    except (OSError, TypeError):
        return "unknown"
    code = "".join("".join(line.partition("#")[0].split()) for line in lines)
    return sha256(code.encode()).hexdigest()[:16]


class Columns:
    """Records of one partition on their way into a block.

    Attributes:
        after: the offset behind the last one that was looked at.
    """

    def __init__(self, partition: Partition) -> None:
        """Empty yet."""
        self.after = 0
        self._partition = partition
        self._values: list[bytes | None] = []
        self._offsets: list[int] = []
        self._times: list[int] = []
        self._keys: list[bytes | None] = []
        self._headers: dict[int, Headers] = {}

    def __len__(self) -> int:
        return len(self._values)

    def add(self, records: Iterable[Any], first: int, after: int) -> None:
        """Take aiokafka's records in, those before `first` left out; none of them is kept."""
        start = len(self._values)
        value, offset, time = (
            self._values.append,
            self._offsets.append,
            self._times.append,
        )
        keys, some = self._keys, bool(self._keys)
        for record in records:
            value(record.value)
            offset(record.offset)
            time(record.timestamp)
            key = record.key
            if some or key is not None:
                if not some:
                    keys.extend([None] * (len(self._values) - 1))
                    some = True
                keys.append(key)
            if record.headers:
                self._headers[len(self._values) - 1] = record.headers
        self.after = after
        # The broker answers with whole batches, also if their middle was asked for.
        if start < len(self._offsets) and self._offsets[start] < first:
            self._cut(start, bisect_left(self._offsets, first, start))

    def block(self) -> Records:
        """All of it.

        Numbers as `array`s: an eighth of a list of them, and numpy takes them as they are.
        Appending to one, on the other hand, costs twice as much as to a list.
        """
        headers = self._headers
        return Records(
            self._partition,
            array("q", self._offsets),
            array("q", self._times),
            self._values,
            self._keys or None,
            [headers.get(i, ()) for i in range(len(self))] if headers else None,
        )

    def _cut(self, start: int, stop: int) -> None:
        for column in (self._values, self._offsets, self._times, self._keys):
            del column[start:stop]
        if not any(key is not None for key in self._keys):
            self._keys = []
        gone = stop - start
        self._headers = {
            i if i < start else i - gone: pairs
            for i, pairs in self._headers.items()
            if not start <= i < stop
        }


class Batch:
    """One fetched record batch, still packed.

    Attributes:
        first: the first offset wanted of it.
        base: its own first offset.
        after: the offset behind it.
    """

    __slots__ = ("_packed", "after", "base", "first")

    def __init__(self, packed: Any, first: int) -> None:
        """Keep aiokafka's batch, whose records from `first` on are wanted."""
        self._packed = packed
        self.first = first
        self.base: int = packed.base_offset
        self.after: int = packed.next_offset

    def unpack(self, into: Columns) -> None:
        """Add its records. Once only."""
        into.add(self._packed, self.first, self.after)


def piece(block: Records, start: int, stop: int) -> Records:
    """A part of a block's rows."""

    def of(column: Sequence[Any] | None) -> Any:
        return None if column is None else column[start:stop]

    return Records(
        block.partition,
        of(block.offsets),
        of(block.timestamps_ms),
        of(block.values),
        of(block.keys),
        of(block.headers),
    )


def _batches(self: Any) -> Iterator[Batch | None]:
    """What stands in for `PartitionRecords._unpack_records`, for our consumers.

    A None at the end says that the position has moved past something hidden: whoever waits
    for records wakes up, and sees that a stop in there is reached.
    """
    records = self._records
    moved = False
    while records.has_next():
        batch = records.next_batch()
        if self._check_crcs and not batch.validate_crc():
            raise aio.CorruptRecordException(f"Invalid CRC - {self._tp}")
        first = self.next_fetch_offset
        moved = _hidden(self, batch)
        # Also behind what was compacted away: the batch knows where it ended once.
        self.next_fetch_offset = batch.next_offset
        if not moved:
            yield Batch(batch, first)
    if moved:
        yield None


def _hidden(self: Any, batch: Any) -> bool:
    """Whether a batch is a marker, or taken back with its transaction."""
    if self._isolation_level == _COMMITTED and batch.producer_id is not None:
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and self._contains_abort_marker(batch):
            self._aborted_producers.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in self._aborted_producers:
            return True
    return bool(batch.is_control_batch)
