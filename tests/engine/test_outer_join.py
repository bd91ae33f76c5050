"""Right and full joins with a table: as polars joins all rows so far, at every moment."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.changes import HIDDEN, JOINED
from streamlab.plans.nodes import (
    Node,
    OuterJoin,
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


def keyed(keys: list[str | None]) -> pl.DataFrame:
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
