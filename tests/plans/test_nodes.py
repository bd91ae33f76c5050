from __future__ import annotations

import random
from datetime import UTC, datetime

import polars as pl
import polars.selectors as cs
import pytest
from polars.testing import assert_frame_equal

from streamlab.changes import CLOSED, HIDDEN, PART, PARTIAL, SEQ, STAMP, TIME
from streamlab.durations import Span
from streamlab.errors import ColumnNotFoundError, UsageError
from streamlab.plans.nodes import (
    Closed,
    Drop,
    Errors,
    Explode,
    Filter,
    Late,
    Node,
    Recompute,
    Rename,
    RowWise,
    Select,
    Source,
    Unnest,
    Window,
    WithColumns,
    chain,
    is_keyed,
    output_schema,
    row_wise,
    source_of,
    steps,
    where,
    window_of,
)
from streamlab.plans.steady import steady

AT = pl.Datetime("us", "UTC")
SCHEMA = pl.Schema(
    {
        "time": AT,
        "symbol": pl.String(),
        "price": pl.Float64(),
        "tags": pl.List(pl.String()),
        "place": pl.Struct({"x": pl.Int64(), "y": pl.Int64()}),
    }
)
TRADES = Source("trades", SCHEMA, "time")
price = pl.col("price")


TEN_SECONDS = Span(0, 10**7)


def window(parent: Node = TRADES, *by: str, every: Span | int = TEN_SECONDS) -> Window:
    aggs = (price.mean().alias("mean"), pl.len().alias("n"))
    return Window(parent, every, by, None, Span(0, 0), "UTC", None, Span(0, 1), aggs)


def rows() -> pl.DataFrame:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "time": [when, when],
            "symbol": ["A", "B"],
            "price": [1.0, 2.0],
            "tags": [["x", "y"], ["z"]],
            "place": [{"x": 1, "y": 2}, {"x": 3, "y": 4}],
            TIME: [when, when],
            PART: [0, 1],
            STAMP: [5, 6],
            SEQ: [0, 1],
        },
        schema_overrides={TIME: AT, "time": AT, PART: pl.Int32},
    )


def test_a_plan_says_its_steps_in_words() -> None:
    plan = window(Filter(TRADES, (price > 1,)), "symbol")

    assert steps(plan) == "trades → filter → window 10s by symbol"
    assert steps(Closed(plan)) == "trades → filter → window 10s by symbol → closed"
    assert steps(window(every=5)) == "trades → window 5"
    assert steps(Errors(TRADES)) == "trades → errors"
    assert where(TRADES) == "trades"
    assert where(Drop(TRADES, ("price",))) == "trades (1 step: drop)"
    assert where(plan) == "trades (2 steps: filter, window 10s by symbol)"
    assert [type(each) for each in chain(plan)] == [Source, Filter, Window]
    assert source_of(plan) is TRADES


def test_the_key_is_the_windows_under_the_names_it_has_now() -> None:
    plan = window(TRADES, "symbol")
    renamed = Rename(plan, {"window_start": "t", "mean": "m"})
    dropped = Drop(renamed, ("symbol",))

    assert is_keyed(plan) == ("window_start", "symbol")
    assert is_keyed(dropped) == ("t", "symbol")
    assert window_of(dropped) is plan
    for append in (TRADES, Closed(plan), Late(plan), Errors(TRADES)):
        assert is_keyed(append) == ()
        assert window_of(append) is None
    assert is_keyed(Filter(Closed(plan), (pl.col("n") > 1,))) == ()
    assert is_keyed(Recompute(plan, lambda lf: lf)) == ()
    # Names before the window are not those of its key.
    before = Rename(TRADES, {"symbol": "old", "price": "symbol"})
    assert is_keyed(window(before, "symbol")) == ("window_start", "symbol")


def test_columns_are_found_by_running_the_steps_over_nothing() -> None:
    plan = WithColumns(
        Rename(Select(TRADES, (pl.col("symbol"), price * 2)), {"price": "twice"}),
        (pl.col("twice").cast(pl.Int64).alias("whole"),),
    )
    grouped = window(Filter(TRADES, (price > 0,)), "symbol")

    assert output_schema(plan, SCHEMA) == pl.Schema(
        {"symbol": pl.String(), "twice": pl.Float64(), "whole": pl.Int64()}
    )
    assert output_schema(grouped, SCHEMA) == pl.Schema(
        {
            "window_start": AT,
            "window_end": AT,
            "symbol": pl.String(),
            "mean": pl.Float64(),
            "n": pl.UInt32(),
            CLOSED: pl.Boolean(),
            PARTIAL: pl.Boolean(),
        }
    )
    assert CLOSED not in output_schema(Closed(grouped), SCHEMA)
    assert output_schema(window(every=5), SCHEMA)["window_start"] == pl.Int64
    assert output_schema(Explode(TRADES, ("tags",)), SCHEMA)["tags"] == pl.String
    assert "y" in output_schema(Unnest(TRADES, ("place",)), SCHEMA)
    counted = Recompute(TRADES, lambda lf: lf.group_by("symbol").len())
    assert output_schema(counted, SCHEMA).names() == ["symbol", "len"]


TWO = WithColumns(Filter(TRADES, (price > 1,)), (price.alias("again"),))
MISSING: list[Node] = [
    Filter(TWO, (pl.col("prise") > 1,)),
    Select(TWO, (pl.col("prise"),)),
    Select(TWO, (pl.col("prise", "price"),)),
    WithColumns(TWO, (pl.col("prise") + 1,)),
    Drop(TWO, ("prise",)),
    Rename(TWO, {"prise": "x"}),
    Explode(TWO, ("prise",)),
    Unnest(TWO, ("prise",)),
    window(TWO, "prise"),
    Window(
        TWO, Span(0, 1), (), "prise", Span(0, 0), "UTC", None, Span(0, 1), (pl.len(),)
    ),
    Window(
        TWO,
        Span(0, 1),
        (),
        None,
        Span(0, 0),
        "UTC",
        None,
        Span(0, 1),
        (pl.col("prise").sum(),),
    ),
]


