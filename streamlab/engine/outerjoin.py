"""Rows joined with a table that does not change, and the table's rows that have no match so far."""

from __future__ import annotations

import numpy as np
import polars as pl

from streamlab.changes import HIDDEN, JOINED, UNMATCHED
from streamlab.engine.fates import Mask, tally
from streamlab.engine.faults import FAILURES, first_bad
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import ROW, Result, fed, numbered, without
from streamlab.engine.stage import Appending, Effect, Input
from streamlab.plans.nodes import OuterJoin

_PLACE = "__place"  # of a row in the table


class OuterStage(Appending):
    """Which rows of the table have found a match; see the module's docstring.

    A joined row never changes. The others of the table are put out with the first batch, be it
    without rows, and taken back one by one.
    """

    needs = None  # what has been matched can't be known again

    def __init__(self, node: OuterJoin) -> None:
        """Nothing has a match."""
        self.node = node
        places = pl.Series(_PLACE, np.arange(node.table.height))
        self._table = node.table.hstack([places])
        self._matched = np.zeros(node.table.height, np.bool_)
        self._begun = False
        self._joined = 0

    @property
    def bytes(self) -> int:
        """Bytes held beside the table itself."""
        return self._matched.nbytes + 8 * self._table.height

    @property
    def holds(self) -> str:
        """How many rows are still there without a match."""
        return f"{int((~self._matched).sum()):,} rows of the table without a match"

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """Join new rows; what has found its first match leaves."""
        (given,) = inputs
        if given is None:  # pragma: no cover - it runs only with known columns
            return None
        result, error = given.result, None
        try:
            found = self._join(result.rows)
        except FAILURES as problem:
            height = result.rows.height
            bad = first_bad(height, lambda n: self._join(result.rows.head(n)))
            if bad is None:
                raise
            error = given.fault(problem, self.node, bad)
            rows = result.rows.head(bad)
            result = result._replace(rows=rows, good=error.index or 0)
            found = self._join(rows)
        counts = _counts(result, found)
        rows, removed = self._commit(found)
        if not self._begun:
            rows = pl.concat([rows, self._lonely(result.rows).select(rows.columns)])
            removed, self._begun = None, True
        return Effect(rows, counts, removed, error=error)

    def _join(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The joined rows in order, with the places of both sides; changes nothing."""
        left = numbered(without(rows, (*HIDDEN, ROW)))
        if any(isinstance(key, pl.Expr) for key in self.node.options["left_on"]):
            left = fed(left)  # worked out over as many rows as polars computes alike
        found = self._polars(left, self._candidates(left))
        return found.filter(pl.col(ROW) < rows.height).sort(
            ROW, _PLACE, nulls_last=True
        )

    def _candidates(self, left: pl.DataFrame) -> pl.DataFrame:
        """The rows of the table that may match, at least."""
        index = self.node.index
        if index is None:
            return self._table
        places = index.places(left.select(self.node.options["left_on"]))
        return self._table if places is None else self._table[places]

    def _polars(self, left: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
        return left.join(table, how=self.node.how, **self.node.options)

    def _commit(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """The joined rows with their keys, and the keys of the table's rows that leave."""
        numbers = np.arange(self._joined, self._joined + found.height)
        rows = without(found, (ROW, _PLACE)).hstack([pl.Series(JOINED, numbers)])
        self._joined += found.height
        places = found.get_column(_PLACE).drop_nulls().unique().to_numpy()
        fresh = np.sort(places[~self._matched[places]])
        self._matched[fresh] = True
        gone = pl.DataFrame([pl.Series(JOINED, fresh + UNMATCHED)])
        return rows, gone if len(fresh) else None

    def _lonely(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of the table without a match, with their keys: joined with no rows."""
        left = numbered(without(rows, (*HIDDEN, ROW))).clear()
        found = self._polars(left, self._table.filter(pl.Series(~self._matched)))
        found = found.sort(_PLACE)
        keys = found.get_column(_PLACE).rename(JOINED) + UNMATCHED
        return without(found, (ROW, _PLACE)).hstack([keys])


def _counts(result: Result, found: pl.DataFrame) -> Counts:
    """Of the records: which have a row, which have none."""
    passed: Mask = np.zeros(result.rows.height, np.bool_)
    passed[found.get_column(ROW).unique().to_numpy()] = True
    went, none = tally(result, (passed, ~passed))
    return Counts(result.good, went, result.filtered + none)
