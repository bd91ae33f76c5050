"""Event time at its edges: rows in order, rows ahead of the broker, brokers without a time."""

from __future__ import annotations

import numpy as np
import polars as pl

from streamlab.engine.outcome import Batch
from streamlab.engine.watermark import FOREVER, NONE, Watermark
from streamlab.plans.nodes import Source
from tests.engine.lab import Lab, seconds, table, window

N = pl.len().alias("n")
SOURCE = Source("lab")


def followed(mark: Watermark, times: list[int], parts: list[int], batch: Batch):
    """The watermark at each row, and after them."""
    good = np.ones(len(times), np.bool_)
    given = np.array(times, np.int64), np.array(parts, np.int32), good
    marks: list[int] = mark.follow(*given, batch).tolist()
    return marks, mark.mark


def test_rows_in_order_are_as_of_one_partition_and_the_frontier_goes_before_them():
    mark = Watermark()
    blank = pl.DataFrame()

    ordered = Batch(blank, frozenset({0, 1, 2}), frontier=9)
    assert followed(mark, [3, 5, 8], [0, 2, 0], ordered) == ([3, 5, 8], 9)
    assert followed(mark, [], [], Batch(blank, frozenset(), frontier=20)) == ([], 20)
    assert followed(mark, [21], [1], Batch(blank, frozenset(), frontier=7)) == (
        [21],
        21,
    )


def test_the_end_of_rows_in_order_is_no_time():
    mark = Watermark()
    last = Batch(pl.DataFrame(), frozenset(), final=True, frontier=FOREVER)

    assert followed(mark, [3, 5], [0, 1], last) == ([3, 5], 5)


def test_rows_in_any_order_wait_for_every_partition_that_holds():
    mark = Watermark()
    batch = Batch(pl.DataFrame(), frozenset({0, 1}))

    assert followed(mark, [3, 5], [0, 0], batch) == ([NONE, NONE], NONE)
    assert followed(mark, [4], [1], batch) == ([4], 4)


def test_a_row_exactly_as_far_ahead_of_the_broker_as_allowed_is_taken():
    node = window(SOURCE, [N], max_ahead=seconds(60))
    lab = Lab(node)

    outcome = lab.step(table([70, 70.001], stamps=[10, 10]))["window"]

    assert outcome.counts.rejected == 1
    assert lab.frame().get_column("n").to_list() == [1]


def test_a_row_without_a_time_of_the_broker_can_not_be_ahead_of_it():
    lab = Lab(window(SOURCE, [N]))

    outcome = lab.step(table([7200, 9000], stamps=[None, 0]))["window"]

    assert outcome.counts.rejected == 1
    assert lab.frame().get_column("n").to_list() == [1]
