"""What a commit must not pass, and what a reading that goes on passes over."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlab.engine.graph import Graph
from streamlab.engine.needs import Bounds, Low, Memory, needed_by_both
from streamlab.engine.outcome import Batch
from streamlab.plans.fingerprint import fingerprint
from streamlab.plans.nodes import Filter, Late, Source, Window
from tests.engine.lab import SECOND, cut, seconds, table, window

HOLD = frozenset({0, 1})
SOURCE = Source("lab")
N = pl.len().alias("n")


def counting(**given: object) -> Window:
    return window(SOURCE, [N], lateness=seconds(5), **given)  # type: ignore[arg-type]


def run(graph: Graph, node: Window | Late, rows: pl.DataFrame) -> pl.DataFrame:
    handle = graph.add(node, None)
    outcome = graph.step(Batch(rows, HOLD))[handle]
    return outcome.change.added


def test_the_oldest_record_of_an_open_window_is_needed():
    graph = Graph(committing=True)
    rows = table([1, 12, 3, 14], parts=[0, 0, 1, 1])

    run(graph, counting(), rows)

    assert graph.low.oldest == {0: (1000, 0), 1: (3000, 0)}


@pytest.mark.parametrize(
    ("numbered", "oldest"), [(True, (9000, 0)), (False, (7000, 2))]
)
def test_of_several_operators_the_record_with_the_lowest_offset_is_needed(
    numbered: bool,  # noqa: FBT001 - a case of the test
    oldest: tuple[int, int],
):
    graph = Graph(committing=True, numbered=numbered)
    graph.add(counting(), None)
    graph.add(
        window(Filter(SOURCE, (pl.col("x") == 3,)), [N], lateness=seconds(5)), None
    )

    graph.step(Batch(table([1, 12, 3], stamps=[9, 8, 7], x=[1, 2, 3]), HOLD))

    assert graph.low.oldest == {0: oldest}


def test_what_a_plan_needs_that_came_later_is_added_to_what_was_needed_before():
    before = Low({0: (5, 5), 1: (1, 1)}, {"a": Bounds(10, None)})
    now = Low({0: (9, 3)}, {"a": Bounds(20, None), "b": Bounds(7, None)})

    both = needed_by_both(before, now)

    assert both is not None
    assert both.oldest == {0: (9, 3), 1: (1, 1)}
    assert both.plans == {"a": Bounds(10, None), "b": Bounds(7, None)}
    assert needed_by_both(None, now) is now


def test_what_a_closed_window_needed_is_needed_no_more():
    graph = Graph(committing=True)
    node = counting()
    handle = graph.add(node, None)

    graph.step(Batch(table([1, 12], parts=[0, 1]), HOLD))
    graph.step(Batch(table([15, 15], parts=[0, 1]), HOLD))

    assert handle
    assert graph.low.oldest == {0: (15_000, 0), 1: (12_000, 0)}
    assert graph.low.plans == {fingerprint(node): Bounds(10 * SECOND, None)}


def test_the_oldest_record_is_the_first_that_came_whatever_its_timestamp_says():
    graph = Graph(committing=True)
    rows = table([1, 12, 3], stamps=[9, 8, 7])

    run(graph, counting(), rows)

    assert graph.low.oldest == {0: (9000, 0)}


def test_a_row_that_a_filter_holds_back_is_not_needed():
    graph = Graph(committing=True)
    kept = Filter(SOURCE, (pl.col("x") > 1,))
    node = window(kept, [N], lateness=seconds(5))

    run(graph, node, table([1, 2], x=[1, 2]))

    assert graph.low.oldest == {0: (2000, 1)}


def test_nobody_keeps_account_where_nothing_is_committed():
    graph = Graph()

    run(graph, counting(), table([1, 12]))

    assert graph.low.oldest == {}


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1)), max_size=40),
    st.lists(st.integers(1, 7), max_size=10),
)
def test_the_account_does_not_hang_on_the_cut(
    drawn: list[tuple[int, int]], lengths: list[int]
):
    rows = table([time for time, _ in drawn], parts=[part for _, part in drawn])
    lows = []
    for pieces in ([rows], cut(rows, lengths)):
        graph = Graph(committing=True)
        graph.add(counting(), None)
        for piece in pieces:
            graph.step(Batch(piece, HOLD))
        lows.append(graph.low.oldest)

    assert lows[0] == lows[1]


def test_rows_of_windows_that_were_closed_before_are_passed_over():
    node = counting()
    past = Memory({fingerprint(node): Bounds(10 * SECOND, None)}, {0: (None, 2)})
    graph = Graph(committing=True, memory=past)
    handle = graph.add(node, None)
    late = graph.add(Late(node), None)

    # Read before: 9 (its window is over), 12. New: 3, which is late, and 13.
    outcomes = graph.step(Batch(table([9, 12, 3, 13]), frozenset({0})))

    assert outcomes[handle].change.added["n"].to_list() == [2]
    assert outcomes[handle].counts.expired == 1
    assert outcomes[handle].counts.late == 1
    assert outcomes[late].change.added["_offset"].to_list() == [2]
    expired = graph.standing(node).expired
    assert expired is not None
    assert expired["_offset"].to_list() == [0]


def test_windows_go_on_as_partial_as_they_were():
    node = counting()
    past = Memory({fingerprint(node): Bounds(0, 12 * SECOND)}, {0: (None, 0)})
    graph = Graph(memory=past)

    changed = run(graph, node, table([11, 21]))

    ordered = changed.sort("window_start").select("n", "_partial")
    assert ordered.rows() == [(1, True), (1, False)]


def test_a_plan_that_is_not_made_again_is_missed():
    past = Memory({"0badcafe": Bounds(0, None)}, {})
    graph = Graph(committing=True, memory=past)
    run(graph, counting(), table([1]))

    assert graph.low.missing == {"0badcafe"}


def test_fingerprints_tell_plans_apart_but_not_sources():
    one = counting()
    same = window(Source("other"), [pl.len().alias("n")], lateness=seconds(5))
    others = [
        counting(by=("x",)),
        window(SOURCE, [N], lateness=seconds(6)),
        window(SOURCE, [pl.len().alias("m")], lateness=seconds(5)),
        window(Filter(SOURCE, (pl.col("x") > 1,)), [N], lateness=seconds(5)),
    ]

    marks = [fingerprint(each) for each in (one, *others)]

    assert fingerprint(one) == fingerprint(same)
    assert len(set(marks)) == len(marks)
