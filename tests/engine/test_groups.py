"""Running groups: however the rows are cut, the frame is the batch answer; keys that leave."""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.plans.nodes import Filter, Rename
from tests.engine.keyed_lab import (
    PARTS,
    SOURCE,
    One,
    group,
    living,
    newest,
    rows_of,
    tombstones,
)
from tests.engine.lab import assert_same, cut, seconds, table
from tests.engine.test_stream_equals_batch import AGGS, frame_of, scale_of
from tests.engine.test_stream_equals_batch import row as any_row

x, n = pl.col("x"), pl.len().alias("n")
EDGES = {
    "x_first": x.first(),
    "x_last": x.last(),
    "s_last": pl.col("s").last(),
    "d_first": pl.col("d").first(),
    "b_last_true": pl.col("b").filter(pl.col("q") > 0).last(),
    "i_last_known": pl.col("i").drop_nulls().last(),
    "step": pl.col("q").last() - pl.col("q").first(),
}
RUNNING = AGGS | {name: expr.alias(name) for name, expr in EDGES.items()}
cuts = st.lists(st.integers(0, 7), max_size=8)
row = st.fixed_dictionaries(
    {
        "time": st.integers(0, 60).map(float) | st.none(),
        "part": st.sampled_from(PARTS),
        "ahead": st.sampled_from([0, 0, 0, 0, 7200]),
        "k": st.sampled_from(["a", "b", "c", None]),
        "x": st.integers(0, 9),
    }
)
steady_row = st.tuples(
    st.sampled_from(PARTS),
    st.integers(0, 4),
    st.integers(0, 12),
    st.sampled_from("abc"),
)


@settings(deadline=None, max_examples=80)
@given(
    drawn=st.lists(any_row, min_size=1, max_size=40),
    lengths=cuts,
    named=st.lists(
        st.sampled_from(sorted(RUNNING)), min_size=1, max_size=5, unique=True
    ),
    by=st.sampled_from([("s",), ("x", "b"), ("d",)]),
    filtered=st.booleans(),
)
def test_any_cut_gives_the_batch_answer(
    drawn: list[dict[str, Any]],
    lengths: list[int],
    named: list[str],
    by: tuple[str, ...],
    *,
    filtered: bool,
):
    rows = frame_of(drawn)
    aggs = [RUNNING[name] for name in named]
    parent = Filter(SOURCE, (pl.col("q") > -3,)) if filtered else SOURCE
    one = One(group(aggs, by, parent=parent))

    for piece in cut(rows, lengths):
        one.step(piece, PARTS)

    went_in = rows.filter(pl.col("q") > -3) if filtered else rows
    expected = went_in.group_by(by).agg(*aggs).sort(by)
    assert_same(one.frame(), expected, scale_of(rows))
    assert one.frame().columns == expected.columns
    assert one.counts["passed"] == went_in.height


@settings(deadline=None, max_examples=40)
@given(
    drawn=st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), min_size=1, max_size=30
    ),
    lengths=cuts,
    order=st.randoms(use_true_random=False),
)
def test_any_interleaving_gives_the_same_frame_if_keys_keep_to_partitions(
    drawn: list[tuple[str, int]], lengths: list[int], order: Random
):
    by_part = {
        part: [(k, v) for k, v in drawn if "abcd".index(k) % 2 == part]
        for part in PARTS
    }
    turns = [part for part, mine in by_part.items() for _ in mine]
    aggs = [x.last().alias("last"), x.implode().alias("all"), n]

    frames = []
    for _ in range(2):
        order.shuffle(turns)
        left = {part: list(mine) for part, mine in by_part.items()}
        taken = [(part, *left[part].pop(0)) for part in turns]
        rows = table(
            [1.0] * len(taken),
            [part for part, _, _ in taken],
            k=[key for _, key, _ in taken],
            x=[value for _, _, value in taken],
        )
        one = One(group(aggs))
        for piece in cut(rows, lengths):
            one.step(piece, PARTS)
        frames.append(one.frame())

    assert frames[0].equals(frames[1])


