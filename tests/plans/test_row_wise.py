from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.errors import NotIncrementalError, UsageError
from streamlab.plans.codec import Value
from streamlab.plans.exprs import (
    check_aggregation,
    check_row_wise,
    check_select,
    parse,
    parse_predicates,
)
from streamlab.plans.functions import CONDITIONS, INSIDE_A_LIST, ROW_WISE
from streamlab.plans.nodes import Select, Source, row_wise
from streamlab.plans.tree import function_name, kind, to_tree
from tests.plans.examples import EXAMPLES
from tests.plans.odd import SCHEMA, odd_frame

ODD = odd_frame()
a, b = pl.col("a"), pl.col("b")
ONE = [
    e.alias(f"{n}") for n, e in enumerate(EXAMPLES) if not e.meta.has_multiple_outputs()
]
MANY = [e for e in EXAMPLES if e.meta.has_multiple_outputs()]
STEPS = [Select(Source("odd"), exprs) for exprs in (tuple(ONE), *((e,) for e in MANY))]


def functions_in(node: Value, *, in_list: bool = False) -> Iterator[tuple[str, bool]]:
    """Every function of a tree, and whether it stands inside a list."""
    name, body = kind(node)
    if name in {"Literal", "Column"}:
        return
    if name == "Function":
        yield function_name(body)[0], in_list
    if isinstance(body, dict) and name == "Eval":
        yield from functions_in(body["expr"], in_list=in_list)
        yield from functions_in(body["evaluation"], in_list=True)
        return
    parts = node if isinstance(node, list) else []
    for part in node.values() if isinstance(node, dict) else parts:
        yield from functions_in(part, in_list=in_list)


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, ODD.height), max_size=12), shift=st.integers(0, 59))
def test_every_allowed_expression_gives_the_same_over_any_cut(
    cuts: list[int], shift: int
) -> None:
    rows = pl.concat([ODD[shift:], ODD[:shift]])
    edges = [0, *sorted(cuts), rows.height]
    # One row, and no row at all, are the cuts that go wrong first.
    edges = sorted([*edges, 1, 2, 2])
    pieces = [rows[x:y] for x, y in pairwise(edges)]

    for step in STEPS:
        whole = row_wise(step, rows.lazy(), ()).collect()
        parts = [row_wise(step, piece.lazy(), ()).collect() for piece in pieces]
        assert_frame_equal(pl.concat(parts), whole, check_exact=True)


def test_every_example_is_allowed() -> None:
    for expr in EXAMPLES:
        check_row_wise(expr, verb="select", schema=SCHEMA)


def test_every_entry_of_the_list_has_an_example() -> None:
    shown = {found for expr in EXAMPLES for found in functions_in(to_tree(expr))}

    assert ROW_WISE - {name for name, in_list in shown if not in_list} == set()
    assert INSIDE_A_LIST - {name for name, in_list in shown if in_list} == set()
    assert set(CONDITIONS) <= ROW_WISE


