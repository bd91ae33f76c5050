"""However the rows were cut and interleaved, the frame is the batch answer."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import CLOSED
from streamlab.plans.nodes import Filter, Source
from tests.engine.lab import (
    KEY,
    Lab,
    assert_same,
    batch_answer,
    cut,
    seconds,
    table,
    window,
)

pytestmark = pytest.mark.slow

x, i, q, b, s, d = (pl.col(name) for name in "xiqbsd")
DECOMPOSED = {
    "x_sum": x.sum(),
    "x_mean": x.mean(),
    "x_min": x.min(),
    "x_max": x.max(),
    "x_std": x.std(),
    "x_var": x.var(ddof=0),
    "x_count": x.count(),
    "i_sum": i.sum(),
    "i_mean": i.mean(),
    "i_min": i.min(),
    "i_max": i.max(),
    "q_sum": q.sum(),
    "q_var": q.var(),
    "b_any": b.any(),
    "b_all": b.all(),
    "b_sum": b.sum(),
    "d_min": d.min(),
    "d_max": d.max(),
    "n": pl.len(),
    "ratio": x.sum() / x.count(),
    "spread": x.max() - x.min(),
    "vwap": (x * q).sum() / q.sum(),
    "mean_of_two": (x + 2 * q).mean() * 3,
    "x_true": x.filter(b).sum(),
    "x_top": x.filter(q > 0).max(),
    "n_true": b.filter(q != 1).count(),
    "q_true_var": q.filter(b).var(),
}
RAW = {
    "median": x.median(),
    "low": x.quantile(0.3),
    "kinds": s.n_unique(),
    "s_min": s.min(),
    "first": x.first(),
    "last": s.last(),
    "list": q,
    "list_true": q.filter(b),
}
AGGS = {name: expr.alias(name) for name, expr in (DECOMPOSED | RAW).items()}
PARTS = (0, 1, 2)

floats = st.sampled_from([None, float("nan"), 0.25, -3.5, 100.0]) | st.floats(-1e3, 1e3)
row = st.fixed_dictionaries(
    {
        "time": st.integers(0, 60).map(lambda half: half / 2) | st.none(),
        "part": st.sampled_from(PARTS),
        "ahead": st.sampled_from([0, 0, 0, 0, 7200]),
        "x": floats,
        "i": st.sampled_from([None, 0, -1, 2**62, 2**62 + 3]),
        "q": st.integers(-5, 5) | st.none(),
        "b": st.booleans() | st.none(),
        "s": st.sampled_from([None, "", "a", "é", "zz"]),
    }
)
named = st.lists(st.sampled_from(sorted(AGGS)), min_size=1, max_size=5, unique=True)
cuts = st.lists(st.integers(0, 7), max_size=8)
lateness = st.sampled_from([None, 0, 2, 8])
by = st.sampled_from([(), ("s",), ("x", "b")])


def frame_of(drawn: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows with columns of every kind; some have no time, some one in the future."""
    stamps = [None if r["time"] is None else r["time"] - r["ahead"] for r in drawn]
    columns: dict[str, Any] = {
        name: pl.Series([r[name] for r in drawn], dtype=dtype)
        for name, dtype in {
            "x": pl.Float64(),
            "i": pl.Int64(),
            "q": pl.Int16(),
            "b": pl.Boolean(),
            "s": pl.String(),
        }.items()
    }
    columns["d"] = columns["q"].cast(pl.Int64).cast(pl.Datetime("ms"))
    return table(
        [r["time"] for r in drawn], [r["part"] for r in drawn], stamps, **columns
    )


def scale_of(rows: pl.DataFrame) -> Callable[[str], float]:
    """Σ|x| of what went into an aggregate; Σx² for a variance."""

    def total(name: str) -> float:
        column = rows.get_column("i" if name.startswith("i_") else "x")
        values = [float(v) for v in column.to_list() if v is not None and v == v]  # noqa: PLR0124
        power = 2 if name.endswith(("_var", "_std")) else 1
        return 10 * sum(abs(value) ** power for value in values) + 100

    return total


