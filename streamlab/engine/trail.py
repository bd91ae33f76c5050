"""When rows happened and when they came: what a chart of lateness is drawn of."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from streamlab.changes import HIDDEN, PART, STAMP
from streamlab.engine.assign import read_times
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import ROW
from streamlab.engine.stage import Appending, Effect, Input
from streamlab.engine.watermark import NONE, Int64s, Watermark, moment
from streamlab.plans.nodes import TRAIL_SCHEMA, Trail

IN_TIME, LATE = "in time", "late"


class TrailStage(Appending):
    """Follows the watermark as windows do, and tells where it stood at each row."""

    needs = None

    def __init__(self, node: Trail) -> None:
        """No row has come."""
        self.node = node
        self._watermark = Watermark()
        self._seen = NONE

    @property
    def bytes(self) -> int:
        """It keeps nothing of the rows."""
        return 0

    @property
    def watermark(self) -> datetime | None:
        mark = self._watermark.mark
        if mark == NONE or self.node.lateness is None:
            return None
        return moment(mark - self.node.lateness.us)

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """A line for each row that has a usable event time."""
        given = inputs[0]
        if given is None:  # pragma: no cover - it runs only with known columns
            return None
        origin, result = given
        node, rows = self.node, result.rows
        # As a window of this parent: with its own time, filtered rows move the watermark too.
        timed = origin.rows.head(result.good) if node.on is None else rows
        times = read_times(timed, node.on, node.max_ahead)
        watermark = self._watermark.copy()
        parts = timed.get_column(PART).to_numpy()
        marks = watermark.follow(times.values, parts, times.good, origin)
        if node.on is None:
            places = rows.get_column(ROW).to_numpy()
            times, marks = times.at(places), marks[places]
        stamps = rows.get_column(STAMP).fill_null(0).to_numpy() * 1000
        seen = np.maximum.accumulate(np.append(self._seen, stamps))
        lines = self._lines(rows, times.values, marks, seen[1:])
        lines = lines.filter(pl.Series(times.good))
        self._watermark, self._seen = watermark, int(seen[-1])
        passed, rejected = lines.height, rows.height - lines.height
        counts = Counts(passed + rejected + result.filtered, passed, result.filtered)
        return Effect(lines, counts._replace(rejected=rejected))

    def _lines(
        self, rows: pl.DataFrame, times: Int64s, marks: Int64s, seen: Int64s
    ) -> pl.DataFrame:
        node, off = self.node, self.node.lateness
        limit = np.where(marks == NONE, NONE, marks - (0 if off is None else off.us))
        late = np.full(len(times), node.late == "all")
        if node.late == "earlier":
            late = times < limit
        known = pl.Series((limit != NONE) & (off is not None))
        return rows.select(
            pl.Series("event_time", times),
            pl.col(STAMP).cast(pl.Datetime("ms", "UTC")).alias("arrived"),
            pl.col(PART).alias("partition"),
            pl.Series("row", np.where(late, LATE, IN_TIME)),
            pl.when(known).then(pl.Series(limit)).alias("watermark"),
            pl.Series("seen", seen),
            *HIDDEN,
        ).cast(dict(TRAIL_SCHEMA))  # type: ignore[arg-type]  # names and their types
