"""Rows of two frames in order, as one in order."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from streamlab.changes import HIDDEN, PART
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import ROW, without
from streamlab.engine.sides import Front, Queue, times_of
from streamlab.engine.stage import Appending, Effect, Input
from streamlab.engine.watermark import moment
from streamlab.plans.combined import combined_schema, parts_apart
from streamlab.plans.nodes import Merge


class MergeStage(Appending):
    """Holds each side's rows back until the other side has come as far.

    Attributes:
        needs: None: nothing commits for two inputs.
    """

    needs = None

    def __init__(self, node: Merge) -> None:
        self._shift = parts_apart(node)
        self._fronts = (Front(), Front())
        self._queues = (Queue(), Queue())
        self._blank: pl.DataFrame | None = None
        self._node = node
        self._schemas: list[pl.Schema | None] = [None, None]

    @property
    def bytes(self) -> int:
        """Bytes of the rows that wait."""
        return sum(queue.bytes for queue in self._queues)

    @property
    def watermark(self) -> datetime | None:
        """How far both sides are."""
        return moment(self.frontier)

    @property
    def frontier(self) -> int:
        """All rows earlier than this are out."""
        return min(front.at for front in self._fronts)

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """What both sides have come to."""
        counts = Counts()
        came: list[pl.DataFrame | None] = []
        for side, given in enumerate(inputs):
            rows = None if given is None else self._rows(side, given)
            if rows is not None and given is not None:
                counts = _more(counts, given)
                self._fronts[side].follow(given.origin, times_of(rows))
                self._check(side, rows)
            came.append(rows)
        if self._blank is None:  # pragma: no cover - it runs only with known columns
            return None
        found: list[pl.DataFrame] = []
        for queue, rows in zip(self._queues, came, strict=True):
            ready = self._blank if rows is None else rows[self._blank.columns]
            found += queue.through(ready, times_of(ready), self.frontier)
        return Effect(_in_order(found, self._blank), counts)

    def _check(self, side: int, rows: pl.DataFrame) -> None:
        """The columns as they come; both sides' must be the same."""
        if self._schemas[side] is not None:
            return
        self._schemas[side] = rows.schema
        self._blank = rows.clear() if self._blank is None else self._blank
        left, right = self._schemas
        if left is not None and right is not None:
            combined_schema(self._node, left, right)

    def _rows(self, side: int, given: Input) -> pl.DataFrame:
        rows = without(given.result.rows, (ROW,))
        if side and self._shift:
            rows = rows.with_columns(pl.col(PART) + pl.lit(self._shift, pl.Int32))
        shown = [name for name in rows.columns if name not in HIDDEN]
        return rows[[*shown, *HIDDEN]]


def _more(counts: Counts, given: Input) -> Counts:
    result = given.result
    return Counts(
        counts.received + result.good,
        counts.passed + result.passed,
        counts.filtered + result.filtered,
    )


def _in_order(pieces: list[pl.DataFrame], blank: pl.DataFrame) -> pl.DataFrame:
    """By event time; of rows of one time the left side's come first, as they do in `pieces`."""
    if len(pieces) < 2:
        return pieces[0] if pieces else blank
    both = pl.concat(pieces, rechunk=True)
    return both[np.argsort(times_of(both), kind="stable")]
