"""Hopping windows: a row goes into several, or into none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.changes import PART, SEQ, STAMP
from streamlab.engine import verdict
from streamlab.engine.aggregator import CLOCK, START
from streamlab.engine.hops import Line, line_of
from streamlab.engine.keys import plain
from streamlab.engine.outcome import Batch
from streamlab.engine.rowwise import Result
from streamlab.engine.verdict import NO_PAIRS, Judged, Pairs
from streamlab.engine.watermark import Int64s
from streamlab.engine.window import WindowOperator

OVER = (
    "__over"  # beside START, the number of the newest window: how many are over already
)


_Windows = tuple[Int64s, Int64s, Int64s]


class _Missed(NamedTuple):
    """Pairs that did not come to be."""

    late: Pairs
    expired: Pairs


class HoppingOperator(WindowOperator):
    """Windows `[start, start + period)` at every `every`.

    Rows that belong to the same windows are aggregated once, by key, and their aggregates then go
    into each window: the work is that of the windows' changed rows, not of rows times windows.
    Only aggregations that need raw rows keep a row once for each of its windows.
    """

    def judge(self, origin: Batch, result: Result) -> Judged:
        """As for tumbling windows; a row may miss some of its windows, and go into others."""
        rows = result.rows
        times, limit, watermark = self._limited(origin, result)
        good, clock = times.good, times.values
        line = line_of(self.node, clock[good])
        last = line.last(clock)
        whole, left = line.over(clock), line.over(np.maximum(clock, limit))
        inside = good & (line.count(last, whole) > 0)
        taken = inside & (line.count(last, left) > 0)
        missing = np.flatnonzero(inside & (left > whole))
        missed = _Missed(NO_PAIRS, NO_PAIRS)
        if len(missing):
            windows = line.windows(last[missing], whole[missing])
            missed = self._missed(rows, windows, missing, limit)
        # A row counts once: as passed if one window took it, as late if one it missed was new.
        late = np.zeros(len(good), np.bool_)
        late[missed.late.rows] = True
        late &= ~taken
        home = inside & ~taken & ~late
        into = rows.hstack(
            [
                pl.Series(START, last),
                pl.Series(OVER, left),
                pl.Series(CLOCK, clock),
            ]
        )
        return Judged(
            rows,
            times,
            missed.late,
            missed.expired,
            into if taken.all() else into.filter(pl.Series(taken)),
            watermark,
            verdict.count(result, taken, late, home, good & ~inside),
            origin.final,
            line,
        )

    def _missed(
        self, rows: pl.DataFrame, windows: _Windows, at: Int64s, limit: Int64s
    ) -> _Missed:
        """Of all windows that hold the rows `at`, those that were over."""
        place, starts, ends = windows
        row = at[place]
        behind = limit[row] - ends
        pairs = Pairs(row, starts, ends, behind).where(behind >= 0)
        return _Missed(*self._parted(rows, pairs))

    def query(self, judged: Judged) -> pl.LazyFrame:
        return self._aggregator.over(judged.taken, (OVER, *self.node.by))

    def _merge(self, judged: Judged, groups: pl.DataFrame) -> Int64s:
        line: Line = judged.plan
        newest, over = (groups.get_column(n).to_numpy() for n in (START, OVER))
        place, starts, ends = line.windows(newest, over)
        by = groups[list(self.node.by)] if self.node.by else groups.select()
        keys = plain(by, groups.height)
        slots, new = self._windows.put(
            starts, ends, [keys[at] for at in place.tolist()]
        )
        self._aggregator.spread(place, slots, new, self._slots.capacity, groups)
        self._aggregator.keep_in(place, slots, starts, groups, judged.taken)
        if self.needs is not None:
            self._note_needs(judged.taken, line)
        return np.unique(slots)

    def _note_needs(self, taken: pl.DataFrame, line: Line) -> None:
        """Of rows that go into the same windows, the first of each partition."""
        if self.needs is None or not taken.height:
            return
        alike = [START, OVER, PART]
        first = taken.unique(alike, keep="first", maintain_order=True)
        newest, over, part, stamp, seq = (
            first.get_column(n).to_numpy() for n in (*alike, STAMP, SEQ)
        )
        place, starts, _ = line.windows(newest, over)
        self.needs.add(starts, part[place], stamp[place], seq[place])