@settings(deadline=None, max_examples=80)
@given(
    drawn=st.lists(row, min_size=1, max_size=40),
    lengths=cuts,
    idle=st.lists(st.sets(st.sampled_from(PARTS)), min_size=9, max_size=9),
    named=named,
    late_by=lateness,
    by=by,
    filtered=st.booleans(),
)
def test_any_cut_gives_the_batch_answer_less_the_late_rows(
    *,
    drawn: list[dict[str, Any]],
    lengths: list[int],
    idle: list[set[int]],
    named: list[str],
    late_by: float | None,
    by: tuple[str, ...],
    filtered: bool,
):
    rows = frame_of(drawn)
    aggs = [AGGS[name] for name in named]
    source = Source("lab")
    parent = Filter(source, (q > -3,)) if filtered else source
    span = None if late_by is None else seconds(late_by)
    lab = Lab(window(parent, aggs, by=by, lateness=span))

    for piece, holding in zip(cut(rows, lengths), idle, strict=False):
        lab.step(piece, set(PARTS) - holding)

    went_in = rows.filter(q > -3) if filtered else rows
    expected = batch_answer(went_in, lab.lines("late"), aggs, by=by)
    assert_same(lab.frame(), expected, scale_of(rows))


@settings(deadline=None, max_examples=40)
@given(
    drawn=st.lists(row, min_size=1, max_size=30),
    lengths=cuts,
    others=cuts,
    late_by=lateness,
    final=st.booleans(),
)
def test_how_the_rows_are_cut_makes_no_difference_to_verdicts_and_closing(
    *,
    drawn: list[dict[str, Any]],
    lengths: list[int],
    others: list[int],
    late_by: float | None,
    final: bool,
):
    rows = frame_of(drawn)
    span = None if late_by is None else seconds(late_by)
    labs = [
        Lab(window(Source("lab"), [AGGS["n"], AGGS["list"]], by=("s",), lateness=span))
        for _ in range(2)
    ]

    for lab, sizes in zip(labs, (lengths, others), strict=True):
        for piece in cut(rows, sizes):
            lab.step(piece, PARTS)
        lab.step(rows.clear(), PARTS, final=final)

    one, other = labs
    assert one.frame().equals(other.frame())
    assert one.lines("late").equals(other.lines("late"))
    assert one.lines("closed").equals(other.lines("closed"))
    shut = one.frame().filter(pl.col(CLOSED))
    assert (
        one.lines("closed")
        .select("window_start", "s", "n", "list")
        .equals(shut.select("window_start", "s", "n", "list"))
    )
    assert shut.height == one.frame().height or not final


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(PARTS), st.integers(0, 6), st.integers(0, 8)),
        min_size=1,
        max_size=40,
    ),
    order=st.randoms(use_true_random=False),
    lengths=cuts,
)
def test_any_interleaving_gives_the_same_frame_if_no_row_trails_by_more_than_the_lateness(
    steps: list[tuple[int, int, int]], order: Random, lengths: list[int]
):
    late_by = 4.0
    newest = dict.fromkeys(PARTS, 0.0)
    by_part: dict[int, list[float]] = {part: [] for part in PARTS}
    for part, forward, back in steps:
        newest[part] += forward
        by_part[part].append(max(0.0, newest[part] - back * late_by / 8))
    turns = [part for part, times in by_part.items() for _ in times]
    aggs = [AGGS["list"], AGGS["first"], AGGS["x_sum"]]

    frames = []
    for _ in range(2):
        order.shuffle(turns)
        left = {part: list(enumerate(times)) for part, times in by_part.items()}
        taken = [(part, *left[part].pop(0)) for part in turns]
        rows = table(
            [time for _, _, time in taken],
            [part for part, _, _ in taken],
            q=[part * 100 + number for part, number, _ in taken],
            x=[float(number) for _, number, _ in taken],
        )
        lab = Lab(window(Source("lab"), aggs, lateness=seconds(late_by)))
        for piece in cut(rows, lengths):
            lab.step(piece, PARTS)
        lab.step(rows.clear(), PARTS, final=True)
        assert lab.lines("late").height == 0
        frames.append(lab.frame())

    assert frames[0].equals(frames[1])


