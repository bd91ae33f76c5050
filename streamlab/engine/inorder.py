"""Rows put in the order of event time: each waits until nothing earlier can come."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import PART, SEQ, STAMP
from streamlab.engine import verdict
from streamlab.engine.assign import Times, read_times
from streamlab.engine.fates import refused
from streamlab.engine.kept import Kept
from streamlab.engine.outcome import Batch
from streamlab.engine.pending import Pending, joined
from streamlab.engine.rowwise import ROW, Result, without
from streamlab.engine.stage import Appending, Effect, Input
from streamlab.engine.verdict import LATE_BY
from streamlab.engine.watermark import FOREVER, NONE, Int64s, Watermark, less, moment
from streamlab.plans.nodes import InOrder
from streamlab.records import OFFSET, PARTITION, TIMESTAMP

_LATE_KEPT = 10_000  # rows, for a `.late` that is asked for after they came


class _Judged(NamedTuple):
    """Rows that came, with their verdicts.

    Attributes:
        rows: what came out of the steps before.
        times: their event times.
        limit: watermark less lateness at each row.
        late: rows earlier than that.
        watermark: as it stands after the block.
    """

    rows: pl.DataFrame
    times: Times
    limit: Int64s
    late: NDArray[np.bool_]
    watermark: Watermark


class InOrderStage(Appending):
    """Holds rows back until the limit (watermark less lateness) has passed their time.

    A row earlier than the limit at its arrival is late. The limit is judged row by row, and all
    rows of the origin move it, filtered ones too, so nothing hangs on how the stream was cut. A
    record counts as passed when it begins to wait.

    Input that is in order already goes straight through: nothing of it can be late.
    """

    def __init__(self, node: InOrder, *, committing: bool) -> None:
        """`committing`: keep account of the oldest record that waits."""
        self.node = node
        self._watermark = Watermark()
        self._pending = Pending(committing=committing)
        self.needs = self._pending if committing else None
        self._frontier = NONE
        self._late = Kept(_LATE_KEPT)
        self._late_blank = pl.DataFrame()

    @property
    def bytes(self) -> int:
        """Bytes held: rows that wait, and what is kept of late ones."""
        return self._pending.bytes + self._late.bytes

    @property
    def holds(self) -> str:
        """How many rows wait."""
        return f"{self._pending.height:,} rows that wait"

    @property
    def watermark(self) -> datetime | None:
        """How far it has let go; at the end, how far the watermark had come by then."""
        ended = self._frontier == FOREVER
        limit = self._limit if ended else self._frontier
        return moment(limit)

    @property
    def frontier(self) -> int:
        """All rows earlier than this are out, and none will follow."""
        return self._frontier

    def known(self, kind: str) -> pl.DataFrame | None:
        """The newest 10,000 late rows; of the others what their frame keeps."""
        return self._late.frame(self._late_blank) if kind == "late" else None

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """Judge what came, let go of what nothing can come before any more."""
        given = inputs[0]
        if given is None:  # pragma: no cover - it runs only with known columns
            return None
        origin, result = given
        judged = self._judge(origin, result)
        good = judged.times.good & ~judged.late
        nothing = np.zeros(len(good), np.bool_)
        counts = verdict.count(result, good, judged.late, nothing)
        late, times = self._missed(judged), judged.times
        rejected = None if times.good.all() else refused(judged.rows, times)
        rows = without(result.rows, (ROW,))
        taken = rows if good.all() else rows.filter(pl.Series(good))
        # Nothing has changed up to here.
        self._watermark = judged.watermark
        self._late_blank = late.clear()
        self._late.add(late)
        if origin.frontier is None:
            rows = self._exchanged(taken, origin, final=origin.final)
        else:
            rows = taken
            self._frontier = FOREVER if origin.final else origin.frontier
        return Effect(rows, counts, late=late, rejected=rejected)

    def _judge(self, origin: Batch, result: Result) -> _Judged:
        """Every row's verdict; changes nothing."""
        timed = origin.rows.head(result.good)
        times = read_times(timed, None, self.node.max_ahead)
        watermark = self._watermark.copy()
        parts = timed.get_column(PART).to_numpy()
        marks = watermark.follow(times.values, parts, times.good, origin)
        places = result.rows.get_column(ROW).to_numpy()
        times, marks = times.at(places), marks[places]
        limit = np.where(marks == NONE, NONE, marks - self.node.lateness.us)
        late = times.good & (times.values < limit)
        if origin.frontier is not None:
            late = np.zeros(len(late), np.bool_)
        return _Judged(result.rows, times, limit, late, watermark)

    def _exchanged(
        self, came: pl.DataFrame, origin: Batch, *, final: bool
    ) -> pl.DataFrame:
        """What leaves, for the rows that came."""
        limit = FOREVER if final else self._limit
        self._frontier = max(self._frontier, limit)
        most = came.height * 2 >= origin.rows.height
        self._pending.add(came, owned=most)
        return joined(self._pending.release(self._frontier), came.clear())

    @property
    def _limit(self) -> int:
        """The watermark less the lateness."""
        return less(self._watermark.mark, self.node.lateness.us)

    def _missed(self, judged: _Judged) -> pl.DataFrame:
        """A row for each record that came too late.

        Columns: `_late_by`, `_partition`, `_offset`, `_timestamp`, the record's own, then the
        hidden ones. A column of the record that bears one of the first names gives way to it.
        """
        rows = _where(judged.rows, judged.late)
        by = pl.Series(LATE_BY, (judged.limit - judged.times.values)[judged.late])
        lines = pl.DataFrame(
            [
                by.cast(pl.Duration("us")),
                rows.get_column(PART).alias(PARTITION),
                rows.get_column(SEQ).alias(OFFSET),
                rows.get_column(STAMP).alias(TIMESTAMP).cast(pl.Datetime("ms", "UTC")),
            ]
        )
        return lines.hstack(without(rows, lines.columns))


def _where(rows: pl.DataFrame, mark: NDArray[np.bool_]) -> pl.DataFrame:
    rows = without(rows, (ROW,))
    return rows.filter(pl.Series(mark)) if mark.any() else rows.clear()
