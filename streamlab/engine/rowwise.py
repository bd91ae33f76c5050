"""Row-wise steps, fused: one lazy query per chain, all chains of a batch in one `collect_all`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab import changes
from streamlab.changes import HIDDEN, STAMP
from streamlab.engine.copies import enough, repeated
from streamlab.engine.engines import engine
from streamlab.engine.faults import FAILURES, PlanError, failure, first_bad
from streamlab.plans.nodes import (
    Explode,
    Filter,
    Node,
    RowWise,
    Select,
    StaticJoin,
    WithColumns,
    row_wise,
)

ROW = changes.ROW
_PASS = "__pass"  # noqa: S105 - whether a filter lets the row through
KEEP = (*HIDDEN, ROW)
_MOST = 10_000  # rows of a batch that is run again because few of them passed a filter


class Result(NamedTuple):
    """What a chain of steps made of a batch.

    Attributes:
        rows: what came out.
        passed: rows of the batch that are among them.
        filtered: rows of the batch that a step held back.
        error: why the chain stopped; `rows` holds what was good before.
        good: rows of the batch before the one at fault (all of them, without an error).
        multiplies: one row of the batch may have become several.
    """

    rows: pl.DataFrame
    passed: int
    filtered: int
    error: PlanError | None
    good: int
    multiplies: bool = False


class Chain:
    """Row-wise steps between two places of a plan.

    Each filter's own test is a column of the query, so what it holds back is counted there
    and not worked out from what came through.
    """

    def __init__(self, steps: Sequence[RowWise], keep: Sequence[str] = KEEP) -> None:
        """`keep`: hidden columns that go through untouched; `ROW` is one of them."""
        self.steps = tuple(steps)
        self.keep = tuple(keep)
        self._own = [name for name in keep if name not in HIDDEN]
        self.multiplies = any(_multiplies(step) for step in self.steps)
        self.filters = any(
            isinstance(step, Filter) or _drops(step) for step in self.steps
        )
        computing = [isinstance(s, (Filter, Select, WithColumns)) for s in self.steps]
        few = (place for place, step in enumerate(self.steps) if _leaves_few(step))
        first = next(few, None)
        self._computes_later = first is not None and any(computing[first + 1 :])

    def queries(self, batch: pl.DataFrame, height: int) -> list[pl.LazyFrame]:
        """The chain's rows, then one count per step that may hold rows back.

        Args:
            batch: numbered rows; those from `height` on are copies, and not counted.
            height: of the batch itself.
        """
        rows = batch.lazy()
        counts: list[pl.LazyFrame] = []
        exploded = False
        for step in self.steps:
            before = rows
            exploded = exploded or _multiplies(step)
            if isinstance(step, Filter):
                rows = before = self._tested(step, rows)
                rows = rows.filter(pl.col(_PASS)).drop(_PASS)
            else:
                rows = row_wise(step, rows, self.keep)
            if _drops(step) or (exploded and isinstance(step, Filter)):
                counts.append(_gone(before, rows, height))
            elif isinstance(step, Filter):
                held = pl.col(_PASS).fill_null(value=False).not_() & (
                    pl.col(ROW) < height
                )
                counts.append(before.select(held.sum().alias("n")))
        return [rows, *counts]

    def run_alone(self, rows: pl.DataFrame) -> Result:
        """Run on `rows` by itself; on failure find the record, and run on those before it."""
        problem = failure(lambda count: self.collect(rows.head(count)), rows.height)
        if problem is None:
            return self.collect(rows)
        bad = first_bad(rows.height, lambda count: self.collect(rows.head(count)))
        if bad is None:
            error = PlanError(problem, self._guilty(rows))
            return Result(rows.clear(), 0, 0, error, 0)
        record = rows.slice(bad, 1)
        step = self._guilty(record)
        whole = STAMP in record.columns  # a record, not a row of a window
        error = PlanError(problem, step, record.drop(self._own) if whole else None, bad)
        return self.collect(rows.head(bad))._replace(error=error)

    def result(self, frames: Sequence[pl.DataFrame], batch: pl.DataFrame) -> Result:
        """Read what the queries of `batch` gave; if few rows came to a step, run again."""
        rows, *counts = frames
        held = [int(count.item()) for count in counts]
        if self._computes_later and _few(batch.height, held):
            return self._read(*self._run(repeated(batch), batch.height), batch.height)
        return self._read(rows, held, batch.height)

    def collect(self, rows: pl.DataFrame) -> Result:
        """Run on `rows` by itself; raises what polars raises."""
        return self.result(
            pl.collect_all(
                self.queries(fed(rows), rows.height), engine=engine(rows.height)
            ),
            rows,
        )

    def _run(self, rows: pl.DataFrame, height: int) -> tuple[pl.DataFrame, list[int]]:
        found, *counts = pl.collect_all(
            self.queries(numbered(rows), height), engine=engine(rows.height)
        )
        return found, [int(count.item()) for count in counts]

    def _read(self, rows: pl.DataFrame, held: Sequence[int], height: int) -> Result:
        place = rows.get_column(ROW)
        if rows.height and place[-1] >= height:  # the copies stand behind
            rows = rows.head(int((place < height).sum()))
        passed = rows.get_column(ROW).n_unique() if self.multiplies else rows.height
        return Result(rows, passed, sum(held), None, height, self.multiplies)

    def _tested(self, step: Filter, rows: pl.LazyFrame) -> pl.LazyFrame:
        """`rows` with the filter's verdict beside them; null is not true."""
        test = pl.all_horizontal(*step.predicates).alias(_PASS)
        return row_wise(WithColumns(step.parent, (test,)), rows, self.keep)

    def _guilty(self, rows: pl.DataFrame) -> Node:
        """The first step that fails on `rows` (the last, if none does by itself)."""
        for count in range(1, len(self.steps) + 1):
            part = Chain(self.steps[:count], self.keep)
            if failure(lambda n, part=part: part.collect(rows.head(n)), rows.height):  # type: ignore[misc]
                return self.steps[count - 1]
        return self.steps[-1]


