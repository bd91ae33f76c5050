"""Frames of row-wise steps, over a source and over a window; and frames that fail."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import HIDDEN
from streamlab.engine.faults import PlanError
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.plans.nodes import (
    Closed,
    Drop,
    Errors,
    Explode,
    Filter,
    Late,
    Node,
    Recompute,
    Rename,
    Select,
    Source,
    Unnest,
    WithColumns,
)
from tests.engine.lab import KEY, cut, moment, seconds, table, window

SOURCE = Source("lab")
N = pl.len().alias("n")
x, y = pl.col("x"), pl.col("y")


def ran(node: Node, *batches: pl.DataFrame) -> list[Outcome]:
    graph = Graph()
    handle = graph.add(node, None)
    return [graph.step(Batch(rows, frozenset({0})))[handle] for rows in batches]


def test_steps_are_fused_and_hidden_columns_stay():
    node = WithColumns(Filter(SOURCE, (x > 1, y != "b")), ((x * 2).alias("double"),))
    node_of_two = Rename(Drop(node, ("y",)), {"double": "twice"})

    (outcome,) = ran(node_of_two, table([1, 2, 3], x=[1, 2, 3], y=["a", "b", "c"]))

    assert outcome.change.added.columns == ["x", "twice", *HIDDEN] or set(
        outcome.change.added.columns
    ) == {"x", "twice", *HIDDEN}
    assert outcome.change.added.select("x", "twice").rows() == [(3, 6)]
    assert outcome.change.added.get_column("__time").to_list() == [moment(3)]
    assert outcome.change.watermark == moment(3)


def test_a_null_test_holds_a_row_back_and_is_counted():
    (outcome,) = ran(Filter(SOURCE, (x > 1,)), table([1, 2, 3], x=[1, None, 3]))

    assert outcome.counts == (3, 1, 2, 0, 0, 0)


def test_each_filter_counts_what_it_holds_back():
    node = Filter(WithColumns(Filter(SOURCE, (x > 1,)), ((-x).alias("x"),)), (x > -4,))

    (outcome,) = ran(node, table([0] * 5, x=[1, 2, 3, 4, 5]))

    assert outcome.change.added.get_column("x").to_list() == [-2, -3]
    assert outcome.counts == (5, 2, 3, 0, 0, 0)


def test_a_record_that_explodes_counts_once():
    node = Filter(Explode(SOURCE, ("x",)), (x > 1,))
    lists = pl.Series([[1, 2, 3], [0, 1], [], None, [5]], dtype=pl.List(pl.Int64))

    (outcome,) = ran(node, table([0] * 5, x=lists))

    assert outcome.change.added.get_column("x").to_list() == [2, 3, 5]
    assert outcome.counts == (5, 2, 3, 0, 0, 0)


def test_exploded_rows_in_windows_count_their_record_once():
    node = window(Explode(SOURCE, ("x",)), [x.alias("list")], lateness=seconds(0))
    lists = pl.Series([[1, 2], [3], [4, 5], [6, 7]], dtype=pl.List(pl.Int64))

    (outcome,) = ran(node, table([1, 30, 2, None], x=lists))

    assert outcome.change.added.get_column("list").to_list() == [[3], [1, 2]]
    assert outcome.counts == (4, 2, 0, 1, 1, 0)


def test_select_and_unnest_keep_the_order_of_rows():
    structs = pl.Series([{"a": 1, "b": "x"}, {"a": 2, "b": None}])
    (outcome,) = ran(
        Unnest(Select(SOURCE, (pl.col("s"),)), ("s",)), table([1, 2], s=structs)
    )

    assert outcome.change.added.select("a", "b").rows() == [(1, "x"), (2, None)]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    cents=st.lists(st.integers(0, 10_000), min_size=20, max_size=40),
    lengths=st.lists(st.integers(1, 3), min_size=40, max_size=40),
)
def test_values_in_small_batches_are_those_in_large_ones_to_the_bit(
    cents: list[int], lengths: list[int]
):
    # By constants, which polars computes otherwise for a lone value than for many.
    apart = (
        (x / 3).alias("third"),
        (x // 0.1).alias("tenths"),
        (x % 0.1).alias("rest"),
    )
    rows = table([1.0] * len(cents), x=[each / 100 for each in cents])
    whole = pl.concat([rows] * 2, rechunk=True).with_columns(apart).head(rows.height)

    pieces = [
        o.change.added for o in ran(WithColumns(SOURCE, apart), *cut(rows, lengths))
    ]
    counted = window(SOURCE, [(x // 0.1).sum().alias("tenths")], by=("x",))
    windows = [outcome.change.added for outcome in ran(counted, *cut(rows, lengths))]

    assert pl.concat(pieces).select(whole.columns).equals(whole)
    expected = whole.group_by("x").agg(pl.col("tenths").sum()).sort("x")
    got = pl.concat(windows).unique("x", keep="last", maintain_order=True)
    assert got.select("x", "tenths").sort("x").equals(expected)


def test_a_row_that_alone_passes_a_filter_is_computed_as_one_of_many():
    cents = [each / 100 for each in range(1, 2_000, 7)]
    apart = ((x // 0.1).alias("tenths"), (x / 3).alias("third"))
    many = table([1.0] * len(cents), x=cents)
    whole = many.with_columns(apart)

    for at in (4, 9, 13, 32, 142, 200):
        node = WithColumns(Filter(SOURCE, (x == cents[at],)), apart)
        (outcome,) = ran(node, many)
        assert outcome.counts == (len(cents), 1, len(cents) - 1, 0, 0, 0)
        assert outcome.change.added.select(whole.columns).equals(whole.slice(at, 1))


def test_rows_of_a_window_that_stop_passing_a_filter_are_removed_once():
    frame = window(SOURCE, [x.sum().alias("total")], by=("y",))
    node = Filter(frame, (pl.col("total") < 5,))

    outcomes = ran(
        node,
        table([1, 1], x=[1, 9], y=["a", "b"]),
        table([2], x=[7], y=["a"]),
        table([3, 3], x=[1, 1], y=["a", "b"]),
        table([4], x=[-8], y=["a"]),
    )

    assert [o.change.added.get_column("total").to_list() for o in outcomes] == [
        [1],
        [],
        [],
        [1],
    ]
    assert [o.change.removed.rows() for o in outcomes] == [
        [],
        [(moment(0), "a")],
        [],
        [],
    ]
    assert outcomes[0].change.removed.columns == [KEY, "y"]
    assert outcomes[1].counts == (1, 0, 1, 0, 0, 0)


def test_dropped_keys_stay_in_the_change_and_are_named_as_hidden():
    frame = window(SOURCE, [N], by=("y",))
    node = Select(Rename(frame, {"y": "who"}), (pl.col("n") * 2,))

    (outcome,) = ran(node, table([1, 1], y=["a", "b"]))

    assert outcome.hidden_key == (KEY, "who")
    assert outcome.change.added.columns == ["n", KEY, "who"]
    assert sorted(outcome.change.added.select("who", "n").rows()) == [
        ("a", 2),
        ("b", 2),
    ]
    assert outcome.change.removed.columns == [KEY, "who"]


def test_a_step_that_writes_over_a_key_is_refused():
    frame = window(SOURCE, [N], by=("y",))

    (outcome,) = ran(WithColumns(frame, (pl.lit("z").alias("y"),)), table([1], y=["a"]))

    assert isinstance(outcome.error, PlanError)
    assert "'y' is part of the key" in str(outcome.error)


def test_frames_that_name_one_window_share_its_state():
    frame = window(SOURCE, [N])
    graph = Graph()
    plans: list[Node] = [
        frame,
        Filter(frame, (pl.col("n") > 1,)),
        Closed(frame),
        Late(frame),
    ]
    handles = [graph.add(node, None) for node in plans]

    outcomes = graph.step(Batch(table([1, 2, 11]), frozenset({0})))

    assert len({outcomes[handle].state_bytes for handle in handles}) == 1
    assert graph.state_bytes == outcomes[handles[0]].state_bytes
    assert {outcomes[handle].change.version for handle in handles} == {1}


def test_a_failing_frame_names_step_and_record_and_its_siblings_go_on():
    bad = WithColumns(Filter(SOURCE, (x != 2,)), (y.cast(pl.Int64).alias("z"),))
    graph = Graph()
    broken, fine = graph.add(bad, None), graph.add(Filter(SOURCE, (x > 0,)), None)
    rows = table(
        [1, 2, 3, 4, 5], x=[1, 2, 3, 4, 5], y=["1", "oops", "3", "four", "five"]
    )

    outcomes = graph.step(Batch(rows, frozenset({0})))

    error = outcomes[broken].error
    assert isinstance(error, PlanError)
    assert error.step is bad
    assert error.index == 3
    assert error.record is not None
    assert error.record.select("y", "__seq").rows() == [("four", 3)]
    assert "four" in str(error.__cause__)
    assert outcomes[broken].change.added.get_column("z").to_list() == [1, 3]
    assert outcomes[fine].error is None
    assert outcomes[fine].change.added.height == 5

    again = graph.step(Batch(rows, frozenset({0})))
    assert broken not in again
    assert again[fine].change.added.height == 5


def test_a_window_that_fails_takes_the_rows_before_and_stops_with_its_frames():
    frame = window(SOURCE, [y.cast(pl.Int64).sum().alias("total")], lateness=seconds(0))
    graph = Graph()
    plans: list[Node] = [
        frame,
        Filter(frame, (pl.col("total") > 0,)),
        Closed(frame),
        SOURCE,
    ]
    handles = [graph.add(node, None) for node in plans]
    rows = table([1, 12, 13, 14], y=["1", "2", "three", "4"])

    outcomes = graph.step(Batch(rows, frozenset({0})))

    error = outcomes[handles[0]].error
    assert isinstance(error, PlanError)
    assert (error.step, error.index) == (frame, 2)
    assert error.record is not None
    assert error.record.get_column("y").to_list() == ["three"]
    assert all(outcomes[handle].error is error for handle in handles[:3])
    assert sorted(outcomes[handles[0]].change.added.get_column("total").to_list()) == [
        1,
        2,
    ]
    assert outcomes[handles[2]].change.added.height == 1
    assert outcomes[handles[3]].error is None
    assert set(graph.step(Batch(rows, frozenset({0})))) == {handles[3]}


def test_a_function_that_fails_on_a_window_as_a_whole_names_the_window():
    def never(values: pl.Series) -> int:
        raise ZeroDivisionError(f"{len(values)} values")

    agg = x.map_batches(never, return_dtype=pl.Int64, returns_scalar=True).alias("r")
    frame = window(SOURCE, [agg])

    (outcome,) = ran(frame, table([1, 2], x=[1, 2]))

    assert isinstance(outcome.error, PlanError)
    assert outcome.error.step is frame
    assert outcome.error.record is None


def test_a_removed_frame_is_gone():
    graph = Graph()
    handle = graph.add(SOURCE, None)

    graph.remove(handle)

    assert graph.step(Batch(table([1]), frozenset({0}))) == {}


def test_a_frame_that_has_seen_no_columns_has_no_first_change():
    graph = Graph()

    assert graph.first_change(graph.add(window(SOURCE, [N]), None)) is None
    assert graph.step(Batch(pl.DataFrame(), frozenset())) == {}


def test_a_seed_without_rows_tells_the_columns():
    graph = Graph()

    first = graph.first_change(
        graph.add(window(SOURCE, [N], by=("y",)), table([], y=[]))
    )

    assert first is not None
    assert first.change.added.columns == [
        KEY,
        "window_end",
        "y",
        "n",
        "_closed",
        "_partial",
    ]


@pytest.mark.parametrize("node", [Errors(SOURCE), Recompute(SOURCE, lambda lf: lf)])
def test_what_is_not_run_batch_by_batch_is_refused(node: Node):
    with pytest.raises(TypeError, match="does not run batch by batch"):
        Graph().add(node, None)
