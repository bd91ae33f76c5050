"""Partial states, one by one: values whose parts are easily put together wrongly."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Source
from tests.engine.lab import KEY, Lab, assert_same, cut, seconds, table, window

x, k, w = pl.col("x"), pl.col("k"), pl.col("w")
NAN, INF = float("nan"), float("inf")
INTEGERS = [5, None, -3, 2, 8]
FLOATS = [5.5, None, 1.25, -2.0, 0.5]
CASES: dict[str, tuple[pl.Expr, pl.DataType, list[Any]]] = {
    "sum": (x.sum(), pl.Int64(), INTEGERS),
    "sum of floats": (x.sum(), pl.Float64(), FLOATS),
    "sum of nothing": (x.sum(), pl.Float64(), [None, None, None]),
    "sum that wraps": (x.sum(), pl.Int64(), [2**63 - 1, 2**63 - 1, 5]),
    "sum of huge unsigned": (x.sum(), pl.UInt64(), [2**63 + 5, 7, None]),
    "sum of truths": (x.sum(), pl.Boolean(), [True, None, False, True]),
    "count": (x.count(), pl.Int64(), INTEGERS),
    "len": (x.len(), pl.Int64(), INTEGERS),
    "null count": (x.null_count(), pl.Int64(), INTEGERS),
    "min": (x.min(), pl.Int64(), [4, 9, 7]),
    "max": (x.max(), pl.Int64(), [-4, -9, -7]),
    "min of nulls": (x.min(), pl.Int64(), [None, None, None]),
    "min after null": (x.min(), pl.Float64(), [None, 3.0, None, 2.0]),
    "max before NaN": (x.max(), pl.Float64(), [1.0, NAN, NAN]),
    "min after NaN": (x.min(), pl.Float64(), [NAN, 1.0, 2.0]),
    "mean": (x.mean(), pl.Float64(), FLOATS),
    "mean of nulls": (x.mean(), pl.Float64(), [None, None]),
    "mean of huge integers": (x.mean(), pl.Int64(), [2**62, 2**62, 2**62]),
    "var": (x.var(), pl.Float64(), [1.0, 4.0, None, -2.0, 7.0]),
    "var of populations": (x.var(ddof=0), pl.Float64(), [1.0, 4.0, 9.0]),
    "var of one": (x.var(), pl.Float64(), [3.0, None, None]),
    "var of far ones": (x.var(), pl.Float64(), [1e8, 1e8 + 2, 1e8 + 4]),
    "var with infinity first": (x.var(), pl.Float64(), [INF, 1.0, 2.0]),
    "var with infinity last": (x.var(), pl.Float64(), [1.0, 2.0, INF]),
    "var of a huge one": (x.var(ddof=0), pl.Float64(), [1e200, None]),
    "std": (x.std(), pl.Int64(), [1, 4, None, -2, 7]),
    "any": (x.any(), pl.Boolean(), [False, None, True, False]),
    "any of false": (x.any(), pl.Boolean(), [False, None, False]),
    "all": (x.all(), pl.Boolean(), [True, None, True, True]),
    "all but one": (x.all(), pl.Boolean(), [True, False, True]),
    "filtered": (x.filter(w).sum(), pl.Int64(), INTEGERS),
    "filtered var": (x.filter(w).var(), pl.Int16(), [None, 3, 4, 7]),
    "filtered min": (x.filter(w).min(), pl.Int64(), INTEGERS),
}


def rows_of(dtype: pl.DataType, values: list[Any]) -> pl.DataFrame:
    """The values for one key, those after the first for another; every second one passes."""
    both = [*values, *values[1:]]
    return table(
        [float(at) / 10 for at in range(len(both))],
        x=pl.Series(both, dtype=dtype),
        k=["a"] * len(values) + ["b"] * (len(values) - 1),
        w=[at % 2 == 0 for at in range(len(both))],
    )


@pytest.mark.parametrize("name", CASES)
def test_values_of_every_kind_come_to_the_same_wherever_they_are_cut(name: str):
    expr, dtype, values = CASES[name]
    rows = rows_of(dtype, values)
    expected = rows.group_by("k").agg(expr.alias("found")).sort("k")

    for lengths in ([1] * rows.height, [2, 1, 2], [rows.height]):
        lab = Lab(window(Source("lab"), [expr.alias("found")], by=("k",)))
        for piece in cut(rows, lengths):
            lab.step(piece)
        assert_same(lab.frame().drop(KEY), expected)


def test_a_lone_null_behind_a_filter_does_not_vary():
    wide = x.filter(w).var(ddof=0).alias("found")
    rows = table(
        [1.0] * 6,
        x=pl.Series([None, 9, 3, 5, 8, None], dtype=pl.Int16),
        k=["a", "a", "b", "b", "c", "d"],
        w=[True, False, True, True, True, True],
    )
    lab = Lab(window(Source("lab"), [wide], by=("k",)))

    lab.step(rows)

    assert lab.frame().get_column("found").to_list() == [None, 1.0, 0.0, None]


def test_a_window_that_takes_the_place_of_a_closed_one_begins_from_nothing():
    aggs = [
        x.sum().alias("sum"),
        x.min().alias("min"),
        x.mean().alias("mean"),
        x.var().alias("var"),
        (x > 5).any().alias("any"),
        x.median().alias("median"),
    ]
    rows = table([1, 2, 13, 14, 25, 26], x=[9.0, 7.0, 4.0, 2.0, 30.0, 31.0])
    lab = Lab(window(Source("lab"), aggs, lateness=seconds(0)))

    for piece in cut(rows, [2, 2]):
        lab.step(piece)
        lab.quiet()

    got = lab.frame().select("sum", "min", "mean", "var", "any", "median").rows()
    assert got == [
        (16.0, 7.0, 8.0, 2.0, True, 8.0),
        (6.0, 2.0, 3.0, 2.0, False, 3.0),
        (61.0, 30.0, 30.5, 0.5, True, 30.5),
    ]


def test_windows_that_are_all_closed_leave_nothing_behind():
    lab = Lab(window(Source("lab"), [x.sum().alias("s")], lateness=seconds(0)))

    for start in range(0, 60, 10):
        lab.step(table([start + 1.0, start + 10.0], x=[start, 100]))

    totals = lab.frame().get_column("s").to_list()
    assert totals == [0, 110, 120, 130, 140, 150, 100]


def test_order_inside_a_window_is_event_time_then_partition_then_offset():
    rows = table([5, 2, 5, 2, 1], [1, 1, 0, 1, 0], x=[0, 1, 2, 3, 4])
    lab = Lab(window(Source("lab"), [x.alias("list"), x.first().alias("first")]))

    for piece in cut(rows, [2, 1, 1]):
        lab.step(piece, (0, 1))

    assert lab.frame().get_column("list").to_list() == [[4, 1, 3, 2, 0]]
    assert lab.frame().get_column("first").to_list() == [4]


def test_a_judged_batch_that_is_judged_again_finds_the_same():
    text = pl.col("s").cast(pl.Int64).sum().alias("total")
    lab = Lab(window(Source("lab"), [text], lateness=seconds(0)))
    rows = table([1, 12, 2, 13], s=["1", "2", "3", "oops"])

    outcomes = lab.graph.step(_batch(rows))

    # The last row stops the frame; of those before it only the one behind its window is late.
    error = outcomes[lab.handles["window"]].error
    assert error is not None
    late = outcomes[lab.handles["late"]].change.added
    assert late.get_column("s").to_list() == ["3"]
    added = outcomes[lab.handles["window"]].change.added
    assert sorted(added.get_column("total").to_list()) == [1, 2]


def _batch(rows: pl.DataFrame) -> Batch:
    return Batch(rows, frozenset({0}))