def run(chains: Sequence[Chain], inputs: Sequence[pl.DataFrame]) -> list[Result]:
    """Run every chain on its rows, all in one `collect_all`.

    If that fails each is run alone, so that one chain's failure is not its neighbours'.
    """
    results: dict[int, Result] = {}
    # One frame for all chains, so that polars sees what they have in common.
    worked_on = {
        id(rows): rows
        for chain, rows in zip(chains, inputs, strict=True)
        if chain.steps
    }
    feeds = {number: fed(rows) for number, rows in worked_on.items()}
    queries: list[pl.LazyFrame] = []
    spans: list[tuple[int, int, int]] = []
    for at, (chain, rows) in enumerate(zip(chains, inputs, strict=True)):
        if not chain.steps:
            results[at] = Result(rows, rows.height, 0, None, rows.height)
            continue
        mine = chain.queries(feeds[id(rows)], rows.height)
        spans.append((at, len(queries), len(queries) + len(mine)))
        queries += mine
    try:
        most = max((rows.height for rows in inputs), default=0)
        frames = pl.collect_all(queries, engine=engine(most)) if queries else []
    except FAILURES:  # found again, and reported, by the chain it belongs to
        for at, _, _ in spans:
            results[at] = chains[at].run_alone(inputs[at])
    else:
        for at, first, end in spans:
            results[at] = chains[at].result(frames[first:end], inputs[at])
    return [results[at] for at in range(len(chains))]


def _multiplies(step: RowWise) -> bool:
    """Whether a row may become several."""
    return isinstance(step, Explode) or (isinstance(step, StaticJoin) and step.many)


def _drops(step: RowWise) -> bool:
    """Whether it may leave nothing of a row, other than a filter, which tells by itself."""
    if isinstance(step, StaticJoin):
        return step.how not in {"left", "asof"}
    return isinstance(step, Explode)


def _leaves_few(step: RowWise) -> bool:
    return isinstance(step, Filter) or (isinstance(step, StaticJoin) and _drops(step))


def _gone(before: pl.LazyFrame, after: pl.LazyFrame, height: int) -> pl.LazyFrame:
    """How many of the batch's rows are in `before` and have nothing left in `after`."""
    left = (
        before.select(ROW).unique().join(after.select(ROW).unique(), on=ROW, how="anti")
    )
    return left.select((pl.col(ROW) < height).sum().alias("n"))


def fed(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows`, and copies of them if they are few (see `copies`)."""
    return numbered(repeated(rows)) if 0 < rows.height < enough() else rows


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with their places in `ROW`."""
    rows = rows.rechunk() if rows.n_chunks() > 1 else rows
    return without(rows, (ROW,)).hstack([pl.Series(ROW, np.arange(rows.height))])


def _few(height: int, held: Sequence[int]) -> bool:
    """Whether only few rows of many came to some step."""
    left = [height - gone for gone in accumulate(held)]
    return enough() <= height <= _MOST and any(0 < each < enough() for each in left)


def without(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """`rows` less some columns; `DataFrame.drop` takes four times as long."""
    return rows[[name for name in rows.columns if name not in names]]
