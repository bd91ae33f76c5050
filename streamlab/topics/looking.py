"""What a broker knows of its topics and groups, as frames. Only looks: joins and commits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from streamlab.backends.base import Connection, GroupInfo, GroupMember, PartitionInfo
from streamlab.clocks import SYSTEM
from streamlab.errors import TopicNotFoundError
from streamlab.records import Committed, Offset, Partition, offset_rank
from streamlab.topics.asking import within


class _Row(NamedTuple):
    """One partition of a group, as one member has it."""

    group: GroupInfo
    member: GroupMember | None
    partition: Partition | None
    committed: Offset | None
    behind: int | None


def info_frame(
    lines: Sequence[PartitionInfo],
    committed: Mapping[Partition, Committed] | None,
    *,
    ids_are_text: bool,
) -> pl.DataFrame:
    """Partitions of topics; with what a group has committed, if one is asked about."""
    offset = _offsets(ids_are_text=ids_are_text)
    now = SYSTEM.now_ms()
    stamp = pl.Datetime("ms", "UTC")
    ages = [None if x.newest_ms is None else now - x.newest_ms for x in lines]
    columns: dict[str, tuple[list[Any], Any]] = {
        "topic": ([x.partition.topic for x in lines], pl.String()),
        "partition": ([x.partition.number for x in lines], pl.Int64()),
        "first": ([x.first for x in lines], offset),
        "next": ([x.next for x in lines], offset),
        "records": ([x.records for x in lines], pl.Int64()),
        "bytes": ([x.bytes for x in lines], pl.Int64()),
        "newest": ([x.newest_ms for x in lines], stamp),
        "oldest": ([x.oldest_ms for x in lines], stamp),
        "lag": (ages, pl.Duration("ms")),
    }
    if committed is not None:
        places = [_next(committed.get(x.partition)) for x in lines]
        left = [behind(x, at) for x, at in zip(lines, places, strict=True)]
        columns |= {"committed": (places, offset), "behind": (left, pl.Int64())}
    return _frame(columns)


async def groups_frame(connection: Connection) -> pl.DataFrame:
    """A row per group, topic and partition, and per member where members share partitions."""
    groups = await within(connection, connection.groups())
    rows = [row for group in groups for row in await _rows(connection, group)]
    offset = _offsets(ids_are_text=connection.ids_are_text)
    members = [row.member for row in rows]
    return _frame(
        {
            "group": ([row.group.name for row in rows], pl.String()),
            "state": ([row.group.state for row in rows], pl.String()),
            "topic": (
                [row.partition and row.partition.topic for row in rows],
                pl.String(),
            ),
            "partition": (
                [
                    None if row.partition is None else row.partition.number
                    for row in rows
                ],
                pl.Int64(),
            ),
            "member": ([None if m is None else m.name for m in members], pl.String()),
            "host": (
                [None if m is None else m.host or None for m in members],
                pl.String(),
            ),
            "committed": ([row.committed for row in rows], offset),
            "behind": ([row.behind for row in rows], pl.Int64()),
            "pending": (
                [None if m is None else m.pending for m in members],
                pl.Int64(),
            ),
            "idle": (
                [None if m is None else m.idle_ms for m in members],
                pl.Duration("ms"),
            ),
        }
    )


def behind(line: PartitionInfo, committed: Offset | None) -> int | None:
    """How many records come after what is committed; None where nobody can tell.

    Where offsets are numbers their distance is taken, records that are missing between included.
    """
    if committed is None:
        return line.records
    if offset_rank(committed) >= offset_rank(line.next):
        return 0
    if offset_rank(committed) <= offset_rank(line.first):
        return line.records
    if isinstance(committed, int) and isinstance(line.next, int):
        return line.next - committed
    return None


async def _rows(connection: Connection, group: GroupInfo) -> list[_Row]:
    found: list[_Row] = []
    owners = {p: m for m in group.members for p in m.partitions}
    sharing = [m for m in group.members if not m.partitions]
    for topic in group.topics:
        lines, done = await _topic(connection, group.name, topic)
        for line in lines:
            place = _next(done.get(line.partition))
            readers: list[GroupMember | None] = [owners.get(line.partition)]
            if not owners and sharing:
                readers = list(sharing)
            left = behind(line, place)
            found += [_Row(group, m, line.partition, place, left) for m in readers]
    # Members without a partition, and groups without a topic, are there all the same.
    if owners or not found:
        found += [_Row(group, m, None, None, None) for m in sharing]
    return found or [_Row(group, None, None, None, None)]


async def _topic(
    connection: Connection, group: str, topic: str
) -> tuple[list[PartitionInfo], Mapping[Partition, Committed]]:
    try:
        return await asyncio.gather(
            within(connection, connection.info(topic)),
            within(connection, connection.committed(group, topic)),
        )
    except TopicNotFoundError:  # deleted since; the group still names it
        return [], {}


def _next(done: Committed | None) -> Offset | None:
    return None if done is None else done.next


def _offsets(*, ids_are_text: bool) -> pl.DataType:
    return pl.String() if ids_are_text else pl.Int64()


def _frame(columns: Mapping[str, tuple[list[Any], Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            name: pl.Series(values, dtype=dtype)
            for name, (values, dtype) in columns.items()
        }
    )
