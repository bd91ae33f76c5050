"""Two frames in order as one: however both are cut and take turns."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.changes import TIME
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Filter, Merge, Source
from tests.engine.lab import table
from tests.engine.two_sides import (
    LEFT,
    RIGHT,
    Two,
    pieces,
    rows,
    run,
    shown,
    side,
    sides,
)

CUTS = st.lists(st.integers(0, 4), max_size=8)
NODE = Merge(LEFT, RIGHT)


def some(*times: float, name: str = "quick") -> pl.DataFrame:
    return rows(times, at=list(times), who=[name] * len(times))


def slow(*times: float) -> pl.DataFrame:
    return some(*times, name="slow")


@settings(deadline=None, max_examples=80)
@given(
    left=sides(),
    right=sides(),
    cuts=st.tuples(CUTS, CUTS),
    front=st.sampled_from(["next", "last"]),
    turns=st.lists(st.booleans(), max_size=20),
)
def test_whatever_the_cut_and_the_turns_it_is_the_batch_answer(
    *, left: Any, right: Any, cuts: Any, front: str, turns: list[bool]
):
    two = Two(NODE)
    both = [side(left), side(right)]
    both[1] = both[1].select("x", "k", pl.col("^__.*$"))

    run(two, pieces(both[0], cuts[0], front), pieces(both[1], cuts[1], front), turns)

    frame = two.frame()
    assert frame[TIME].is_sorted()
    assert_frame_equal(shown(frame), two.expected(), check_column_order=False)
    assert two.counts()[:3] == [frame.height, frame.height, 0]


def test_nothing_leaves_before_the_other_side_has_come_as_far():
    # given the example of SeaStreamer's StreamJoin: quick at 10 20 30 40, slow at 20 50
    two = Two(NODE)

    assert two.left(some(10, 20, 30, 40), 40).height == 0
    first = two.right(slow(20), 20)
    second = two.right(slow(50), 50)

    assert first["at"].to_list() == [10]
    assert second.select("at", "who").rows() == [
        (20, "quick"),
        (20, "slow"),
        (30, "quick"),
    ]


def test_of_rows_at_one_time_the_lefts_come_first():
    two = Two(NODE)

    two.right(slow(1, 1), 9)
    two.left(some(1, 1), 9)

    assert two.frame()["who"].to_list() == ["quick", "quick", "slow", "slow"]


def test_a_side_that_ends_holds_nothing_back():
    two = Two(NODE)

    two.left(some(1, 8), 8)
    two.right(slow(2), 2)
    two.right(slow(), 0, final=True)

    assert two.frame()["at"].to_list() == [1, 2]
    assert two.left(some(), 0, final=True)["at"].to_list() == [8]


def test_a_silent_side_whose_frontier_moves_lets_the_other_go_on():
    two = Two(NODE)

    two.right(slow(1), 1)
    two.left(some(2, 3), 3)
    moved = two.right(slow(), 2.5)

    assert moved["at"].to_list() == [1, 2]


def test_partition_numbers_of_the_other_source_do_not_collide():
    two = Two(NODE)

    two.left(some(1), 9)
    two.right(slow(2), 9)

    assert two.frame()["__part"].to_list() == [0, 2**20]


def test_three_sources_have_three_ranges_of_partition_numbers():
    third = Source("more")
    node = Merge(NODE, third)
    graph = Graph()
    handle = graph.add(node, None)
    hold = frozenset({0})

    graph.step(Batch(some(1), hold, frontier=9_000_000))
    graph.step_other(RIGHT, Batch(slow(2), hold, frontier=9_000_000))
    done = graph.step_other(third, Batch(slow(3), hold, frontier=9_000_000))

    parts = done[handle].change.added["__part"].to_list()
    assert parts == [0, 2**20, 2 * 2**20]


def test_branches_of_one_source_keep_their_partition_numbers():
    source = Source("trades")
    n = pl.col("n")
    node = Merge(Filter(source, (n < 2,)), Filter(source, (n >= 2,)))
    graph = Graph()
    handle = graph.add(node, None)

    came = table([1, 2, 3], [0, 1, 0], n=[3, 1, 2])
    done = graph.step(Batch(came, frozenset({0, 1}), frontier=9_000_000))[handle]

    assert done.change.added.select("n", "__part").rows() == [(3, 0), (1, 1), (2, 0)]
    assert done.counts == (6, 3, 3, 0, 0, 0)