@settings(deadline=None, max_examples=150)
@given(
    drawn=st.lists(row, min_size=1, max_size=40),
    lengths=cuts,
    ttl=st.sampled_from([1.0, 5.0, 20.0]),
    compacted=st.booleans(),
    by_time=st.booleans(),
)
def test_keys_leave_row_by_row_whatever_the_cut(
    drawn: list[dict[str, Any]],
    lengths: list[int],
    ttl: float,
    *,
    compacted: bool,
    by_time: bool,
):
    if by_time:
        drawn = sorted(drawn, key=lambda each: each["time"] or 0)
    rows = rows_of(drawn, k=pl.String, x=pl.Int64)
    aggs = [n, x.sum().alias("sum"), x.last().alias("last"), x.median().alias("mid")]
    shown = rows.select("k", "x")
    node = group(aggs, ttl=seconds(ttl))
    one = One(newest(ttl=seconds(ttl)) if compacted else node)

    for piece in cut(rows, lengths):
        one.step(piece, PARTS)

    lives, fates = living(drawn, ttl)
    places = [place for rows_of_key in lives.values() for place in sorted(rows_of_key)]
    inside = shown[places].group_by("k", maintain_order=True)
    expected = (inside.last() if compacted else inside.agg(*aggs)).sort("k")
    assert_same(one.frame(), expected)
    assert {name: one.counts[name] for name in fates} == fates


@settings(deadline=None, max_examples=60)
@given(
    drawn=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9) | st.none()), max_size=30
    ),
    lengths=cuts,
    filtered=st.booleans(),
)
def test_a_tombstone_deletes_what_came_before_it_whatever_the_cut(
    drawn: list[tuple[str, int | None]], lengths: list[int], *, filtered: bool
):
    seen = x > 2
    parent = Filter(SOURCE, (seen,)) if filtered else SOURCE
    one = One(newest(("_key",), parent=parent))
    blank = table([0], _key=["a"], x=[0]).clear()
    left, at = list(drawn), 0

    one.step(blank)
    for length in [*lengths, len(drawn)]:
        some, left = left[:length], left[length:]
        good = [(key, value) for key, value in some if value is not None]
        dead = [
            (key, sum(v is not None for _, v in some[:place]))
            for place, (key, value) in enumerate(some)
            if value is None
        ]
        rows = table(
            [1.0] * len(good),
            _key=pl.Series([key for key, _ in good], dtype=pl.String),
            x=pl.Series([value for _, value in good], dtype=pl.Int64),
        )
        at += len(some)
        outcome = one.step(rows, tombstones=tombstones(*dead) if dead else None)
        assert outcome.tombstones == len(dead)

    held: dict[str, int] = {}
    for key, value in drawn:
        if value is None:
            held.pop(key, None)
        elif value > 2 or not filtered:
            held[key] = value
    assert dict(one.frame().select("_key", "x").rows()) == held


def test_a_tombstone_reaches_a_view_through_steps_that_rename_other_columns():
    one = One(newest(("_key",), parent=Rename(SOURCE, {"x": "y"})))
    one.step(table([1, 2], _key=["a", "b"], x=[1, 2]))

    outcome = one.step(
        table([0], _key=["a"], x=[0]).clear(), tombstones=tombstones(("a", 0), ("z", 0))
    )

    assert outcome.change.removed.rows() == [("a",)]
    assert one.frame().rows() == [("b", 2)]


def test_a_deleted_key_forgets_how_new_it_was():
    one = One(newest(("_key",), ttl=seconds(10)))
    one.step(table([100, 99], _key=["a", "b"], x=[1, 2]))

    one.step(table([95], _key=["a"], x=[3]), tombstones=tombstones(("a", 0)))
    one.step(table([106], _key=["c"], x=[4]))

    assert one.frame().rows() == [("b", 2), ("c", 4)]


def test_a_key_whose_time_to_live_is_over_leaves_without_a_row_of_its_own():
    one = One(group([n], ttl=seconds(10)))
    one.step(table([0, 5], k=["a", "b"]))

    outcome = one.step(table([12], k=["b"]))

    assert outcome.change.removed.rows() == [("a",)]
    assert one.frame().rows() == [("b", 2)]
    assert outcome.change.watermark is not None


