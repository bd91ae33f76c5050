"""Overlapping windows at their edges: which hold a row, which it misses, what they come to."""

from __future__ import annotations

import numpy as np
import polars as pl

from streamlab.changes import CLOSED
from streamlab.engine.graph import Graph
from streamlab.engine.hops import Grid
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Source, Window
from tests.engine.lab import KEY, SECOND, Lab, seconds, table, window

SOURCE = Source("lab")
N = pl.len().alias("n")
x = pl.col("x")


def hopping(
    lateness: float | None, *aggs: pl.Expr, every: float = 10, period: float = 30
) -> Window:
    """Windows of half a minute, every ten seconds."""
    late = None if lateness is None else seconds(lateness)
    made = window(SOURCE, aggs or (N,), every=every, lateness=late)
    fields = {name: getattr(made, name) for name in Window.__slots__}
    return Window(**(fields | {"period": seconds(period)}))


def starts(rows: pl.DataFrame) -> list[int]:
    """Starts, in seconds."""
    return (rows.get_column(KEY).dt.epoch("us") // SECOND).to_list()


def test_a_row_belongs_to_every_window_that_holds_it_its_start_included_its_end_not():
    lab = Lab(hopping(None, x.alias("list")))

    lab.step(table([30, 29.999999], x=[1, 2]))

    frame = lab.frame().sort(KEY)
    assert dict(
        zip(starts(frame), frame.get_column("list").to_list(), strict=True)
    ) == {
        0: [2],
        10: [2, 1],
        20: [2, 1],
        30: [1],
    }
    ends = (frame.get_column("window_end") - frame.get_column(KEY)).dt.total_seconds()
    assert ends.unique().to_list() == [30]


def test_a_row_may_miss_some_of_its_windows_and_counts_once():
    lab = Lab(hopping(0))

    lab.step(table([5]))
    outcome = lab.step(table([40, 25]))["window"]

    # 40 closes what ends by then: [-20, 10), …, [10, 40); of 25's windows [0, 30) and [10, 40).
    assert outcome.counts == (2, 2, 0, 0, 0, 0)
    late = lab.lines("late")
    assert starts(late) == [0, 10]
    assert late.get_column("_late_by").dt.total_seconds().to_list() == [10, 0]
    assert starts(lab.lines("closed")) == [-20, -10, 0]
    frame = lab.frame()
    still_open = frame.filter(~pl.col(CLOSED))
    assert dict(zip(starts(still_open), still_open.get_column("n"), strict=True)) == {
        20: 2,
        30: 1,
        40: 1,
    }


def test_a_row_that_missed_all_its_windows_is_late_once_a_window():
    lab = Lab(hopping(0))

    outcome = lab.step(table([100, 25]))["window"]

    assert outcome.counts == (2, 1, 0, 0, 1, 0)
    assert starts(lab.lines("late")) == [0, 10, 20]


def test_each_window_has_the_sum_and_the_median_of_all_its_rows():
    lab = Lab(hopping(None, x.sum().alias("sum"), x.median().alias("median")))

    lab.step(table([25, 35, 12], x=[1.0, 2.0, 4.0]))
    lab.step(table([26, 15], x=[8.0, 16.0]))

    rows = lab.frame().sort(KEY).select("sum", "median").rows()
    assert dict(zip(starts(lab.frame().sort(KEY)), rows, strict=True)) == {
        -10: (20.0, 10.0),
        0: (29.0, 6.0),
        10: (31.0, 4.0),
        20: (11.0, 2.0),
        30: (2.0, 2.0),
    }


def test_windows_shorter_than_their_distance_leave_rows_out():
    lab = Lab(hopping(0, every=10, period=4))

    outcome = lab.step(table([3, 4, 9, 12, 14]))["window"]

    assert outcome.counts == (5, 2, 3, 0, 0, 0)
    assert starts(lab.frame().sort(KEY)) == [0, 10]


def test_of_windows_that_begin_in_the_hour_that_comes_twice_the_later_may_end_first():
    starts_, ends = np.array([0, 10, 20, 30]), np.array([50, 70, 60, 80])
    line = Grid(starts_, ends)
    times = np.array([25, 60, 69, 70, 79])

    last, over = line.last(times), line.over(times)
    place, begun, ended = line.windows(last, over)

    assert list(zip(place.tolist(), begun.tolist(), ended.tolist(), strict=True)) == [
        (0, 0, 50),
        (0, 10, 70),
        (0, 20, 60),
        (1, 10, 70),
        (1, 30, 80),
        (2, 10, 70),
        (2, 30, 80),
        (3, 30, 80),
        (4, 30, 80),
    ]
    assert line.count(last, over).tolist() == [3, 2, 2, 1, 1]


def test_what_is_needed_is_the_first_record_of_each_window():
    graph = Graph(committing=True)
    graph.add(hopping(0), None)

    graph.step(Batch(table([25, 26, 24]), frozenset({0})))
    assert graph.low.oldest == {0: (25_000, 0)}
    later = table([60, 61]).with_columns(pl.Series("__seq", [3, 4]))
    graph.step(Batch(later, frozenset({0})))

    assert graph.low.oldest == {0: (60_000, 3)}
