"""A block of rows after judgement: which window each belongs to, and which rows miss it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import PART, SEQ, STAMP, WINDOW_END, WINDOW_START
from streamlab.engine.assign import Times, moments
from streamlab.engine.fates import tally
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import ROW, Result
from streamlab.engine.watermark import Int64s, Watermark
from streamlab.records import OFFSET, PARTITION, TIMESTAMP

LATE_BY = "_late_by"


class Pairs(NamedTuple):
    """(row, window) pairs.

    Attributes:
        rows: places in the rows that were judged, rising.
        starts, ends: of each one's window.
        behind: how long that window had been over.
    """

    rows: Int64s
    starts: Int64s
    ends: Int64s
    behind: Int64s

    def where(self, which: NDArray[np.bool_]) -> Pairs:
        """Some of them."""
        return Pairs(*(column[which] for column in self))


NO_PAIRS = Pairs(*(np.empty(0, np.int64) for _ in range(4)))


class Judged(NamedTuple):
    """Rows with their windows and verdicts.

    Attributes:
        rows: what came out of the steps before the window.
        times: their event times.
        late: pairs whose window was over.
        expired: pairs whose window an earlier reading had closed with the row in it.
        taken: rows that go into a window, with where they go and their event time.
        watermark: as it stands after the block.
        counts: of the records.
        final: every window closes.
        plan: what the operator knows of where rows go, besides.
    """

    rows: pl.DataFrame
    times: Times
    late: Pairs
    expired: Pairs
    taken: pl.DataFrame
    watermark: Watermark
    counts: Counts
    final: bool
    plan: Any = None

    def cleared(self) -> Judged:
        """The same without rows."""
        return self._replace(
            rows=self.rows.clear(),
            times=self.times.at(np.arange(0)),
            late=NO_PAIRS,
            expired=NO_PAIRS,
        )


def count(
    result: Result,
    good: NDArray[np.bool_],
    late: NDArray[np.bool_],
    expired: NDArray[np.bool_],
    outside: NDArray[np.bool_] | None = None,
) -> Counts:
    """What became of the records of a block.

    Args:
        result: of the steps before the window.
        good: rows that go into a window.
        late: rows that missed theirs, all of them.
        expired: rows that an earlier reading had brought home.
        outside: rows for whose time there is no window; all others have no event time that
            could be used.
    """
    none = np.zeros(len(good), np.bool_) if outside is None else outside
    every = (good, late, expired, none, ~(good | late | expired | none))
    passed, behind, gone, held, refused = tally(result, every)
    filtered = result.filtered + held
    return Counts(result.good, passed, filtered, refused, behind, gone)


def missed_rows(rows: pl.DataFrame, pairs: Pairs, dtype: pl.DataType) -> pl.DataFrame:
    """A row for each (record, window) that missed.

    Columns: window_start, window_end, `_late_by`, `_partition`, `_offset`, `_timestamp`, the
    record's own, then the hidden ones. A column of the record that bears one of the first
    names gives way to it.
    """
    rows = rows[pairs.rows].drop(ROW)
    by = pl.Series(LATE_BY, pairs.behind)
    lines = pl.DataFrame(
        [
            moments(WINDOW_START, pairs.starts, dtype),
            moments(WINDOW_END, pairs.ends, dtype),
            by.cast(pl.Duration("us")) if dtype.is_temporal() else by,
            rows.get_column(PART).alias(PARTITION),
            rows.get_column(SEQ).alias(OFFSET),
            rows.get_column(STAMP).alias(TIMESTAMP).cast(pl.Datetime("ms", "UTC")),
        ]
    )
    return lines.hstack(rows.drop(lines.columns, strict=False))