REFUSED = {
    "shift": (a.shift(), 'pl.col("a").shift(1) looks at another row'),
    "inner part": (a / a.max(), 'pl.col("a").max() is made of all rows'),
    "aggregate": (a + a.sum(), 'pl.col("a").sum() is made of all rows'),
    "len": (pl.len(), "pl.len() is made of all rows"),
    "first": (a.first(), "is made of all rows"),
    "median": (a.median(), "is made of all rows"),
    "quantile": (a.quantile(0.5), "is made of all rows"),
    "any": (a.any(), "is made of all rows"),
    "over": (a.sum().over("b"), "looks at another row"),
    "rank": (a.rank(), "looks at another row"),
    "cumulative": (a.cum_sum(), 'pl.col("a").cum_sum() looks at another row'),
    "rolling": (a.rolling_mean(3), 'pl.col("a").rolling_mean() looks at another row'),
    "rolling by": (a.rolling_sum_by("b", "1h"), "rolling_sum_by("),
    "windowed": (a.sum().rolling("t", period="1h"), "looks at another row"),
    "difference": (a.diff(), "looks at another row"),
    "exponential": (a.ewm_mean(com=1), "looks at another row"),
    "filled forward": (
        a.fill_null(strategy="forward"),
        'fill_null(strategy="forward")',
    ),
    "interpolated": (a.interpolate(), "looks at another row"),
    "reversed": (a.reverse(), "looks at another row"),
    "first of its kind": (a.is_first_distinct(), "looks at another row"),
    "sorted": (a.sort(), "looks at another row"),
    "sorted by": (a.sort_by("b"), "looks at another row"),
    "gathered": (a.gather([0]), "looks at another row"),
    "unique": (a.unique(), "changes the number of rows"),
    "without nulls": (a.drop_nulls(), "changes the number of rows"),
    "filtered": (a.filter(a > 1), "changes the number of rows"),
    "head": (a.head(2), "changes the number of rows"),
    "exploded": (a.explode(), "changes the number of rows"),
    "numbered": (pl.int_range(pl.len()), "pl.int_range(0, pl.len())"),
    "row index": (pl.row_index(), "changes the number of rows"),
    "repeated": (pl.repeat(1, 3), "pl.repeat(1, 3)"),
    "sampled": (a.sample(2), "differs from run to run"),
    "shuffled": (a.shuffle(), "differs from run to run"),
    "shuffled inside": (a.list.eval(pl.element().shuffle()), "differs from run to run"),
    "series": (a + pl.Series([1, 2]), "pl.Series(…) has a value for each row"),
    "lists beside rows": (a.is_in(pl.Series([[1], [2]])), "has a value for each row"),
    "in a column": (a.is_in(b), "looks through the whole of another column"),
    "replaced by columns": (a.replace(b, a), "looks through the whole"),
    "patterns in a column": (a.str.contains_any(b), "looks through the whole"),
    "guessed time": (a.str.to_datetime(), "guesses the format from the data"),
    "guessed date": (a.str.to_date(), "guesses the format from the data"),
    "guessed clock": (a.str.to_time(), "guesses the format from the data"),
    "guessed inside": (a.list.eval(pl.element().str.to_date()), "guesses the format"),
    "categorical": (a.cast(pl.Categorical), "is Categorical"),
    "categories inside": (a.cast(pl.List(pl.Categorical)), "is Categorical"),
    "unordered set": (a.list.unique(), "leaves the order to chance"),
    "whole batches": (
        a.map_batches(lambda s: s, return_dtype=pl.Int64),
        'pl.col("a").map_batches(…) is handed a whole batch',
    ),
    "untyped function": (
        a.map_elements(lambda x: x),
        'pl.col("a").map_elements(…) guesses its type',
    ),
    "function of a function": (
        a.map_elements(lambda x: x, return_dtype=pl.Int64).shift(),
        "looks at another row",
    ),
    "fold": (pl.fold(pl.lit(0), lambda x, y: x + y, [a]), "is not known to"),
    "bins of the data": (
        a.bin_intervals(3, labels=False),
        "takes its breaks from the data",
    ),
    "bins by rank": (
        a.bin_quantiles([0.5], labels=False),
        "takes its breaks from the data",
    ),
    # polars gives List(Null) where all lists of a batch are null.
    "differences inside": (a.list.diff(), "is not known to"),
    "running inside": (a.cumulative_eval(pl.element().sum()), "is not known to"),
    "flag": (a.set_sorted(), "is not known to look at its own row only"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_row_wise_is_refused_by_name(name: str) -> None:
    expr, words = REFUSED[name]

    with pytest.raises(NotIncrementalError) as caught:
        check_row_wise(expr, verb="with_columns")

    assert words in str(caught.value)
    assert "live.recompute(lambda lf: …)" in str(caught.value)


def test_a_refusal_names_the_step_the_part_and_ways_out_that_exist() -> None:
    with pytest.raises(NotIncrementalError) as caught:
        check_row_wise((a.shift() / 2).alias("ret"), verb="with_columns")

    assert str(caught.value) == (
        'with_columns(ret=…): pl.col("a").shift(1) looks at another row, and the next '
        "batch would not see it. Per window: live.window(…). Over what is kept, every "
        "tick: live.recompute(lambda lf: …)."
    )


def test_a_refusal_of_guessing_does_not_offer_a_window() -> None:
    with pytest.raises(NotIncrementalError) as caught:
        check_row_wise(a.str.to_date() > b, verb="filter")

    assert str(caught.value).startswith('filter(…): pl.col("a").str.to_datetime(')
    assert 'Write the format: .str.to_datetime("%Y-%m-%d %H:%M:%S").' in str(
        caught.value
    )
    assert "window" not in str(caught.value)


def test_membership_in_a_list_column_needs_the_schema_to_be_told_apart() -> None:
    expr = pl.col("i").is_in(pl.col("ls"))

    check_row_wise(expr, verb="filter", schema=SCHEMA)
    with pytest.raises(NotIncrementalError):
        check_row_wise(expr, verb="filter")
    with pytest.raises(NotIncrementalError):
        check_row_wise(pl.col("i").is_in(pl.col("j")), verb="filter", schema=SCHEMA)


def test_a_select_of_literals_alone_is_refused() -> None:
    check_select([a, pl.lit(1)])
    check_select([pl.all()])

    with pytest.raises(UsageError, match="names no column"):
        check_select([pl.lit(1), pl.lit("x").str.to_uppercase()])


def test_a_window_takes_all_but_guesses_and_chance() -> None:
    for fine in (a.shift().sum(), a.median(), a.sort_by("b").last(), pl.len(), a):
        check_aggregation(fine, name="x")

    with pytest.raises(NotIncrementalError, match=r"agg\(x=…\): .* guesses the format"):
        check_aggregation(a.str.to_date().max(), name="x")
    with pytest.raises(NotIncrementalError, match="differs from run to run"):
        check_aggregation(a.sample(1).first(), name="x")
    with pytest.raises(NotIncrementalError, match="guesses its type"):
        check_aggregation(a.map_elements(lambda x: x).sum(), name="x")


def test_arguments_are_read_as_polars_reads_them() -> None:
    found = parse(["a", [b, "c"]], {"d": 1, "e": "a"})
    assert [expr.meta.output_name() for expr in found] == ["a", "b", "c", "d", "e"]
    frame = pl.DataFrame({"a": [7], "b": [8], "c": [9]})
    assert frame.select(found).row(0) == (7, 8, 9, 1, 7)

    tests = parse_predicates([a > 1], {"b": 8})
    assert frame.filter(*tests).height == 1
    assert frame.filter(*parse_predicates([], {"b": 9})).height == 0
