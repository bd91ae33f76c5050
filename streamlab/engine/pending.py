"""Rows that wait until nothing earlier can come: in sorted runs, so that few are touched at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import HIDDEN, PART, SEQ, STAMP, TIME
from streamlab.engine.needs import Place
from streamlab.engine.rawrows import own_buffers
from streamlab.engine.rowwise import without
from streamlab.engine.watermark import FOREVER, Int64s

# So many runs of a size become one, up to a size: each row is copied a few times, and a release
# looks at some dozen runs, however many rows wait.
_FEW = 8
_LARGEST_MERGE = 131_072
# Number of the row's arrival. Of two records of a partition the one that came first is the
# older: a producer's own timestamps need not rise with the offsets.
_CAME = "__came"


class _Oldest(NamedTuple):
    """Of one partition's rows in a run, which is the oldest of those from each place on.

    Attributes:
        at: places of its rows in the run, rising.
        came: when the oldest record among its rows from there to the end came.
        stamps, seqs: of that record.
    """

    at: Int64s
    came: Int64s
    stamps: Int64s
    seqs: Int64s


@dataclass(slots=True)
class _Run:
    """Rows in event order; those before `start` have left.

    Attributes:
        times: event times, µs.
        held: bytes.
        level: how often eight became one.
        oldest: per partition; None if nobody commits.
    """

    rows: pl.DataFrame
    times: Int64s
    held: int
    level: int
    oldest: dict[int, _Oldest] | None
    start: int = 0

    @property
    def left(self) -> int:
        """Rows that still wait."""
        return len(self.times) - self.start


class Pending:
    """Waiting rows, hidden columns included. A release costs what it lets go, not what stays."""

    def __init__(self, *, committing: bool) -> None:
        """Nothing waits. `committing`: keep account of the oldest record of each partition."""
        self._committing = committing
        self._came = 0
        self._runs: list[_Run] = []

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return sum(run.held for run in self._runs)

    @property
    def height(self) -> int:
        """Rows that wait."""
        return sum(run.left for run in self._runs)

    def add(self, rows: pl.DataFrame, *, owned: bool) -> None:
        """Keep rows, in the order in which they came.

        Args:
            rows: the rows.
            owned: they are most of what their buffers hold, which need not be copied.
        """
        if not rows.height:
            return
        if self._committing:
            came = np.arange(self._came, self._came + rows.height)
            self._came += rows.height
            rows = rows.hstack([pl.Series(_CAME, came)])
        self._runs.append(self._run(in_event_order(rows), owned=owned))
        while self._merge():
            pass

    def release(self, before: int) -> list[pl.DataFrame]:
        """Let go of all rows earlier than that (µs): pieces, each in event order."""
        pieces = []
        for place, run in enumerate(self._runs):
            end = int(np.searchsorted(run.times, before, "left"))
            if end <= run.start:
                continue
            pieces.append(without(run.rows[run.start : end], (_CAME,)))
            run.start = end
            if 0 < run.left * 2 < len(run.times):
                copied = self._run(run.rows[end:], owned=False)
                copied.level = run.level
                self._runs[place] = copied
        self._runs = [run for run in self._runs if run.left]
        return pieces

    def oldest(self) -> dict[int, Place]:
        """Per partition the oldest record that waits."""
        first: dict[int, int] = {}
        found: dict[int, Place] = {}
        for run in self._runs:
            for part, rows in (run.oldest or {}).items():
                at = int(np.searchsorted(rows.at, run.start, "left"))
                if at < len(rows.at) and rows.came[at] < first.get(part, FOREVER):
                    first[part] = int(rows.came[at])
                    found[part] = (int(rows.stamps[at]), int(rows.seqs[at]))
        return found

    def _merge(self) -> bool:
        """Make one of the newest runs, if so many are alike; whether they were."""
        last = self._runs[-_FEW:]
        alike = all(run.level == last[-1].level for run in last)
        rows = sum(run.left for run in last)
        if len(last) < _FEW or not alike or rows > _LARGEST_MERGE:
            return False
        whole = in_event_order(pl.concat(run.rows[run.start :] for run in last))
        merged = self._run(whole, owned=False)
        merged.level = last[-1].level + 1
        self._runs[-_FEW:] = [merged]
        return True

    def _run(self, rows: pl.DataFrame, *, owned: bool) -> _Run:
        held = int(rows.estimated_size())
        if not owned:
            rows, held = own_buffers(rows.rechunk())
        times = rows.get_column(TIME).cast(pl.Int64).to_numpy()
        oldest = _oldest(rows) if self._committing else None
        return _Run(rows, times, held + times.nbytes, 0, oldest)


def in_event_order(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` sorted by event time, partition, offset; rows of one record stay as they are."""
    if not _is_sorted(rows):
        return rows.sort(*HIDDEN, maintain_order=True)
    return rows


def joined(pieces: Sequence[pl.DataFrame], blank: pl.DataFrame) -> pl.DataFrame:
    """Pieces that are each in event order as one that is; `blank` has their columns."""
    pieces = [piece for piece in pieces if piece.height]
    if not pieces:
        return blank
    return pieces[0] if len(pieces) == 1 else in_event_order(pl.concat(pieces))


def _is_sorted(rows: pl.DataFrame) -> bool:
    """Whether times rise, from row to row (equal ones are looked at by the sort)."""
    times = rows.get_column(TIME).cast(pl.Int64).to_numpy()
    return bool((times[1:] > times[:-1]).all())


def _oldest(rows: pl.DataFrame) -> dict[int, _Oldest]:
    parts = rows.get_column(PART).to_numpy()
    numbers = [_numbers(rows.get_column(name)) for name in (_CAME, STAMP, SEQ)]
    return {
        part: _suffixes(np.flatnonzero(parts == part), *numbers)
        for part in np.unique(parts).tolist()
    }


def _suffixes(
    at: NDArray[np.intp], came: Int64s, stamps: Int64s, seqs: Int64s
) -> _Oldest:
    by_age = np.argsort(came[at], kind="stable")
    rank = np.empty(len(at), np.int64)
    rank[by_age] = np.arange(len(at))
    oldest = at[by_age[np.minimum.accumulate(rank[::-1])[::-1]]]
    return _Oldest(at.astype(np.int64), came[oldest], stamps[oldest], seqs[oldest])


def _numbers(column: pl.Series) -> Int64s:
    return (column.fill_null(0) if column.has_nulls() else column).to_numpy()
