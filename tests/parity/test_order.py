"""The batch answer for rows in order and for functions that look back."""

from __future__ import annotations

import polars as pl

from streamlab.changes import PART, SEQ, STAMP, TIME
from streamlab.durations import Span
from streamlab.parity import evaluate
from streamlab.plans.nodes import Explode, Filter, InOrder, Running, Source
from tests.engine.lab import seconds, table

SOURCE = Source("trades")
ORDERED = InOrder(SOURCE, seconds(1), Span(0, 3_600_000_000))


def test_rows_are_sorted_by_time_partition_and_offset_less_the_late_ones() -> None:
    rows = table([3.0, 1.0, 3.0, None, 2.0], [1, 0, 0, 0, 0], n=[0, 1, 2, 3, 4])
    late = rows.filter(pl.col("n") == 4).select(PART, STAMP, SEQ)

    found = evaluate(ORDERED, {SOURCE: rows}, late={ORDERED: late})

    assert found.frame["n"].to_list() == [1, 2, 0]
    assert found.prefix


def test_a_row_of_the_future_is_not_in_order() -> None:
    rows = table([1.0, 9_999.0], 0, [1.0, 1.0], n=[1, 2])

    assert evaluate(ORDERED, rows).frame["n"].to_list() == [1]


def test_what_is_in_order_already_is_not_sorted_again() -> None:
    exploded = Explode(ORDERED, ("n",))
    again = InOrder(exploded, seconds(9), Span(0, 3_600_000_000))
    rows = table([2.0, 1.0], n=[[5, 4], [3, 2]])

    assert evaluate(again, rows).frame["n"].to_list() == [3, 2, 5, 4]


def test_functions_look_back_over_all_rows_at_once() -> None:
    rows = table([2.0, 1.0, 3.0], x=[2.0, 1.0, -4.0], k=["a", "a", "b"])
    sums = Running(ORDERED, (pl.col("x").cum_sum().over("k").alias("s"),))
    rising = Running(sums, (pl.col("x") > pl.col("x").shift(),), "filter")
    picked = Running(sums, (pl.col("s").shift(),), "select")

    assert evaluate(sums, rows).frame.rows() == [
        (1.0, "a", 1.0),
        (2.0, "a", 3.0),
        (-4.0, "b", -4.0),
    ]
    assert evaluate(sums, rows).scale["s"].to_list() == [7.0] * 3
    assert evaluate(rising, rows).frame["x"].to_list() == [2.0]
    assert evaluate(picked, rows).frame.to_dict(as_series=False) == {
        "s": [None, 1.0, 3.0]
    }


def test_what_is_out_by_a_time_is_all_that_is_expected() -> None:
    rows = table([1.0, 2.0, 3.0], x=[1, 2, 3])
    some = Filter(
        Running(ORDERED, (pl.col("x").shift().alias("b"),)), (pl.lit(1) == 1,)
    )

    found = evaluate(some, rows, reached={ORDERED: 3_000_000})

    assert found.frame["x"].to_list() == [1, 2]
    assert not found.prefix
    assert rows.schema[TIME] == pl.Datetime("us", "UTC")
