"""Rows of two frames in order, joined by time: the nearest row, or all within a time."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from streamlab.changes import HIDDEN, TIME
from streamlab.engine.lookup import Found, Lookup, columns_of
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import ROW, Result, without
from streamlab.engine.sides import Front, Queue, times_of
from streamlab.engine.stage import Appending, Effect, Input
from streamlab.engine.watermark import FOREVER, Int64s, less, moment
from streamlab.plans.combined import combined_schema, joined_names
from streamlab.plans.nodes import Join

_RECORD = ROW  # in the rows that wait: a number of the record, rising


class JoinStage(Appending):
    """Left rows wait until no right row can come that they want; right rows as long as they can
    be wanted. Rows leave in the left side's order, with its hidden columns.

    A left record counts when it leaves: as passed if anything of it is in the frame. Right rows
    are not counted.

    Attributes:
        needs: None: nothing commits for two inputs.
    """

    needs = None

    def __init__(self, node: Join) -> None:
        self.node = node
        self._tolerance = node.tolerance.us
        self._ahead = node.kind == "within" or node.strategy != "backward"
        self._inner = node.how == "inner"
        self._left, self._right = Front(), Front()
        self._waiting = Queue()
        # Right rows, and their columns, before the left side's columns are known.
        self._early = Queue()
        self._right_blank: pl.DataFrame | None = None
        self._lookup: Lookup | None = None
        self._left_blank: pl.DataFrame | None = None
        self._names: dict[str, str] = {}
        self._records = 0

    @property
    def bytes(self) -> int:
        """Bytes held of both sides."""
        held = 0 if self._lookup is None else self._lookup.bytes
        return self._waiting.bytes + self._early.bytes + held

    @property
    def watermark(self) -> datetime | None:
        """How far the joined rows are."""
        return moment(self.frontier)

    @property
    def frontier(self) -> int:
        """All rows earlier than this are out."""
        return min(self._left.at, self._limit)

    @property
    def _limit(self) -> int:
        """Left rows earlier than this have all right rows that they may want."""
        ahead = self._tolerance if self._ahead else 0
        return less(self._right.at, ahead)

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """What both sides have come to."""
        left, right = inputs
        if right is not None:
            self._take_right(right)
        rows, counts = None, Counts()
        if left is not None:
            rows, counts = self._left_rows(left.result)
            self._left.follow(left.origin, times_of(rows))
            self._left_blank = rows.clear()
        blank = self._left_blank
        self._look_up(blank)
        if blank is None or self._lookup is None:
            if rows is not None:
                self._waiting.add(rows, times_of(rows))
            return None
        came = blank if rows is None else rows
        ready = self._waiting.through(came, times_of(came), self._limit)
        leaving = pl.concat(ready, rechunk=True) if ready else blank
        joined, more = self._joined(leaving)
        self._forget()
        total = (a + b for a, b in zip(counts, more, strict=True))
        return Effect(joined, Counts(*total))

    def _take_right(self, given: Input) -> None:
        rows = without(given.result.rows, (ROW,))
        times = times_of(rows)
        self._right.follow(given.origin, times)
        if self._lookup is None:
            self._right_blank = rows.clear()
            self._early.add(rows, times)
        else:
            self._lookup.add(rows, times)

    def _left_rows(self, result: Result) -> tuple[pl.DataFrame, Counts]:
        """What came on the left; steps on the way may have held rows back."""
        number = result.rows.get_column(ROW).to_numpy() + self._records
        self._records += result.good
        rows = without(result.rows, (ROW,))
        shown = [name for name in rows.columns if name not in HIDDEN]
        rows = rows[[*shown, *HIDDEN]].hstack([pl.Series(_RECORD, number)])
        return rows, Counts(result.filtered, 0, result.filtered)

    def _look_up(self, left: pl.DataFrame | None) -> None:
        """Make the look-up, once the columns of both sides are known."""
        right = self._right_blank
        if self._lookup is not None or left is None or right is None:
            return
        combined_schema(self.node, _shown(left), _shown(right))  # keys that don't fit
        self._names = joined_names(self.node, _shown(left), _shown(right))
        by = [name for _, name in self.node.by]
        # With the time, so that there is a column even where the join shows none.
        self._lookup = Lookup(right, by, [*self._names, TIME])
        for rows in self._early.take(FOREVER):
            self._lookup.add(rows, times_of(rows))

    def _joined(self, left: pl.DataFrame) -> tuple[pl.DataFrame, Counts]:
        """Left rows that leave, with what they found."""
        if self._lookup is None:  # pragma: no cover - `take` looks first
            return left, Counts()
        keys, times = (
            columns_of(left, [name for name, _ in self.node.by]),
            times_of(left),
        )
        if self.node.kind == "asof":
            found = self._lookup.asof(keys, times, self.node.strategy, self._tolerance)
        else:
            found = self._lookup.within(keys, times, self._tolerance)
        asked, chosen = found.asked, found.rows
        if not self._inner:
            asked, chosen = _with_lonely(found, left.height)
        rows = left if _is_all(asked, left.height) else left[asked]
        table = found.table[chosen]
        columns = [table.get_column(old).alias(new) for old, new in self._names.items()]
        hidden = [rows.get_column(name) for name in HIDDEN]
        counts = _counted(left, rows)
        rows = without(rows, (*HIDDEN, _RECORD))
        return rows.hstack([*columns, *hidden]), counts

    def _forget(self) -> None:
        """Right rows that no left row can want any more."""
        if self._lookup is None:  # pragma: no cover - `take` looks first
            return
        next_left = min(self._left.at, self._waiting.oldest)
        back = 0 if self.node.strategy == "forward" else self._tolerance
        if self.node.kind == "within":
            back = self._tolerance
        asof = self.node.kind == "asof" and self.node.strategy == "backward"
        self._lookup.settle(less(next_left, back), next_left if asof else None)


def _shown(rows: pl.DataFrame) -> pl.Schema:
    hidden = {*HIDDEN, _RECORD}
    return pl.Schema({n: t for n, t in rows.schema.items() if n not in hidden})


def _is_all(asked: Int64s, height: int) -> bool:
    return len(asked) == height and bool((asked == np.arange(height)).all())


def _with_lonely(found: Found, height: int) -> tuple[Int64s, Int64s]:
    """The left row of each row to come, and the place of what it found, or of nothing."""
    alone = np.ones(height, np.bool_)
    alone[found.asked] = False
    lonely = np.flatnonzero(alone)
    asked = np.concatenate([found.asked, lonely])
    order = np.argsort(asked, kind="stable")
    places = np.concatenate([found.rows, np.zeros(len(lonely), np.int64)])
    return asked[order], places[order]


def _counted(left: pl.DataFrame, rows: pl.DataFrame) -> Counts:
    """Left records that leave: those in the frame, and those that found nothing."""
    there = np.unique(left.get_column(_RECORD).to_numpy())
    passed = np.unique(rows.get_column(_RECORD).to_numpy())
    filtered = np.isin(there, passed, invert=True).sum()
    return Counts(len(there), len(passed), int(filtered))
