"""FRAME: records of several partitions in the order of their times.

So that a replay hands over in the same order at every speed: within a partition as they stand,
across partitions by when they are due, then by partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlab import entry_ids
from streamlab.intake import Intake, Taken
from streamlab.records import Partition, Records

Int64s = NDArray[np.int64]
NEVER = -(2**62)  # ms before all times


def in_step(intake: Intake, blocks: Sequence[Records]) -> Taken:
    """The rows of `blocks` in the order of their times."""
    taken = intake.take(blocks)
    if len({block.partition for block in blocks}) < 2:
        return taken
    if taken.rows.height == taken.received:
        owner, place = _order(blocks)
        starts = np.cumsum([0, *(len(block.values) for block in blocks)])
        return taken._replace(rows=taken.rows[starts[owner] + place])
    # Rejects and tombstones have their place among the others: rare, and ten times as slow.
    return intake.take(interleaved(blocks))


def interleaved(blocks: Sequence[Records]) -> list[Records]:
    """The blocks cut into runs, these in the order of their times."""
    owner, place = _order(blocks)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    ends = [*starts[1:].tolist(), len(owner)]
    return [
        part(blocks[owner[start]], int(place[start]), int(place[end - 1]) + 1)
        for start, end in zip(starts.tolist(), ends, strict=True)
    ]


def _order(blocks: Sequence[Records]) -> tuple[Int64s, Int64s]:
    """Which block each record comes from, and its place there, in the order of their times."""
    newest: dict[Partition, int] = {}
    due, of, at = [], [], []
    ranks = {p: n for n, p in enumerate(sorted({b.partition for b in blocks}))}
    for number, block in enumerate(blocks):
        times = np.maximum.accumulate(stamps(block))
        times = np.maximum(times, newest.get(block.partition, NEVER))
        newest[block.partition] = int(times[-1])
        due.append(times)
        of.append(np.full(len(times), number))
        at.append(np.arange(len(times)))
    owner, place = np.concatenate(of), np.concatenate(at)
    rank = np.array([ranks[b.partition] for b in blocks])[owner]
    order = np.lexsort((place, owner, rank, np.concatenate(due)))
    return owner[order], place[order]


def stamps(block: Records) -> Int64s:
    """The broker's time of each record, ms."""
    if block.timestamps_ms is not None:
        return np.asarray(block.timestamps_ms, dtype=np.int64)
    return entry_ids.split(block.offsets)[0]  # type: ignore[arg-type]  # Redis's


def part(block: Records, first: int, last: int | None) -> Records:
    """Some of a block's records."""

    def cut(column: Any) -> Any:
        return None if column is None else column[first:last]

    return Records(block.partition, *map(cut, block[1:]))
