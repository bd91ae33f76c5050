"""Joins at their edges: ties between batches, values that newer ones replace, sides that stand still."""

from __future__ import annotations

import numpy as np
import polars as pl

from streamlab.changes import TIME
from streamlab.engine.lookup import Lookup
from streamlab.engine.outcome import Batch
from streamlab.engine.sides import Front, times_of
from tests.engine.lab import SECOND, table

NOBODY: frozenset[int] = frozenset()


def looked_up(*batches: pl.DataFrame) -> Lookup:
    """Rows of several batches, each a run of its own."""
    lookup = Lookup(batches[0].clear(), ["k"], ["x", TIME])
    for rows in batches:
        lookup.add(rows, times_of(rows))
    return lookup


def nearest(
    lookup: Lookup, second: float, strategy: str = "backward", key: str = "a"
) -> object:
    """What a row of the key finds."""
    times = np.array([round(second * SECOND)])
    found = lookup.asof(pl.DataFrame({"k": [key]}), times, strategy, 3600 * SECOND)
    return found.table["x"][int(found.rows[0])] if len(found.rows) else None


def test_of_rows_of_one_time_in_two_batches_backward_finds_the_last_forward_the_first():
    first = table([1, 2, 5], x=[1, 2, 3], k=["a", "a", "a"])
    lookup = looked_up(first, table([5], x=[4], k=["a"]))

    assert nearest(lookup, 5) == 4
    assert nearest(lookup, 6) == 4
    assert nearest(lookup, 5, "forward") == 3
    assert nearest(lookup, 4, "forward") == 3
    assert nearest(lookup, 4, "nearest") == 4


def test_only_values_that_no_row_can_want_are_replaced_by_newer_ones():
    height = 4000
    rows = table(list(range(height)), x=list(range(height)), k=["a", "b"] * 2000)
    lookup = looked_up(rows[:2000], rows[2000:])

    lookup.settle(0, 3500 * SECOND)

    # Of those up to second 3500 the last of each key; of the others all.
    assert lookup.height == 2 + 499
    assert nearest(lookup, 3500) == 3500
    assert nearest(lookup, 3500, key="b") == 3499
    assert nearest(lookup, 3501, key="b") == 3501
    assert nearest(lookup, 3745) == 3744
    assert nearest(lookup, 3999, key="b") == 3999


def test_how_far_a_side_is_never_goes_back():
    rows = table([5.0]).clear()
    front = Front()

    for frontier, expected in ((10, 10), (7, 10), (12, 12)):
        front.follow(Batch(rows, NOBODY, frontier=frontier), times_of(rows))
        assert front.at == expected