def test_a_row_of_a_key_that_is_gone_begins_it_anew_in_the_same_batch():
    one = One(group([n, x.first().alias("first")], ttl=seconds(10)))
    one.step(table([0, 3, 30, 31], k=["a", "a", "b", "a"], x=[1, 2, 3, 4]))

    assert one.frame().rows() == [("a", 1, 4), ("b", 1, 3)]
    assert one.counts["passed"] == 4


def test_a_row_of_a_key_that_is_gone_begins_it_anew_in_a_later_batch():
    one = One(
        group([n, x.max().alias("most"), x.median().alias("mid")], ttl=seconds(9))
    )
    one.step(table([0, 1], k=["a", "a"], x=[8, 6]))
    one.step(table([30, 31, 32], k=["b", "a", "a"], x=[1, 2, 4]))

    assert one.frame().rows() == [("a", 2, 4, 3.0), ("b", 1, 1, 1.0)]


def test_a_key_that_was_in_use_leaves_once_it_no_longer_is():
    one = One(group([n], ttl=seconds(10)))
    for second in (0, 12):
        one.step(table([second], k=["b"]))
        one.step(table([second], k=["a"]))

    one.step(table([21.5], k=["c"]))
    assert one.frame().rows() == [("a", 1), ("b", 1), ("c", 1)]
    one.step(table([22], k=["c"]))

    assert one.frame().rows() == [("c", 2)]


def test_an_older_row_makes_a_key_no_older():
    for lengths in ([3], [1, 1, 1], [2, 1]):
        one = One(group([n], ttl=seconds(10)))
        for piece in cut(table([20, 15, 29], k=["a", "a", "b"]), lengths):
            one.step(piece)

        assert one.frame().rows() == [("a", 2), ("b", 1)]


def test_a_key_of_an_earlier_batch_that_is_gone_begins_anew_within_a_later_one():
    x_all = x.implode().alias("all")
    one = One(group([n, x.sum().alias("sum"), x_all], ttl=seconds(10)))
    one.step(table([0, 1], k=["a", "a"], x=[1, 2]))

    outcome = one.step(table([30, 31, 32], k=["b", "a", "a"], x=[3, 4, 5]))

    assert one.frame().rows() == [("a", 2, 9, [4, 5]), ("b", 1, 3, [3])]
    assert outcome.change.removed.is_empty()


def test_a_silent_partition_keeps_keys_alive_until_it_is_idle():
    one = One(group([n], ttl=seconds(10)))
    one.step(table([0, 0, 60], [0, 1, 0], k=["a", "b", "c"]), PARTS)
    assert one.frame().height == 3

    outcome = one.step(table([0], k=["a"]).clear(), (0,))

    assert sorted(outcome.change.removed.rows()) == [("a",), ("b",)]


def test_the_end_of_a_bounded_input_leaves_all_keys():
    one = One(group([n], ttl=seconds(10)))
    one.step(table([0, 5], k=["a", "b"]), final=True)

    assert one.frame().height == 2


def test_memory_does_not_grow_with_keys_that_have_gone():
    one = One(
        group([n, x.last().alias("last"), x.median().alias("m")], ttl=seconds(10))
    )
    sizes = []
    for at in range(0, 3_000, 10):
        keys = [f"key {at + more}" for more in range(10)]
        one.step(table(range(at, at + 10), k=keys, x=[0] * 10))
        sizes.append(one.all[-1].state_bytes)

    assert one.frame().height == 10
    assert max(sizes[20:]) < 1.5 * max(sizes[:20])


def test_beyond_the_limit_the_keys_that_changed_least_recently_leave():
    one = One(group([n]), max_open=3)
    one.step(table([1, 2, 3], k=["a", "b", "c"]))

    outcome = one.step(table([4, 5, 6], k=["a", "d", "e"]))

    assert sorted(outcome.change.removed.rows()) == [("b",), ("c",)]
    assert outcome.evicted == 2
    assert one.frame().rows() == [("a", 2), ("d", 1), ("e", 1)]
    one.step(table([7], k=["b"]))
    assert one.frame().rows() == [("b", 1), ("d", 1), ("e", 1)]


