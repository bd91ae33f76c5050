"""`unique`: the first row of each key, for good or within a time; however the rows are cut."""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.engine.needs import Memory
from streamlab.plans.nodes import Explode, Filter, GroupBy, Unique
from tests.engine.keyed_lab import PARTS, SOURCE, One, firsts, rows_of
from tests.engine.lab import cut, seconds, table
from tests.engine.test_groups import ANY_TYPE, cuts
from tests.engine.test_groups import row as drawn_row

rows_drawn = st.lists(drawn_row, min_size=1, max_size=40)


@settings(deadline=None, max_examples=100)
@given(
    drawn=rows_drawn,
    lengths=cuts,
    subset=st.sampled_from([("k",), ("x",), ("k", "x"), ()]),
    filtered=st.booleans(),
)
def test_any_cut_gives_polars_own_unique(
    drawn: list[dict[str, Any]],
    lengths: list[int],
    subset: tuple[str, ...],
    *,
    filtered: bool,
):
    rows = rows_of(drawn, k=pl.String, x=pl.Int64)
    parent = Filter(SOURCE, (pl.col("x") > 3,)) if filtered else SOURCE
    one = One(Unique(parent, subset))

    for piece in cut(rows, lengths):
        one.step(piece, PARTS)

    went_in = rows.filter(pl.col("x") > 3) if filtered else rows
    keys = list(subset) or ["k", "x"]
    expected = went_in.unique(keys, keep="first", maintain_order=True)
    assert one.lines().equals(expected, null_equal=True)
    assert one.counts["passed"] == expected.height
    assert one.counts["filtered"] == rows.height - expected.height


@settings(deadline=None, max_examples=200)
@given(
    drawn=rows_drawn,
    lengths=cuts,
    within=st.sampled_from([1.0, 5.0, 20.0]),
    by_time=st.booleans(),
    holding=st.sampled_from([(0, 1), (0,), (1,)]),
)
def test_within_a_time_rows_pass_one_by_one_whatever_the_cut(
    drawn: list[dict[str, Any]],
    lengths: list[int],
    within: float,
    holding: tuple[int, ...],
    *,
    by_time: bool,
):
    if by_time:
        drawn = sorted(drawn, key=lambda each: each["time"] or 0)
    rows = rows_of(drawn, k=pl.String, x=pl.Int64)
    one = One(Unique(SOURCE, ("k",), seconds(within)))

    for piece in cut(rows, lengths):
        one.step(piece, holding)

    passed, fates = firsts(drawn, within, holding)
    assert one.lines().equals(rows[passed], null_equal=True)
    assert {name: one.counts[name] for name in fates} == fates
    assert one.counts["received"] == rows.height


@settings(deadline=None, max_examples=40)
@given(
    drawn=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30),
    lengths=cuts,
    order=st.randoms(use_true_random=False),
)
def test_any_interleaving_passes_the_same_rows_if_keys_keep_to_partitions(
    drawn: list[str], lengths: list[int], order: Random
):
    by_part = {
        part: [k for k in drawn if "abcd".index(k) % 2 == part] for part in PARTS
    }
    turns = [part for part, mine in by_part.items() for _ in mine]

    found = []
    for _ in range(2):
        order.shuffle(turns)
        left = {part: list(enumerate(mine)) for part, mine in by_part.items()}
        taken = [(part, *left[part].pop(0)) for part in turns]
        rows = table(
            [1.0] * len(taken),
            [part for part, _, _ in taken],
            k=[key for _, _, key in taken],
            x=[number for _, number, _ in taken],
        )
        one = One(Unique(SOURCE, ("k",)))
        for piece in cut(rows, lengths):
            one.step(piece, PARTS)
        found.append(one.lines().select("k", "x").sort("k"))

    assert found[0].equals(found[1])


@pytest.mark.parametrize("within", [None, seconds(1_000)])
@pytest.mark.parametrize("name", sorted(set(ANY_TYPE) - {"nothing"}))
def test_keys_may_be_of_any_type(name: str, within: Any):
    rows = table([1, 2, 3, 4, 5, 6], k=ANY_TYPE[name][[0, 1, 2, 0, 1, 2]])
    one = One(Unique(SOURCE, ("k",), within))

    for piece in cut(rows, [1, 1, 2]):
        one.step(piece)

    assert one.lines().equals(rows.head(3), null_equal=True)


def test_a_key_passes_again_when_it_is_far_enough_from_all_that_passed():
    times = [0, 4, 5, 9.5, 10, 3]
    one = One(Unique(SOURCE, ("k",), seconds(5)))

    for piece in cut(table(times, k=["a"] * 6, x=list(range(6))), [2, 3]):
        one.step(piece)

    assert one.lines().get_column("x").to_list() == [0, 2, 4]
    assert one.counts["expired"] == 1


@pytest.mark.parametrize("lengths", [[9], [1] * 9, [2, 3]])
@pytest.mark.parametrize(
    ("time", "passes"),
    [(4.9, False), (5, True), (5.1, False), (14.9, False), (15, True)],
)
def test_a_row_among_several_that_passed_is_compared_with_both_its_neighbours(
    lengths: list[int], time: float, *, passes: bool
):
    # Partition 1 is silent, so no row is too old.
    one = One(Unique(SOURCE, ("k",), seconds(5)))

    for piece in cut(table([0, 10, time], k=["a"] * 3, x=[0, 1, 2]), lengths):
        one.step(piece, PARTS)

    assert (2 in one.lines().get_column("x")) is passes