@settings(deadline=None, max_examples=40)
@given(drawn=st.lists(row, max_size=30), lengths=cuts, late_by=lateness)
def test_every_row_is_passed_filtered_rejected_or_late(
    drawn: list[dict[str, Any]], lengths: list[int], late_by: float | None
):
    rows = frame_of(drawn)
    span = None if late_by is None else seconds(late_by)
    lab = Lab(window(Filter(Source("lab"), (b,)), [AGGS["n"]], lateness=span))

    for piece in cut(rows, lengths):
        outcome = lab.step(piece, PARTS)["window"]
        counts = outcome.counts
        assert counts.received == piece.height
        assert sum(counts[1:]) == piece.height
        assert outcome.rejected is not None
        assert outcome.rejected.height == counts.rejected

    kept = lab.frame().get_column("n").sum()
    assert kept == sum(outcome.counts.passed for outcome in lab.all["window"])
    assert lab.lines("late").height == sum(o.counts.late for o in lab.all["window"])


NAN = float("nan")
HARD: dict[
    str, tuple[str, list[Any]]
] = {  # per key the values of one column, merged at every place they can be cut
    "nan first": ("x", [NAN, 1.0, 2.0]),
    "nan last": ("x", [3.0, 1.0, NAN]),
    "nan only": ("x", [NAN, None, NAN]),
    "null first": ("x", [None, -2.0, 5.0]),
    "null last": ("x", [-2.0, 5.0, None]),
    "null only": ("x", [None, None, None]),
    "far from zero": ("x", [1e8, 1e8 + 1, 1e8 + 2]),
    "infinite": ("x", [float("inf"), 1.0, 2.0]),
    "one": ("x", [7.0]),
    "overflow": ("i", [2**63 - 1, 2**63 - 1, 5]),
    "one true": ("b", [False, None, True]),
    "one false": ("b", [True, None, False]),
    "no truth": ("b", [None, None, None]),
    "text": ("s", ["b", None, "a"]),
    "lone null": ("q", [None, 3, None]),
}


@pytest.mark.parametrize("place", [1, 2])
def test_every_aggregation_merges_values_of_every_kind(place: int):
    keys = [key for key, (_, values) in HARD.items() for _ in values]
    turns = [turn for _, values in HARD.values() for turn, _ in enumerate(values)]
    blank = {
        "time": 1.0,
        "part": 0,
        "ahead": 0,
        "x": 1.0,
        "i": 1,
        "q": 1,
        "b": True,
        "s": "a",
    }
    drawn = [
        blank | {column: value} for column, values in HARD.values() for value in values
    ]
    rows = frame_of(drawn).with_columns(
        pl.Series("k", keys), pl.Series("__seq", range(len(keys)))
    )
    aggs = list(AGGS.values())
    lab = Lab(window(Source("lab"), aggs, by=("k",)))

    early = pl.Series(turns) < place
    lab.step(rows.filter(early))
    lab.step(rows.filter(~early))

    ordered = pl.concat([rows.filter(early), rows.filter(~early)])
    expected = ordered.group_by("k").agg(*aggs).sort("k")
    assert_same(lab.frame().drop(KEY), expected)


def test_order_inside_a_window_is_event_time_then_partition_then_offset():
    rows = table([5, 2, 5, 2, 1], [1, 1, 0, 1, 0], q=[0, 1, 2, 3, 4], x=[0.0] * 5)
    lab = Lab(window(Source("lab"), [q.alias("list"), q.first().alias("first")]))

    for piece in cut(rows, [2, 1, 1]):
        lab.step(piece, (0, 1))

    assert lab.frame().get_column("list").to_list() == [[4, 1, 3, 2, 0]]
    assert lab.frame().get_column("first").to_list() == [4]
    assert lab.frame().get_column(KEY).len() == 1