def test_more_keys_in_one_batch_than_there_is_room_for_leave_the_newest():
    one = One(newest(), max_open=2)

    outcome = one.step(table(range(5), k=list("abcde"), x=[0] * 5))

    assert one.frame().get_column("k").to_list() == ["d", "e"]
    assert (outcome.evicted, outcome.change.removed.height) == (3, 0)


def test_a_frame_derived_later_begins_with_all_groups():
    node = group([n])
    one = One(node)
    one.step(table([1, 2, 3], k=["a", "b", "a"]))

    later = one.graph.add(Filter(node, (pl.col("n") > 1,)), None)

    first = one.graph.first_change(later)
    assert first is not None
    assert first.change.added.rows() == [("a", 2)]


def test_a_filter_on_a_group_frame_takes_rows_back_that_stop_passing_or_leave():
    node = group([n], ttl=seconds(10))
    one = One(Filter(node, (pl.col("n") < 3,)))
    one.step(table([1, 2, 3], k=["a", "b", "a"]))
    assert one.step(table([4], k=["a"])).change.removed.rows() == [("a",)]

    removed = one.step(table([12], k=["c"])).change.removed

    assert removed.rows() == [("b",)]
    assert one.frame().rows() == [("c", 1)]


ANY_TYPE = {
    "int": pl.Series([1, None, 3], dtype=pl.Int16),
    "wide": pl.Series([2**70, None, 3], dtype=pl.Int128),
    "float": pl.Series([1.5, float("nan"), None]),
    "small": pl.Series([1.5, 0.1, None], dtype=pl.Float32),
    "text": pl.Series(["a", None, "é"]),
    "bytes": pl.Series([b"a", None, b"\xff"]),
    "bool": pl.Series([True, None, False]),
    "date": pl.Series([1, None, 3], dtype=pl.Int32).cast(pl.Date),
    "nanos": pl.Series([1, None, 3]).cast(pl.Datetime("ns", "Europe/Berlin")),
    "clock": pl.Series([1, None, 3]).cast(pl.Time),
    "span": pl.Series([1, None, 3]).cast(pl.Duration("us")),
    "enum": pl.Series(["u", None, "v"], dtype=pl.Enum(["u", "v"])),
    "decimal": pl.Series(["1.50", None, "2.25"]).cast(pl.Decimal(10, 2)),
    "list": pl.Series([[1, 2], None, []], dtype=pl.List(pl.Int64)),
    "struct": pl.Series([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    "times": pl.Series([[1], None, [2, None]]).cast(pl.List(pl.Datetime("ms"))),
    "nothing": pl.Series([None, None, None], dtype=pl.Null),
}


@pytest.mark.parametrize("name", sorted(ANY_TYPE))
def test_first_and_last_hold_values_of_any_type(name: str):
    values = ANY_TYPE[name]
    rows = table([1, 2, 3], k=["a", "a", "b"], v=values)
    v = pl.col("v")
    aggs = [v.first().alias("first"), v.last().alias("last")]
    one = One(group(aggs))

    for piece in cut(rows, [1, 1]):
        one.step(piece)

    expected = rows.group_by("k").agg(*aggs).sort("k")
    assert one.frame().equals(expected, null_equal=True)
    assert one.frame().schema == expected.schema


@pytest.mark.parametrize("name", sorted(set(ANY_TYPE) - {"nothing"}))
def test_keys_may_be_of_any_type(name: str):
    rows = table([1, 2, 3, 4], k=ANY_TYPE[name][[0, 1, 2, 0]])
    one = One(group([n], ttl=seconds(60)), max_open=3)

    for piece in cut(rows, [1, 2]):
        one.step(piece)

    expected = rows.group_by("k").agg(n).sort("k")
    assert one.frame().equals(expected, null_equal=True)