@pytest.mark.parametrize(("mark", "time"), [(7, 4), (9, 4), (7.9, 2.9)])
def test_what_has_passed_is_known_while_a_like_of_it_may_still_pass(
    mark: float, time: float
):
    one = One(Unique(SOURCE, ("k",), seconds(5)))

    for second, key in ((3, "a"), (mark, "b"), (time, "a")):
        one.step(table([second], k=[key]))

    assert one.counts["filtered"] == 1
    assert one.lines().height == 2


def test_a_row_that_waited_too_long_is_expired_though_it_may_be_the_first():
    one = One(Unique(SOURCE, ("k",), seconds(5)))
    one.step(table([20, 15, 14.9], k=["a", "b", "c"]))

    assert one.lines().get_column("k").to_list() == ["a", "b"]
    assert one.counts["expired"] == 1


def test_rows_without_a_usable_time_are_rejected_with_the_reason():
    one = One(Unique(SOURCE, ("k",), seconds(5)))
    outcome = one.step(table([1, None, 9000], stamps=[1, 1, 1], k=["a", "b", "c"]))

    assert outcome.rejected is not None
    assert outcome.rejected.select("k", "_reason").rows() == [
        ("b", "no event time"),
        ("c", "time in the future"),
    ]
    assert outcome.counts.rejected == 2


def test_a_record_that_explodes_counts_once():
    lists = pl.Series([["a", "a"], ["a"], ["b", "a"]])
    one = One(Unique(Explode(SOURCE, ("k",)), ("k",)))
    one.step(table([1, 2, 3], k=lists))

    assert one.lines().get_column("k").to_list() == ["a", "b"]
    assert (one.counts["passed"], one.counts["filtered"]) == (2, 1)


def test_memory_of_unique_within_a_time_does_not_grow():
    one = One(Unique(SOURCE, ("k",), seconds(10)))
    sizes = []
    for at in range(0, 3_000, 10):
        keys = [f"key {at + more:06}" for more in range(10)]
        one.step(table(range(at, at + 10), k=keys))
        sizes.append(one.all[-1].state_bytes)

    assert one.lines().height == 3_000
    assert max(sizes[10:]) <= max(sizes[:10])


def test_all_memory_is_given_back_with_the_last_key():
    one = One(Unique(SOURCE, ("k",), seconds(1)))
    one.step(table([0, 0.5, 1, 1], k=["a", "b", "a", "c"]))
    assert one.all[-1].state_bytes > 0

    one.step(table([100, None], k=["z", None]))
    only_one = one.all[-1].state_bytes
    one.step(table([200], k=["z"]))

    assert one.all[-1].state_bytes == only_one


def test_the_oldest_record_still_needed_is_that_of_the_oldest_row_remembered():
    one = One(Unique(SOURCE, ("k",), seconds(5)), committing=True)
    assert one.graph.low.oldest == {}
    one.step(table([0, 1, 2], [0, 0, 1], k=["a", "a", "b"]), PARTS)
    assert one.graph.low.oldest == {0: (0, 0), 1: (2000, 0)}

    late = table([100, 100], [0, 1], k=["a", "b"])
    one.step(late.with_columns(pl.Series("__seq", [2, 1])), PARTS)

    assert one.graph.low.oldest == {0: (100_000, 2), 1: (100_000, 1)}


@settings(deadline=None, max_examples=40)
@given(
    keys=st.lists(st.integers(0, 9), min_size=2, max_size=40),
    again=st.lists(st.integers(0, 9), max_size=10),
    share=st.floats(0, 1),
)
def test_after_a_crash_what_passed_is_known_again_and_no_like_of_it_passes(
    keys: list[int], again: list[int], share: float
):
    # Each key comes anew at most 4 s after the first time: a record that was sent twice.
    named = [f"{second // 5} {key}" for second, key in enumerate([*keys, *again])]
    node = Unique(SOURCE, ("k",), seconds(5))
    rows = table(range(len(named)), k=named)
    at = 1 + round(share * (rows.height - 1))
    before = One(node, committing=True)
    before.step(rows.head(at))
    low = before.graph.low
    _, first = low.oldest[0]

    memory = Memory(low.plans, {0: (None, at)})
    after = One(node, committing=True, memory=memory)
    after.step(rows.filter(pl.col("__seq") >= first))

    once = [*before.lines()["k"], *after.lines().filter(pl.col("__seq") >= at)["k"]]
    assert once == list(dict.fromkeys(named))
    assert set(after.lines()["k"]) <= set(named[max(0, at - 6) :])


def test_after_a_crash_what_is_too_old_to_pass_again_still_holds_its_likes_back():
    node = Unique(SOURCE, ("k",), seconds(5))
    rows = table([0, 7, 3, 4], k=["a", "b", "a", "c"])
    before = One(node, committing=True)
    before.step(rows.head(2))
    low = before.graph.low
    assert low.oldest == {0: (0, 0)}

    after = One(node, memory=Memory(low.plans, {0: (None, 2)}))
    after.step(rows)

    assert after.lines()["k"].to_list() == ["b", "c"]
    assert (after.counts["expired"], after.counts["filtered"]) == (1, 1)


def test_a_group_after_unique_sees_how_far_time_has_come_whatever_the_cut():
    unique = Unique(SOURCE, ("x",))
    node = GroupBy(unique, ("k",), (pl.len().alias("n"),), seconds(10))
    rows = table(
        [0, 0, 5, 30, 31, 2], [0, 1, 0, 0, 0, 1], k=list("abcdea"), x=list(range(6))
    )

    found = []
    for lengths in ([6], [1] * 6, [3, 1]):
        one = One(node)
        for piece in cut(rows, lengths):
            one.step(piece, PARTS)
        found.append(one.frame().rows())

    assert found[0] == found[1] == found[2] == [(k, 1 + (k == "a")) for k in "abcde"]
