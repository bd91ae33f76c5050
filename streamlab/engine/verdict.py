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
        )


def count(result: Result, good: NDArray[np.bool_], late: NDArray[np.bool_]) -> Counts:
    """What became of the records of a block.

    Args:
        result: of the steps before the window.
        good: rows that go into a window.
        late: rows that missed theirs; the others have no event time that could be used.
    """
    bad = ~(good | late)
    if not result.multiplies:
        tally = (int(good.sum()), int(late.sum()), int(bad.sum()))
    else:  # a record counts once, for the best that became of any of its rows
        row = result.rows.get_column(ROW).to_numpy()
        passed, behind = np.unique(row[good]), np.unique(row[late])
        behind = np.setdiff1d(behind, passed)
        refused = np.setdiff1d(np.unique(row[bad]), np.union1d(passed, behind))
        tally = (len(passed), len(behind), len(refused))
    return Counts(result.good, tally[0], result.filtered, tally[2], tally[1])


def late_rows(judged: Judged, dtype: pl.DataType) -> pl.DataFrame:
    """A row for each record that missed its window.

    Columns: window_start, window_end, `_late_by`, `_partition`, `_offset`, `_timestamp`, the
    record's own, then the hidden ones. A column of the record that bears one of the first
    names gives way to it.
    """
    late = pl.Series(judged.late)
    rows = judged.rows.filter(late).drop(ROW)
    by = pl.Series(LATE_BY, (judged.limit - judged.ends)[judged.late])
    lines = pl.DataFrame(
        [
            moments(WINDOW_START, judged.starts[judged.late], dtype),
            moments(WINDOW_END, judged.ends[judged.late], dtype),
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
