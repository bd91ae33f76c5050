"""Joins of two frames by time: however both are cut and take turns, they give the batch answer."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.changes import TIME
from streamlab.engine.graph import Graph
from streamlab.engine.lookup import Lookup
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Filter, Join, Source
from tests.engine.lab import seconds, table
from tests.engine.two_sides import (
    FOREVER,
    Two,
    join,
    pieces,
    rows,
    run,
    shown,
    side,
    sides,
)

CUTS = st.lists(st.integers(0, 4), max_size=8)


def ours(*times: float, **columns: Any) -> pl.DataFrame:
    return rows(
        times, k=columns.get("k", ["a"] * len(times)), x=list(range(len(times)))
    )


def theirs(*times: float, **columns: Any) -> pl.DataFrame:
    count = len(times)
    return rows(
        times, k=columns.get("k", ["a"] * count), y=[10 * n for n in range(count)]
    )


@pytest.mark.parametrize("how", ["left", "inner"])
@pytest.mark.parametrize("by", [(), ("k",)])
@pytest.mark.parametrize("strategy", ["backward", "forward", "nearest", "within"])
@settings(deadline=None, max_examples=25)
@given(
    left=sides(),
    right=sides(),
    cuts=st.tuples(CUTS, CUTS),
    front=st.sampled_from(["next", "last"]),
    turns=st.lists(st.booleans(), max_size=20),
    tolerance=st.sampled_from([0, 0.5, 1, 3]),
)
def test_whatever_the_cut_and_the_turns_it_is_the_batch_answer(
    *,
    strategy: str,
    by: tuple[str, ...],
    how: str,
    left: Any,
    right: Any,
    cuts: Any,
    front: str,
    turns: list[bool],
    tolerance: float,
):
    kind = "within" if strategy == "within" else "asof"
    node = join(kind, tolerance, by, strategy=strategy, how=how)
    two = Two(node)
    sides_ = [side(left), side(right)]

    run(
        two, pieces(sides_[0], cuts[0], front), pieces(sides_[1], cuts[1], front), turns
    )

    frame = two.frame()
    assert frame[TIME].is_sorted()
    assert_frame_equal(shown(frame), two.expected())
    received, passed, filtered, *others = two.counts()
    assert (received, received) == (sides_[0].height, passed + filtered)
    assert others == [0, 0, 0]


def test_the_newest_right_row_up_to_the_left_rows_time_is_joined():
    two = Two(join("asof", 5, ["k"]))

    two.right(theirs(1, 2, 4), 5)
    two.left(ours(2.5, 4), 4.5)

    assert shown(two.frame()).rows() == [("a", 0, 10), ("a", 1, 20)]


def test_a_left_row_waits_until_the_right_side_has_passed_it():
    two = Two(join("asof", 5))

    two.right(theirs(1), 3)
    assert two.left(ours(2, 3), 10)["x"].to_list() == [0]
    assert two.right(theirs(), 3).height == 0
    assert two.right(theirs(), 3.5)["x"].to_list() == [1]


def test_forward_waits_for_the_whole_tolerance():
    two = Two(join("asof", 2, strategy="forward"))

    two.right(theirs(1), 4)
    assert two.left(ours(2), 10).height == 0
    assert two.right(theirs(), 4.5)["y"].to_list() == [None]


def test_a_match_exactly_the_tolerance_away_counts_and_one_beyond_does_not():
    two = Two(join("asof", 2))

    two.right(theirs(1), 9)
    two.left(ours(3, 3.5), 9)

    assert two.frame()["y"].to_list() == [0, None]


def test_of_right_rows_at_one_time_the_last_by_partition_and_offset_is_joined():
    two = Two(join("asof", 2))

    two.right(rows([1, 1, 1], [1, 0, 1], k=["a"] * 3, y=["p1 o0", "p0 o0", "p1 o1"]), 9)
    two.left(ours(1), 9)

    assert two.frame()["y"].to_list() == ["p1 o1"]


def test_forward_the_first_of_one_time_is_joined():
    two = Two(join("asof", 2, strategy="forward"))

    two.right(rows([1, 1, 1], [1, 0, 1], k=["a"] * 3, y=["p1 o0", "p0 o0", "p1 o1"]), 9)
    two.left(ours(1), 9)

    assert two.frame()["y"].to_list() == ["p0 o0"]


def test_a_null_key_finds_nothing_and_is_not_found():
    two = Two(join("asof", 9, ["k"]))

    two.right(theirs(1, 1, k=[None, "b"]), 9)
    two.left(ours(2, 2, k=[None, "b"]), 9)

    assert two.frame()["y"].to_list() == [None, 10]


def test_within_gives_a_row_for_every_pair_in_the_left_sides_order():
    two = Two(join("within", 1))

    two.right(theirs(1, 2, 3), 9)
    two.left(ours(2, 3), 9)

    assert two.frame().select("x", "y").rows() == [
        (0, 0),
        (0, 10),
        (0, 20),
        (1, 10),
        (1, 20),
    ]
    assert two.counts()[:3] == [2, 2, 0]


def test_within_left_keeps_rows_without_a_partner_and_inner_filters_them():
    left, inner = Two(join("within", 1, how="left")), Two(join("within", 1))

    for two in (left, inner):
        two.right(theirs(1), 99)
        two.left(ours(1, 50), 99)

    assert left.frame().select("x", "y").rows() == [(0, 0), (1, None)]
    assert inner.frame().select("x", "y").rows() == [(0, 0)]
    assert inner.counts()[:3] == [2, 1, 1]


def test_a_column_that_both_have_gets_the_suffix_and_the_rights_keys_are_left_out():
    two = Two(join("asof", 9, ["k"], suffix="_q"))

    two.right(rows([1], k=["a"], x=[7], z=[8]), 9)
    two.left(ours(2), 9)

    assert shown(two.frame()).columns == ["k", "x", "x_q", "z"]


def test_joined_rows_carry_the_left_rows_hidden_columns():
    two = Two(join("asof", 9))
    left = rows([2, 3], [1, 0], x=[1, 2])

    two.right(theirs(1), 9)
    two.left(left, 9)

    hidden = ["__time", "__part", "__stamp", "__seq"]
    assert_frame_equal(two.frame().select(hidden), left.select(hidden))


def test_a_silent_right_side_holds_left_rows_back_until_it_ends():
    two = Two(join("asof", 9))

    two.right(theirs(1), 1)
    assert two.left(ours(5, 6), 20).height == 0
    assert two.right(theirs(), 0, final=True)["x"].to_list() == [0, 1]


def test_before_the_rights_columns_are_known_left_rows_wait():
    two = Two(join("asof", 9))

    assert two.left(ours(1, 2), 20).width == 0
    assert two.right(theirs(1), 20)["y"].to_list() == [0, 0]


def test_the_frontier_is_how_far_joined_rows_are():
    node = join("asof", 2, strategy="nearest")
    graph = Graph()
    graph.add(node, None)
    (operator,) = graph._operators.values()

    graph.step(Batch(ours(1), frozenset({0}), frontier=8_000_000))
    graph.step_other(node.other, Batch(theirs(1), frozenset({0}), frontier=9_000_000))
    assert operator.state is not None
    assert operator.state.frontier == 7_000_000

    graph.step_other(node.other, Batch(theirs(), frozenset({0}), final=True))
    assert operator.state.frontier == 8_000_000
    graph.step(Batch(ours(), frozenset({0}), final=True))
    assert operator.state.frontier == FOREVER


def test_two_branches_of_one_source_are_joined():
    source = Source("trades")
    buys = Filter(source, (pl.col("side") == "buy",))
    sells = Filter(source, (pl.col("side") == "sell",))
    node = Join(buys, sells, "asof", (), seconds(5))
    graph = Graph()
    handle = graph.add(node, None)
    came = table([1, 2, 3], side=["sell", "buy", "sell"], n=[1, 2, 3])

    outcome = graph.step(Batch(came, frozenset({0}), frontier=9_000_000))[handle]

    assert outcome.change.added.select("n", "n_right").rows() == [(2, 1)]
    assert outcome.counts == (3, 1, 2, 0, 0, 0)


def test_right_rows_that_nobody_can_want_are_forgotten():
    two = Two(join("asof", 5, ["k"]))
    (operator,) = two.graph._operators.values()
    state: Any = operator.state

    for second in range(0, 400, 2):
        two.right(theirs(second, second + 1), second + 2)
        two.left(ours(second), second + 2)
    state = operator.state

    assert state._lookup.height < 30
    assert two.frame().height == 200


def test_backward_a_long_tolerance_keeps_the_newest_row_of_each_key_alone():
    two = Two(join("asof", 10**6, ["k"]))
    (operator,) = two.graph._operators.values()
    count = 500
    keys = [f"k{n % 10}" for n in range(count)]

    for batch in range(40):
        begin = batch * count
        times = [float(begin + n) for n in range(count)]
        two.right(theirs(*times, k=keys), begin + count)
        two.left(ours(begin + 0.5), begin + count)
    state: Any = operator.state

    assert state._lookup.height < 5_000


def test_keys_that_are_gone_are_forgotten():
    two = Two(join("asof", 1, ["k"]))
    (operator,) = two.graph._operators.values()

    for second in range(100):
        two.right(theirs(second, k=[f"order {second}"]), second + 1)
        two.left(ours(second, k=[f"order {second}"]), second + 1)
    state: Any = operator.state

    assert two.frame()["y"].null_count() == 0
    assert len(state._lookup._numbers._keys) < 10


@settings(deadline=None, max_examples=100)
@given(
    times=st.lists(st.integers(0, 20), min_size=1, max_size=60),
    data=st.data(),
)
def test_a_lookup_in_runs_finds_what_a_lookup_in_one_finds(
    times: list[int], data: st.DataObject
):
    # given rows in order, added at random cuts, with some forgotten on the way
    times = sorted(times)
    keys = data.draw(st.lists(st.sampled_from("abc"), min_size=60, max_size=60))
    whole = rows(
        [float(t) for t in times], k=keys[: len(times)], y=list(range(len(times)))
    )
    lookup = Lookup(whole.clear(), ["k"], ["y"])
    at = 0
    while at < whole.height:
        piece = whole.slice(at, data.draw(st.integers(1, 9)))
        lookup.add(piece, piece[TIME].to_physical().to_numpy())
        lookup.settle(0, data.draw(st.sampled_from([None, -1])))
        at += piece.height

    asked = rows([float(t) for t in range(20)], k=["abc"[t % 3] for t in range(20)])
    found = lookup.within(
        asked.select("k"), asked[TIME].to_physical().to_numpy(), 3_000_000
    )

    pairs = zip(found.asked.tolist(), found.table["y"].gather(found.rows), strict=True)
    assert list(pairs) == [
        (t, n)
        for t in range(20)
        for n, (time, key) in enumerate(zip(times, keys, strict=False))
        if abs(time - t) <= 3 and key == "abc"[t % 3]
    ]


def test_a_right_side_of_keys_alone_shows_no_columns_but_can_filter():
    two = Two(join("within", 1, ["k"]))

    two.right(rows([1], k=["a"]), 9)
    two.left(ours(1, 2, 2, k=["a", "a", "b"]), 9)

    assert shown(two.frame()).rows() == [("a", 0), ("a", 1)]
