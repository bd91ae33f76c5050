"""When rows happened, when they came, and where the watermark stood: the picture's rows."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Filter, Late, Node, Source, Trail
from tests.engine.lab import cut, moment, seconds, table, window

SOURCE = Source("rows")


def trail(parent: Node = SOURCE, lateness: float | None = 2, late: Any = "earlier"):
    off = None if lateness is None else seconds(lateness)
    return Trail(parent, None, off, seconds(3600), late)


def run(
    node: Node, pieces: list[pl.DataFrame], holding: frozenset[int] = frozenset({0})
) -> pl.DataFrame:
    graph = Graph()
    handle = graph.add(node, None)
    put = [graph.step(Batch(rows, holding)) for rows in pieces]
    return pl.concat([o[handle].change.added for o in put if handle in o])


def test_each_row_is_told_with_the_watermark_of_its_own_partition():
    rows = table([1, 5, 9, 4, 2], [0, 1, 0, 1, 1], stamps=[2, 6, 10, 11, 12])

    lines = run(trail(), [rows], frozenset({0, 1}))

    marks = [None, *(moment(s - 2) for s in (1, 5, 5, 5))]
    assert lines["watermark"].to_list() == marks
    assert lines["row"].to_list() == [*["in time"] * 4, "late"]
    assert lines["arrived"].to_list() == [moment(s) for s in (2, 6, 10, 11, 12)]
    assert lines["event_time"].to_list() == [moment(s) for s in (1, 5, 9, 4, 2)]


def test_a_row_as_late_as_allowed_is_in_time():
    lines = run(trail(), [table([10, 8, 7.9])])

    assert lines["row"].to_list() == ["in time", "in time", "late"]


def test_filtered_rows_move_the_watermark_and_are_not_shown():
    rows = table([1, 9, 3], price=[1, 0, 1])
    shown = Filter(SOURCE, (pl.col("price") > 0,))

    lines = run(trail(shown), [rows])

    assert lines["row"].to_list() == ["in time", "late"]
    assert lines["watermark"].to_list() == [moment(-1), moment(7)]


def test_rows_without_a_time_or_from_the_future_are_left_out():
    rows = table([1, None, 90_000, 2], stamps=[1, 1, 1, 2])

    lines = run(trail(), [rows])

    assert lines["event_time"].to_list() == [moment(1), moment(2)]
    assert lines["watermark"].to_list() == [moment(-1), moment(0)]


def test_late_rows_of_a_window_can_be_shown_as_they_came():
    counts = window(SOURCE, [pl.len().alias("n")], lateness=seconds(0))
    rows = table([1, 12, 3, 13], stamps=[1, 12, 14, 15])

    lines = run(trail(Late(counts), None, "all"), [rows])

    assert lines["event_time"].to_list() == [moment(3)]
    assert lines["arrived"].to_list() == [moment(14)]
    assert lines["row"].to_list() == ["late"]
    assert lines["watermark"].to_list() == [None]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=20),
    lengths=st.lists(st.integers(0, 6), max_size=6),
)
def test_how_the_stream_was_cut_changes_nothing(
    rows: list[tuple[int, int]], lengths: list[int]
):
    whole = table([t for t, _ in rows], [p for _, p in rows])
    every = frozenset({0, 1, 2})

    once = run(trail(), [whole], every)
    pieces = run(trail(), cut(whole, lengths), every)

    assert_frame_equal(once, pieces)
