"""What a backend's contract tests work with: the `Lab` that each backend's test file brings,
and a list model of what a topic holds. `contracts/backend.py` explains how to use it.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from streamlab.backends.base import Connection, Consumer
from streamlab.records import (
    Earliest,
    Headers,
    Latest,
    Offset,
    Partition,
    Records,
    Resolved,
)

T0 = 1_767_225_600_000  # 2026-01-01 00:00 UTC
NONE: Mapping[int, Collection[int]] = {}
examples = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
    ],
)


class Row(NamedTuple):
    """One record to be written by a lab."""

    value: bytes | None
    ms: int
    key: bytes | None = None
    headers: Headers = ()


@dataclass(frozen=True)
class Abilities:
    """What the broker can do.

    Attributes:
        partitions: a topic can have more than one.
        empty: a partition without any record can be there.
        any_times: timestamps may go back from one record to the next.
        deletes: `fill(deleted=…)` leaves gaps between offsets.
        trims: `trim` works; `counts_lost`: `Consumer.lost` tells how many are gone.
        sends: `Connection.producer` writes (a new topic has one partition).
        tombstones, keys, headers: records carry them.
        alone: each partition is read by one member of a group (else all share all of them).
    """

    partitions: bool = True
    empty: bool = True
    any_times: bool = True
    deletes: bool = True
    trims: bool = True
    counts_lost: bool = True
    sends: bool = True
    tombstones: bool = True
    keys: bool = True
    headers: bool = True
    alone: bool = True


class Lab(Protocol):
    """A connection under test and the means to prepare its broker."""

    can: Abilities

    @property
    def connection(self) -> Connection:
        """The one under test."""
        ...

    async def fill(
        self,
        topic: str,
        rows: Mapping[int, Sequence[Row]],
        deleted: Mapping[int, Collection[int]] = NONE,
    ) -> None:
        """Append `rows` per partition, numbers 0, 1, …; makes topic and partitions.

        A partition without rows exists and is empty. `deleted` names places in a partition's
        `rows` that are written and then taken away, so that their offsets are missing.
        """
        ...

    async def trim(self, topic: str, partition: int, *, keep: int) -> None:
        """Throw away all but the newest `keep` records of a partition."""
        ...


class Seen(NamedTuple):
    """One record as a consumer delivered it."""

    offset: Offset
    ms: int
    value: bytes | None


_numbers = itertools.count(1)
# A broker of one's own (tests/brokers.py) still has the topics of the runs before.
_RUN = secrets.token_hex(3)


def fresh() -> str:
    """A topic name that no other test has used."""
    return f"topic-{_RUN}-{next(_numbers)}"


def order(offset: Offset) -> tuple[int, ...]:
    """A sort key for integers and for Redis entry ids."""
    if isinstance(offset, int):
        return (offset,)
    return tuple(int(part) for part in offset.split("-"))


def unpack(block: Records) -> list[Seen]:
    """A block's rows, offsets as users see them."""
    offsets = [o.decode() if isinstance(o, bytes) else o for o in block.offsets]
    times = block.timestamps_ms or [order(o)[0] for o in offsets]
    assert len(offsets) == len(times) == len(block.values) > 0
    return [Seen(*row) for row in zip(offsets, times, block.values, strict=True)]


def collect(
    blocks: Sequence[Records], into: dict[Partition, list[Seen]]
) -> dict[Partition, list[Seen]]:
    """Add blocks to what was seen before."""
    for block in blocks:
        into.setdefault(block.partition, []).extend(unpack(block))
    return into


async def drain(
    consumer: Consumer, count: int | None = None, *, max_records: int = 1000
) -> dict[Partition, list[Seen]]:
    """Read `count` records, or up to the consumer's end; fails rather than hang."""
    seen: dict[Partition, list[Seen]] = {}
    total = silent = 0
    while silent < 20:
        if (total >= count) if count is not None else consumer.ended:
            return seen
        collect(await consumer.receive(max_records, 1.0), seen)
        before, total = total, sum(map(len, seen.values()))
        silent = silent + 1 if total == before else 0
    raise AssertionError(f"no end after {total} records")


async def between(
    lab: Lab, start: Resolved, stop: Resolved, *, max_records: int = 1000
) -> dict[Partition, list[Seen]]:
    """All records of [start, stop), per partition of `start`."""
    consumer = await lab.connection.consumer(start, stop)
    try:
        seen = await drain(consumer, max_records=max_records)
    finally:
        await consumer.aclose()
    return {p: seen.get(p, []) for p in start}


async def everything(lab: Lab, topic: str) -> dict[Partition, list[Seen]]:
    """What the topic holds now."""
    start = await lab.connection.resolve(topic, Earliest())
    stop = await lab.connection.resolve(topic, Latest())
    return await between(lab, start, stop)


def rows_of(seen: Mapping[Partition, Sequence[Seen]]) -> dict[int, list[bytes | None]]:
    """Values per partition number."""
    return {p.number: [row.value for row in rows] for p, rows in seen.items()}


def some(count: int, *, partition: int = 0, ms: int = T0) -> list[Row]:
    """So many rows, 10 ms apart, with values that name their place."""
    return [Row(f"{partition}:{i}".encode(), ms + 10 * i) for i in range(count)]


@st.composite
def contents(
    draw: st.DrawFn, can: Abilities
) -> tuple[dict[int, list[Row]], dict[int, list[int]]]:
    """Partitions (some empty) with equal times, gaps, and times that go back if they may."""
    step = st.integers(-4 if can.any_times else 0, 6)
    rows: dict[int, list[Row]] = {}
    deleted: dict[int, list[int]] = {}
    for number in range(draw(st.integers(1, 3)) if can.partitions else 1):
        ms = T0 + draw(st.integers(0, 10))
        rows[number], deleted[number] = [], []
        deltas = draw(st.lists(step, min_size=0 if can.empty else 1, max_size=12))
        for place, delta in enumerate(deltas):
            ms += delta
            rows[number].append(Row(f"{number}:{place}".encode(), ms))
            spared = not can.empty and place == 0
            if can.deletes and not spared and draw(st.integers(0, 4)) == 0:
                deleted[number].append(place)
    return rows, deleted


def newest_of(
    count: int, held: Mapping[Partition, Sequence[Seen]]
) -> dict[Partition, list[Seen]]:
    """The model of `Newest`: walk back, always where the next message back is newest.

    Of equally new ones that of the higher partition number goes first.
    """
    left = {p: list(rows) for p, rows in held.items()}
    taken: dict[Partition, list[Seen]] = {p: [] for p in held}
    for _ in range(count):
        fronts = [(rows[-1].ms, p) for p, rows in left.items() if rows]
        if not fronts:
            break
        _, partition = max(fronts)
        taken[partition].insert(0, left[partition].pop())
    return taken


def since(ms: int, rows: Sequence[Seen]) -> list[Seen]:
    """The model of `AtTime`: from the first row at or after `ms`, whatever follows it."""
    first = next((i for i, row in enumerate(rows) if row.ms >= ms), len(rows))
    return list(rows[first:])


def second(lab: Lab, count: int) -> dict[int, list[Row]]:
    """A second partition, where there can be one."""
    return {1: some(count, partition=1)} if lab.can.partitions else {}
