"""Hopping windows and sessions for the tests: rows drawn at random, and what they must come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
from hypothesis import strategies as st

from streamlab.parity import evaluate
from streamlab.plans.nodes import Window
from tests.engine.lab import KEY, Lab, assert_same, cut, table

PARTS = (0, 1)
x, k = pl.col("x"), pl.col("k")
STATES = (
    pl.len().alias("n"),
    x.sum().alias("sum"),
    x.mean().alias("mean"),
    x.min().alias("min"),
    x.max().alias("max"),
    x.std().alias("std"),
    (x > 3).any().alias("any"),
    (x > 3).all().alias("all"),
    x.filter(x > 2).count().alias("some"),
)
ROWS = (
    x.median().alias("median"),
    x.first().alias("first"),
    x.last().alias("last"),
    x.implode().alias("list"),
)
BOTH = (*STATES, *ROWS)

Drawn = list[tuple[float | None, int, str | None, int | None]]
row = st.tuples(
    st.integers(0, 120).map(lambda half: half / 2) | st.none(),
    st.sampled_from(PARTS),
    st.sampled_from([None, "a", "b"]),
    st.integers(-5, 5) | st.none(),
)
rows = st.lists(row, min_size=1, max_size=40)
cuts = st.lists(st.integers(0, 7), max_size=8)
keys = st.sampled_from([(), ("k",), ("k", "x")])
aggs = st.lists(st.sampled_from(BOTH), min_size=1, max_size=4, unique_by=id).map(tuple)
latenesses = st.sampled_from([None, 0.0, 3.0, 20.0])


def frame_of(drawn: Drawn) -> pl.DataFrame:
    return table(
        [time for time, *_ in drawn],
        [part for _, part, *_ in drawn],
        k=pl.Series([key for *_, key, _ in drawn], dtype=pl.String),
        x=pl.Series([value for *_, value in drawn], dtype=pl.Float64),
    )


def run(
    node: Window,
    rows: pl.DataFrame,
    lengths: Sequence[int],
    *,
    holding: Iterable[int] = PARTS,
    final: bool = False,
    **given: Any,
) -> Lab:
    """All rows through one window, in pieces; counts hold after each."""
    lab = Lab(node, **given)
    for piece in cut(rows, lengths):
        counts = lab.step(piece, holding)["window"].counts
        assert counts.received == piece.height == sum(counts[1:])
    if final:
        lab.step(rows.clear(), holding, final=True)
    return lab


def kept(lab: Lab) -> pl.DataFrame:
    """The window frame as all its changes leave it, those that took rows out included."""
    frame = lab.all["window"][0].change.added.clear()
    for outcome in lab.all["window"]:
        added, removed = outcome.change.added, outcome.change.removed
        if removed.height:
            left = frame.join(removed, on=lab.key, how="anti", nulls_equal=True)
            assert left.height == frame.height - removed.height
            frame = left
        frame = pl.concat([frame, added]).unique(lab.key, keep="last")
    return frame.sort(lab.key)


def assert_batch_answer(lab: Lab, rows: pl.DataFrame) -> None:
    """What all changes leave is plain polars over all rows, less the pairs in `late`."""
    late = lab.lines("late")
    expected = evaluate(lab.node, rows, late=late if late.height else None).frame
    expected = expected.drop("_closed", "_partial").sort(lab.key)
    assert_same(kept(lab), expected, lambda _: 1e4)


def assert_alike(one: Lab, other: Lab) -> None:
    """Two cuts of the same rows: the same frame, closed and late rows, in the same order."""
    assert_same(kept(one), kept(other), lambda _: 1e4)
    for kind in ("closed", "late"):
        assert_same(one.lines(kind), other.lines(kind), lambda _: 1e4)


def seconds_of(frame: pl.DataFrame, column: str = KEY) -> list[float]:
    return [us / 1e6 for us in frame.get_column(column).dt.epoch("us").to_list()]