@pytest.mark.parametrize("node", MISSING, ids=range(len(MISSING)))
def test_a_misspelt_column_is_named_with_the_nearest(node: Node) -> None:
    with pytest.raises(ColumnNotFoundError) as caught:
        output_schema(node, SCHEMA)

    assert str(caught.value) == (
        "no column 'prise' in trades (2 steps: filter, with_columns). Nearest: 'price'. "
        "There are: time, symbol, price, tags, place, again."
    )


REFUSED: dict[str, tuple[Node, str]] = {
    "text divided": (
        WithColumns(TRADES, (pl.col("symbol") / 2,)),
        "with_columns of trades: InvalidOperationError: division with",
    ),
    "no test": (Filter(TRADES, (price,)), "filter predicate must be of type"),
    "twice": (Select(TRADES, (price, price)), "duplicate output name 'price'"),
    "no list": (Explode(TRADES, ("price",)), "'price' is Float64, not a list"),
    "no struct": (Unnest(TRADES, ("price",)), "'price' is Float64, not a struct"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_step_that_polars_refuses_says_so_in_polars_words(name: str) -> None:
    node, words = REFUSED[name]

    with pytest.raises(UsageError) as caught:
        output_schema(node, SCHEMA)

    assert words in str(caught.value)


STEPS: dict[str, RowWise] = {
    "filter": Filter(TRADES, (price > 1, pl.col("symbol") == "B")),
    "filter over all": Filter(TRADES, (cs.numeric() > 1,)),
    "select": Select(TRADES, (price * 2, pl.col("symbol"))),
    "select all": Select(TRADES, (pl.all(),)),
    "select last": Select(TRADES, (pl.last(),)),
    "select by pattern": Select(TRADES, (pl.col("^.*e$"),)),
    "with": WithColumns(TRADES, (price / 3, pl.lit(1).alias("one"))),
    "with numbers": WithColumns(TRADES, (cs.numeric() * 10, cs.temporal().dt.year())),
    "drop": Drop(TRADES, ("price", "time")),
    "rename": Rename(TRADES, {"price": "p"}),
    "explode": Explode(TRADES, ("tags",)),
    "unnest": Unnest(TRADES, ("place",)),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_row_wise_step_neither_sees_nor_loses_the_hidden_columns(name: str) -> None:
    node, before = STEPS[name], rows()
    shown = before.drop(HIDDEN)

    after = row_wise(node, before.lazy(), HIDDEN).collect()

    assert set(HIDDEN) < set(after.columns)
    assert_frame_equal(after.drop(HIDDEN), row_wise(node, shown.lazy(), ()).collect())
    # Each row still has its own: trades of part 0 cost 1.0, of part 1 cost 2.0.
    of_part = dict(before.select(PART, "price").iter_rows())
    again = after.join(before.select(SEQ, pl.col("price").alias("was")), on=SEQ)
    assert [of_part[p] for p in again[PART]] == again["was"].to_list()


def test_division_by_a_constant_does_not_hang_on_the_number_of_rows() -> None:
    rng = random.Random(3)  # noqa: S311
    numbers = pl.DataFrame({"f": [rng.uniform(0, 9) for _ in range(200)]})
    numbers = numbers.with_columns(
        i=(pl.col("f") * 1e6).cast(pl.Int64), tenths=pl.col("f").round(1)
    )
    exprs = (
        (pl.col("f") / 3).alias("a"),
        (pl.col("i") / 1e9).alias("b"),
        (pl.col("i") / 7 / (pl.lit(2) + 1)).alias("c"),
        (pl.col("tenths") // 0.1).alias("d"),
        (pl.col("tenths") % 0.1).alias("e"),
    )
    step = Select(Source("numbers"), exprs)

    whole = row_wise(step, numbers.lazy(), ()).collect()
    alone = [
        row_wise(step, numbers[i : i + 1].lazy(), ()).collect() for i in range(200)
    ]

    assert whole.equals(numbers.select(exprs))
    assert pl.concat(alone).equals(whole)
    plain = [numbers[i : i + 1].select(exprs) for i in range(200)]
    assert not pl.concat(plain).equals(whole), "polars no longer needs this"


@pytest.mark.parametrize("divisor", [0, -0.0, float("inf"), float("nan"), 1e-310, -7])
def test_odd_divisors_give_what_polars_gives(divisor: float) -> None:
    frame = pl.DataFrame({"f": [0.0, -1.0, 5.5, None, float("nan"), float("inf")]})
    f = pl.col("f")

    for expr in (f / divisor, f // divisor, f % divisor):
        assert frame.select(steady(expr, frame.schema)).equals(frame.select(expr))


def test_other_divisions_are_left_alone() -> None:
    schema = pl.Schema(
        {
            "a": pl.Float64(),
            "n": pl.Int64(),
            "f32": pl.Float32(),
            "d": pl.Duration("us"),
        }
    )
    a = pl.col("a")

    for expr in (
        a / a,
        1 / a,
        pl.col("n") // 3,
        pl.col("n") % 3,
        pl.col("f32") / 3,
        pl.col("d") / 3,
        a.map_elements(lambda v: v, return_dtype=pl.Float64) / 3,
        a.alias(" / "),
    ):
        assert str(steady(expr, schema)) == str(expr)
