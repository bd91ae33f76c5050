"""Right and full joins with a table: as polars joins all rows so far, at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.changes import HIDDEN, JOINED, UNMATCHED
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import (
    Drop,
    Explode,
    Filter,
    Node,
    OuterJoin,
    Select,
    Source,
    output_schema,
)
from streamlab.plans.tableindex import TableIndex
from tests.engine.lab import cut, table
from tests.engine.proof import Bench, assert_equal_to_batch

How = Literal["right", "full"]
SOURCE = Source("trades")
NAMES = pl.DataFrame(
    {"k": ["a", "b", "b", None, "q"], "x": [1, 2, 3, 4, 5], "name": list("ABC?Q")}
)
ON: dict[str, Any] = {"left_on": ["k"], "right_on": ["k"]}
KEYS = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=20)
LENGTHS = st.lists(st.integers(0, 5), max_size=6)


def outer(
    how: How, parent: Node = SOURCE, *, index: bool = False, **options: Any
) -> OuterJoin:
    found = TableIndex(NAMES, ["k"]) if index else None
    return OuterJoin(parent, NAMES, how, ON | options, found)


def keyed(keys: Sequence[str | None]) -> pl.DataFrame:
    column = pl.Series(keys, dtype=pl.String)
    return table(
        range(len(keys)), k=column, x=pl.Series(range(len(keys)), dtype=pl.Int64)
    )


def polars(rows: pl.DataFrame, how: How, **options: Any) -> pl.DataFrame:
    """The rows of records in their order, then those of the table in its order."""
    left = rows.drop(HIDDEN).with_row_index("__l")
    right = NAMES.with_row_index("__r")
    found = left.join(right, how=how, **(ON | options))
    return found.sort("__l", "__r", nulls_last=True).drop("__l", "__r")


def frame(bench: Bench) -> pl.DataFrame:
    return bench.kept.frame().sort(JOINED).drop(JOINED)


@pytest.mark.parametrize("how", ["right", "full"])
@pytest.mark.parametrize("index", [False, True])
@settings(deadline=None, max_examples=40)
@given(
    keys=KEYS,
    lengths=LENGTHS,
    nulls=st.booleans(),
    coalesce=st.sampled_from([None, True, False]),
)
def test_at_every_moment_it_is_polars_join_of_all_rows_so_far(
    *,
    how: How,
    index: bool,
    keys: list[Any],
    lengths: list[int],
    nulls: bool,
    coalesce: Any,
):
    options = {"nulls_equal": nulls, "coalesce": coalesce}
    whole = keyed(keys)
    node = outer(how, index=index, **options)
    bench = Bench(node)
    seen = 0

    for rows in cut(whole, lengths):
        bench.feed(rows, [0])
        seen += rows.height

        assert_frame_equal(frame(bench), polars(whole.head(seen), how, **options))

    assert output_schema(node, whole.drop(HIDDEN).schema) == frame(bench).schema
    assert_equal_to_batch(bench.ran(), whole)
    received, passed, filtered, *rest = (
        sum(each) for each in zip(*(o.counts for o in bench.outcomes), strict=True)
    )
    assert received == whole.height == passed + filtered
    assert not any(rest)
    assert filtered == (
        0
        if how == "full"
        else whole.drop(HIDDEN).join(NAMES, how="anti", nulls_equal=nulls, **ON).height
    )


def test_rows_of_the_table_are_there_before_the_first_record_and_leave_once():
    graph = Graph()
    handle = graph.add(outer("right"), keyed([]))
    first = graph.first_change(handle)

    assert first is not None
    assert first.hidden_key == (JOINED,)
    assert first.change.added["name"].to_list() == ["A", "B", "C", "?", "Q"]
    steps = [
        graph.step(Batch(keyed(keys), frozenset({0})))[handle].change
        for keys in (["c"], ["b", "b"], ["b"])
    ]
    assert [each.removed[JOINED].to_list() for each in steps if each.removed.width] == [
        [],
        [UNMATCHED + 1, UNMATCHED + 2],
        [],
    ]
    assert [each.added[JOINED].to_list() for each in steps] == [
        [],
        [0, 1, 2, 3],
        [4, 5],
    ]
    assert steps[1].added["name"].to_list() == ["B", "C", "B", "C"]


def test_what_a_first_batch_matches_is_never_shown():
    bench = Bench(outer("full"))
    bench.feed(keyed(["a", "z"]), [0])

    (outcome,) = bench.outcomes

    assert not outcome.change.removed.height
    assert outcome.change.added["name"].to_list() == ["A", None, "B", "C", "?", "Q"]


@pytest.mark.parametrize("how", ["right", "full"])
@settings(deadline=None, max_examples=40)
@given(keys=KEYS, lengths=LENGTHS)
def test_steps_on_top_go_by_rows(*, how: How, keys: list[Any], lengths: list[int]):
    whole = keyed(keys)
    node: Node = Filter(outer(how), (pl.col("name") != "B",))
    node = Drop(Select(node, (pl.all(), pl.col("x").fill_null(0).alias("y"))), ("x",))
    bench = Bench(node)

    for rows in cut(whole, lengths):
        bench.feed(rows, [0])

    expected = polars(whole, how).filter(pl.col("name") != "B")
    expected = expected.with_columns(pl.col("x").fill_null(0).alias("y")).drop("x")
    assert_frame_equal(frame(bench), expected)
    assert_equal_to_batch(bench.ran(), whole)


def test_a_frame_made_later_begins_with_what_the_join_keeps():
    graph = Graph()
    node = outer("full")
    kept = Bench(node).kept
    handle = graph.add(node, keyed([]))
    first = graph.first_change(handle)
    assert first is not None
    kept.take(first)
    kept.take(graph.step(Batch(keyed(["b", "z"]), frozenset({0})))[handle])

    named = Filter(node, (pl.col("name").is_not_null(),))
    later = graph.add(named, keyed(["b", "z"]), kept=lambda _: kept.frame())
    begun = graph.first_change(later)
    outcome = graph.step(Batch(keyed(["a"]), frozenset({0})))[later]

    assert begun is not None
    assert sorted(begun.change.added["name"].to_list()) == ["?", "A", "B", "C", "Q"]
    assert outcome.change.removed[JOINED].to_list() == [UNMATCHED]


def test_a_record_of_several_rows_counts_once():
    rows = table([1, 2, 3], k=[["b", "z"], ["z", "y"], ["b", "a"]])
    exploded = Explode(SOURCE, ("k",))
    counts = []
    for how in ("right", "full"):
        bench = Bench(OuterJoin(exploded, NAMES, how, ON))
        bench.feed(rows, [0])
        counts.append(bench.outcomes[0].counts)

    assert counts == [(3, 2, 1, 0, 0, 0), (3, 3, 0, 0, 0, 0)]


def test_keys_may_be_expressions_and_have_other_names():
    wide = NAMES.with_columns(pl.col("x") / 3).rename({"x": "third"})
    keys = {"left_on": [pl.col("x") / 3], "right_on": ["third"]}
    rows = keyed(["a"] * 6)
    for lengths in ([], [1, 1, 1], [2, 4]):
        bench = Bench(OuterJoin(SOURCE, wide, "right", keys))
        for piece in cut(rows, lengths):
            bench.feed(piece, [0])
        assert frame(bench)["k"].to_list() == ["a"] * 5


def test_a_record_that_breaks_a_key_stops_it_with_all_before_it():
    keys = {"left_on": [pl.col("k").cast(pl.Int64)], "right_on": ["x"]}
    graph = Graph()
    handle = graph.add(OuterJoin(SOURCE, NAMES, "full", keys), None)

    outcome = graph.step(Batch(keyed(["2", "3", "no", "4"]), frozenset({0})))[handle]

    assert outcome.change.added["name"].to_list() == ["B", "C", "A", "?", "Q"]
    assert outcome.counts.received == 2
    assert getattr(outcome.error, "index", None) == 2


def test_it_holds_a_mark_for_each_row_of_the_table():
    graph = Graph()
    graph.add(outer("full"), None)
    graph.step(Batch(keyed(["a"] * 1_000), frozenset({0})))

    assert graph.state == {"join": 9 * NAMES.height}
    assert "4 rows of the table" in graph.heaviest.holds  # type: ignore[union-attr]  # there is one
