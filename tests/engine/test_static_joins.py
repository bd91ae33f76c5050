"""Rows joined with a table that does not change: as polars joins all of them at once."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.changes import HIDDEN
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.plans.nodes import Explode, Filter, Node, Source, StaticJoin
from streamlab.plans.tableindex import TableIndex
from tests.engine.lab import cut, table

SOURCE = Source("trades")
NAMES = pl.DataFrame(
    {"k": ["a", "b", "b", None], "x": [1, 2, 3, 4], "name": ["A", "B1", "B2", "?"]}
)
ON: dict[str, Any] = {"left_on": ["k"], "right_on": ["k"]}


def joined(
    parent: Node, how: Any, *, index: bool = False, **options: Any
) -> StaticJoin:
    found = TableIndex(NAMES, ["k"]) if index else None
    many = how in {"inner", "left", "cross"}
    given = options if how == "cross" else ON | options
    return StaticJoin(parent, NAMES, how, given, many, found)


def ran(node: Node, batches: list[pl.DataFrame]) -> list[Outcome]:
    graph = Graph()
    handle = graph.add(node, None)
    return [graph.step(Batch(rows, frozenset({0})))[handle] for rows in batches]


def keyed(keys: list[str | None]) -> pl.DataFrame:
    column = pl.Series(keys, dtype=pl.String)
    return table(range(len(keys)), k=column, x=pl.Series(range(len(keys))))


@pytest.mark.parametrize("nulls_equal", [False, True])
@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("how", ["inner", "left", "semi", "anti"])
@settings(deadline=None, max_examples=20)
@given(
    keys=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=20),
    lengths=st.lists(st.integers(0, 5), max_size=6),
)
def test_however_cut_it_is_polars_join(
    *, how: Any, index: bool, nulls_equal: bool, keys: list[Any], lengths: list[int]
):
    whole = keyed(keys)
    node = joined(SOURCE, how, index=index, nulls_equal=nulls_equal)

    outcomes = ran(node, cut(whole, lengths))

    found = pl.concat([each.change.added for each in outcomes])
    polars = whole.join(
        NAMES, on="k", how=how, nulls_equal=nulls_equal, maintain_order="left_right"
    )
    assert_frame_equal(found.select(polars.columns), polars)
    received, passed, filtered, *_ = (
        sum(each) for each in zip(*(o.counts for o in outcomes), strict=True)
    )
    assert received == whole.height == passed + filtered
    assert passed == polars.select(HIDDEN).unique().height


def test_a_record_that_becomes_several_rows_counts_once():
    (outcome,) = ran(joined(SOURCE, "inner"), [keyed(["b", "b", "c"])])

    assert outcome.change.added["name"].to_list() == ["B1", "B2", "B1", "B2"]
    assert outcome.counts == (3, 2, 1, 0, 0, 0)


def test_steps_before_and_after_count_their_own():
    lists = pl.Series([["a", "c"], ["c"], ["b"]], dtype=pl.List(pl.String))
    node = Filter(joined(Explode(SOURCE, ("k",)), "inner"), (pl.col("name") != "B1",))

    (outcome,) = ran(node, [table([1, 2, 3], k=lists)])

    assert outcome.change.added["name"].to_list() == ["A", "B2"]
    assert outcome.counts == (3, 2, 1, 0, 0, 0)


def test_each_row_meets_each_of_the_table():
    (outcome,) = ran(joined(SOURCE, "cross", suffix="_t"), [keyed(["z"])])

    assert outcome.change.added["x_t"].to_list() == [1, 2, 3, 4]
    assert outcome.counts == (1, 1, 0, 0, 0, 0)


def test_keys_of_another_integer_type_are_found_without_the_index():
    names = pl.DataFrame({"k": pl.Series([1, 2], dtype=pl.Int16), "n": ["a", "b"]})
    index = TableIndex(names, ["k"])
    node = StaticJoin(SOURCE, names, "left", ON, index=index)

    (outcome,) = ran(node, [table([1, 2], k=[2, 3])])

    assert outcome.change.added["n"].to_list() == ["b", None]


def test_floats_are_not_looked_up_by_their_hash():
    assert not TableIndex.fits(pl.DataFrame({"k": [0.0]}), ["k"])


def test_rows_in_any_order_look_up_the_time():
    phases = table([1, 5], phase=["early", "late"]).select(
        pl.col("__time").alias("at"), "phase"
    )
    rows = table([7, 2, 0, 5]).with_columns(at=pl.col("__time"))
    options = {"left_on": "at", "right_on": "at", "strategy": "backward"}
    node = StaticJoin(SOURCE, phases, "asof", options)

    (outcome,) = ran(node, [rows])

    assert outcome.change.added["phase"].to_list() == ["late", "early", None, "late"]
    assert outcome.change.added["__seq"].to_list() == [0, 1, 2, 3]
