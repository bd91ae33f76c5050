"""Expressions that look back, taken apart: what each part must remember, and what is refused."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from streamlab.errors import NotIncrementalError
from streamlab.plans.looking_back import check, looks_back, program, refusal
from streamlab.plans.looks import Memory

SCHEMA = pl.Schema(
    {
        "price": pl.Float64(),
        "size": pl.Int64(),
        "symbol": pl.String(),
        "time": pl.Datetime("us", "UTC"),
        "tags": pl.List(pl.Int64()),
    }
)
price, size = pl.col("price"), pl.col("size")


def memories(expr: pl.Expr) -> list[list[Memory]]:
    return [[look.memory for look in level] for level in program([expr], SCHEMA).levels]


def test_each_function_remembers_what_it_needs_and_no_more() -> None:
    assert memories(price.shift(3)) == [[Memory("rows", 3)]]
    assert memories(price.rolling_mean(20)) == [[Memory("rows", 19)]]
    assert memories(price.cum_sum()) == [[Memory("carry")]]
    assert memories(price.forward_fill()) == [[Memory("carry")]]
    assert memories(price.forward_fill(5)) == [[Memory("rows", 5)]]
    assert memories(price.cum_count()) == [[Memory("count")]]
    ((span,),) = memories(price.rolling_sum_by("time", "5m"))
    assert span.span is not None
    assert span.span.nsecs == 300_000_000_000


def test_functions_of_functions_are_levels_and_what_is_the_same_is_one() -> None:
    step = price.diff() / price.shift()

    assert memories(step) == [[Memory("rows", 1), Memory("rows", 1)]]
    assert memories(price.diff().cum_sum()) == [[Memory("rows", 1)], [Memory("carry")]]
    assert memories(price.shift() + price.shift()) == [[Memory("rows", 1)]]
    both = program([price.shift().over("symbol"), price.shift()], SCHEMA)
    assert [[look.key != "()" for look in level] for level in both.levels] == [
        [True, False]
    ]


def test_the_rest_keeps_the_names_that_polars_gives() -> None:
    exprs = [
        price.diff().name.suffix("_step"),
        (1 + price.shift()).over("symbol"),
        pl.struct(price.shift(), n=size.cum_sum()).alias("both"),
        pl.col("price", "size").diff().name.prefix("d_"),
        size.shift(),
    ]
    found = program(exprs, SCHEMA)

    wanted = pl.LazyFrame(schema=SCHEMA).select(exprs[:4]).collect_schema().names()
    assert [e.meta.output_name() for e in found.exprs] == [*wanted, "size"]


def test_what_is_inside_a_list_looks_at_its_own_row() -> None:
    inside = pl.col("tags").list.eval(pl.element().shift())

    assert not looks_back(inside)
    assert looks_back(pl.col("tags").shift().list.eval(pl.element().cum_sum()))
    assert memories(pl.col("tags").shift().list.eval(pl.element().cum_sum())) == [
        [Memory("rows", 1)]
    ]


AHEAD = "looks ahead, at rows that have not come yet"
REFUSED: list[tuple[pl.Expr, str]] = [
    (price.shift(-1), AHEAD),
    (price.diff(-2), AHEAD),
    (price.pct_change(-1), AHEAD),
    (price.cum_max(reverse=True), AHEAD),
    (price.cum_count(reverse=True), AHEAD),
    (price.rolling_std(3, center=True), AHEAD),
    (price.fill_null(strategy="backward"), AHEAD),
    (price.cum_sum() + price.shift(-1), AHEAD),
    (price.shift(-1).cum_sum(), AHEAD),
    (price.shift(size), "by how many rows a column says"),
    (price.shift(size.max()), "by how many rows a column says"),
    (price.shift(1, fill_value=price.first()), "fills with what an expression says"),
    (price.diff(null_behavior="drop"), "changes the number of rows"),
    (price.fill_null(strategy="mean"), "made of all rows"),
    (price.is_first_distinct(), "remembers every value there has been"),
    (price.rolling_map(lambda s: s.sum(), 3), "calls a Python function"),
    (price.rolling_rank(3, method="random"), "differs from run to run"),
    (pl.lit(1).cum_sum(), "not over a column"),
    (price.sum().over("symbol"), "is made of all rows"),
    (price.cum_sum() / price.sum(), "is made of all rows"),
    (price.cum_sum().over(size.max()), "is made of all rows"),
    (price.shift().over("symbol", order_by="time"), "asks for an order of its own"),
    (
        price.shift().over("symbol", mapping_strategy="join"),
        "changes the number of rows",
    ),
    (price.rank().over("symbol"), "looks at another row"),
    (price.interpolate() + price.shift(), "looks at another row"),
    (
        price.map_elements(lambda v: v, return_dtype=pl.Float64).shift(),
        "stands beside a function that looks back",
    ),
    (pl.sum_horizontal(pl.col("price", "size")).shift(), "stands for several columns"),
    (price.shift().over(pl.col("symbol", "size")), "stands for several columns"),
]


@pytest.mark.parametrize(("expr", "why"), REFUSED, ids=lambda each: str(each)[:50])
@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_what_can_not_be_had_is_refused_and_says_why(
    expr: pl.Expr, why: str, schema: pl.Schema | None
) -> None:
    if schema is None and "several columns" in why and "horizontal" in str(expr):
        pytest.skip("found when the columns are known")
    found = refusal(expr, schema)

    assert found is not None
    assert why in found.refusal.why


@pytest.mark.parametrize(
    "expr",
    [
        price.shift().over("symbol", size % 2),
        (price.diff() / price.shift()).over("symbol"),
        pl.when(price > price.shift()).then(pl.lit("up")).otherwise(pl.lit("down")),
        price.fill_null(price.shift()),
        (price * 2).over("symbol"),
        pl.all().shift(),
        price.rolling_mean_by("time", "1mo", closed="both"),
    ],
    ids=str,
)
def test_what_can_be_had_is_not_refused_with_or_without_known_columns(
    expr: pl.Expr,
) -> None:
    assert refusal(expr, SCHEMA) is None
    assert refusal(expr, None) is None


def message(expr: pl.Expr, verb: str = "filter", **given: Any) -> str:
    fields: dict[str, Any] = {"schema": SCHEMA, "ordered": False, "keyed": False}
    with pytest.raises(NotIncrementalError) as caught:
        check(expr, verb=verb, **(fields | given))
    return str(caught.value)


def test_rows_in_any_order_are_told_of_in_order_with_a_key_of_their_own() -> None:
    found = message(price > price.shift())

    assert 'live.in_order("2s").filter(… .over("symbol")).' in found
    assert 'live.in_order("2s").filter(…).' in message(
        price > price.shift().over("symbol")
    )
    assert 'live.in_order("2s").filter(…).' in message(price.diff() > 0, schema=None)
    assert "in_order" not in message(price.shift(-1) > 0)
