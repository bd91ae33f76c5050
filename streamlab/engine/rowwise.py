"""Row-wise steps, fused: one lazy query per chain, all chains of a batch in one `collect_all`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from streamlab.changes import HIDDEN, STAMP
from streamlab.engine.faults import PlanError, failure, first_bad
from streamlab.plans.nodes import Explode, Filter, Node, RowWise, WithColumns, row_wise

ROW = "__row"  # place of the row in the batch
_PASS = "__pass"  # noqa: S105 - whether a filter lets the row through
KEEP = (*HIDDEN, ROW)


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
        self.multiplies = any(isinstance(step, Explode) for step in self.steps)
        self.filters = self.multiplies or any(isinstance(s, Filter) for s in self.steps)

    def queries(self, rows: pl.LazyFrame) -> list[pl.LazyFrame]:
        """The chain's rows, then one count per step that may hold rows back."""
        counts: list[pl.LazyFrame] = []
        exploded = False
        for step in self.steps:
            before = rows
            exploded = exploded or isinstance(step, Explode)
            if isinstance(step, Filter):
                rows = before = self._tested(step, rows)
                rows = rows.filter(pl.col(_PASS)).drop(_PASS)
            else:
                rows = row_wise(step, rows, self.keep)
            if exploded and isinstance(step, (Filter, Explode)):
                counts.append(_gone(before, rows))
            elif isinstance(step, Filter):
                held = pl.col(_PASS).fill_null(value=False).not_()
                counts.append(before.select(held.sum().alias("n")))
        return [rows, *counts]

    def feed(self, rows: pl.DataFrame) -> pl.LazyFrame:
        """`rows` as `queries` takes them; `result` knows what was done to them.

        A single row is given a twin: polars divides a column by a constant by way of the
        reciprocal, but a single row exactly, and the last bit must not depend on the cut.
        """
        return (pl.concat([rows, rows]) if rows.height == 1 else rows).lazy()

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

    def result(self, frames: Sequence[pl.DataFrame], good: int) -> Result:
        """Read what the queries of a batch of `good` rows gave."""
        rows, *counts = frames
        filtered = sum(int(count.item()) for count in counts)
        if good == 1:
            rows = rows.head(rows.height // 2)
            filtered -= filtered // 2
        passed = rows.get_column(ROW).n_unique() if self.multiplies else rows.height
        return Result(rows, passed, filtered, None, good, self.multiplies)

    def collect(self, rows: pl.DataFrame) -> Result:
        """Run on `rows` by itself; raises what polars raises."""
        return self.result(pl.collect_all(self.queries(self.feed(rows))), rows.height)

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
    queries: list[pl.LazyFrame] = []
    spans: list[tuple[int, int, int]] = []
    for at, (chain, rows) in enumerate(zip(chains, inputs, strict=True)):
        if not chain.steps:
            results[at] = Result(rows, rows.height, 0, None, rows.height)
            continue
        mine = chain.queries(chain.feed(rows))
        spans.append((at, len(queries), len(queries) + len(mine)))
        queries += mine
    try:
        frames = pl.collect_all(queries) if queries else []
    except Exception:  # noqa: BLE001 - found again, and reported, by the chain it belongs to
        for at, _, _ in spans:
            results[at] = chains[at].run_alone(inputs[at])
    else:
        for at, first, end in spans:
            results[at] = chains[at].result(frames[first:end], inputs[at].height)
    return [results[at] for at in range(len(chains))]


def _gone(before: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
    """How many of the batch's rows are in `before` and have nothing left in `after`."""
    return (
        before.select(ROW)
        .unique()
        .join(after.select(ROW).unique(), on=ROW, how="anti")
        .select(pl.len().alias("n"))
    )


def without(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """`rows` less some columns; `DataFrame.drop` takes four times as long."""
    return rows[[name for name in rows.columns if name not in names]]
