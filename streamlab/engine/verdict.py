"""A block of rows after judgement: which window each belongs to, and which rows miss it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import PART, SEQ, STAMP, WINDOW_END, WINDOW_START
from streamlab.engine.assign import FUTURE, NO_TIME, Times, moments
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import ROW, Result
from streamlab.engine.watermark import Int64s, Watermark
from streamlab.records import OFFSET, PARTITION, REASON, TIMESTAMP

LATE_BY = "_late_by"


class Judged(NamedTuple):
    """Rows with their windows and verdicts.

    Attributes:
        rows: what came out of the steps before the window.
        times: their event times.
        starts, ends: of each row's window (of no meaning without a time).
        limit: watermark less lateness at each row; windows that end by then were over.
        late: rows whose window was over.
        expired: rows whose window an earlier reading had closed with them in it.
        taken: rows that go into a window, with its start and their event time.
        watermark: as it stands after the block.
        counts: of the records.
        final: every window closes.
    """

    rows: pl.DataFrame
    times: Times
    starts: Int64s
    ends: Int64s
    limit: Int64s
    late: NDArray[np.bool_]
    expired: NDArray[np.bool_]
    taken: pl.DataFrame
    watermark: Watermark
    counts: Counts
    final: bool

    def cleared(self) -> Judged:
        """The same without rows."""
        none = slice(0, 0)
        return self._replace(
            rows=self.rows.clear(),
            times=self.times.at(np.arange(0)),
            starts=self.starts[none],
            ends=self.ends[none],
            limit=self.limit[none],
            late=self.late[none],
            expired=self.expired[none],
        )


def count(
    result: Result,
    good: NDArray[np.bool_],
    late: NDArray[np.bool_],
    expired: NDArray[np.bool_],
) -> Counts:
    """What became of the records of a block.

    Args:
        result: of the steps before the window.
        good: rows that go into a window.
        late: rows that missed theirs.
        expired: rows that an earlier reading had brought home; all others have no event time
            that could be used.
    """
    fates = (good, late, expired, ~(good | late | expired))
    if not result.multiplies:
        passed, behind, gone, refused = (int(fate.sum()) for fate in fates)
    else:  # a record counts once, for the best that became of any of its rows
        row = result.rows.get_column(ROW).to_numpy()
        better = np.empty(0, row.dtype)
        tally = []
        for fate in fates:
            mine = np.setdiff1d(np.unique(row[fate]), better)
            better = np.union1d(better, mine)
            tally.append(len(mine))
        passed, behind, gone, refused = tally
    return Counts(result.good, passed, result.filtered, refused, behind, gone)


def late_rows(judged: Judged, dtype: pl.DataType) -> pl.DataFrame:
    """A row for each record that missed its window.

    Columns: window_start, window_end, `_late_by`, `_partition`, `_offset`, `_timestamp`, the
    record's own, then the hidden ones. A column of the record that bears one of the first
    names gives way to it.
    """
    return _missed(judged, judged.late, dtype)


def expired_rows(judged: Judged, dtype: pl.DataType) -> pl.DataFrame:
    """The same for the records that an earlier reading had brought home."""
    return _missed(judged, judged.expired, dtype)


def _missed(
    judged: Judged, which: NDArray[np.bool_], dtype: pl.DataType
) -> pl.DataFrame:
    rows = judged.rows.filter(pl.Series(which)).drop(ROW)
    by = pl.Series(LATE_BY, (judged.limit - judged.ends)[which])
    lines = pl.DataFrame(
        [
            moments(WINDOW_START, judged.starts[which], dtype),
            moments(WINDOW_END, judged.ends[which], dtype),
            by.cast(pl.Duration("us")) if dtype.is_temporal() else by,
            rows.get_column(PART).alias(PARTITION),
            rows.get_column(SEQ).alias(OFFSET),
            rows.get_column(STAMP).alias(TIMESTAMP).cast(pl.Datetime("ms", "UTC")),
        ]
    )
    return lines.hstack(rows.drop(lines.columns, strict=False))


def rejected_rows(judged: Judged) -> pl.DataFrame:
    """The rows without a usable event time, as they came, with `_reason`."""
    bad = ~judged.times.good
    future = pl.Series(REASON, judged.times.future[bad])
    rows = judged.rows.filter(pl.Series(bad)).drop(ROW)
    reason = pl.when(future).then(pl.lit(FUTURE)).otherwise(pl.lit(NO_TIME))
    return rows.with_columns(reason.alias(REASON))
