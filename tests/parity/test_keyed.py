"""The batch answers of running groups, of the newest row of each key, and of first rows."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.parity import compare, evaluate
from streamlab.plans.nodes import Filter, GroupBy, Unique
from tests.engine.keyed_lab import (
    PARTS,
    SOURCE,
    One,
    group,
    newest,
    rows_of,
    tombstones,
)
from tests.engine.lab import cut, seconds, table
from tests.engine.test_groups import cuts
from tests.engine.test_groups import row as drawn_row

n, x = pl.len().alias("n"), pl.col("x")
AGGS = (n, x.mean().alias("mean"), x.last().alias("last"), x.implode().alias("all"))
TTL = st.sampled_from([None, seconds(5), seconds(20)])


@settings(deadline=None, max_examples=60)
@given(
    drawn=st.lists(drawn_row, min_size=1, max_size=30),
    lengths=cuts,
    ttl=TTL,
    kind=st.sampled_from(["group", "newest", "unique", "both"]),
    filtered=st.booleans(),
)
def test_the_engine_and_the_batch_answer_agree(
    drawn: list[dict[str, Any]],
    lengths: list[int],
    ttl: Any,
    kind: str,
    *,
    filtered: bool,
):
    rows = rows_of(drawn, k=pl.String, x=pl.Int64)
    holding = set(rows["__part"])
    parent = Filter(SOURCE, (x > 2,)) if filtered else SOURCE
    plans: dict[str, GroupBy | Unique] = {
        "group": group(AGGS, parent=parent, ttl=ttl),
        "newest": newest(parent=parent, ttl=ttl),
        "unique": Unique(parent, ("k",), ttl),
        "both": group(AGGS, parent=Unique(parent, ("x",), ttl), ttl=ttl),
    }
    node = plans[kind]
    one = One(node)

    for piece in cut(rows, lengths):
        one.step(piece, holding)

    live = one.lines() if kind == "unique" else one.frame()
    key = () if kind == "unique" else ("k",)
    assert compare(live, evaluate(node, rows), key) is None


def test_a_tombstone_deletes_the_rows_before_it():
    rows = table([1, 2, 3, 4], _key=["a", "b", "a", "b"], x=[1, 2, 3, 4])
    node = newest(("_key",), parent=Filter(SOURCE, (x != 4,)))

    expected = evaluate(
        node, rows, tombstones={SOURCE: tombstones(("b", 0), ("a", 3), ("b", 3))}
    )

    assert expected.frame.height == 0
    some = evaluate(node, rows, tombstones={SOURCE: tombstones(("a", 2))})
    assert some.frame.sort("_key").rows() == [("a", 3), ("b", 2)]


def test_a_wrong_row_is_found():
    rows = table([1, 2, 3], [*PARTS, 0], k=["a", "b", "a"], x=[1, 2, 3])
    node = group([n])
    wrong = pl.DataFrame(
        {"k": ["a", "b"], "n": [2, 2]}, {"k": pl.String, "n": pl.UInt32}
    )

    found = compare(wrong, evaluate(node, rows), ("k",))

    assert "column 'n': 2 in the live frame, 1 in batch" in str(found)
