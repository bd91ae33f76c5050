"""Fewer rows, the same picture: the extremes per pixel, however the rows came."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import Change
from streamlab.views.thinning import Plan, bin_width, extremes, plan_for
from streamlab.views.window import AppendWindow

LINE = Plan("extremes", 200, "x", ("y",), ("s",))
POINTS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(0, 1000)),
        st.one_of(st.none(), st.just(float("nan")), st.floats(-50, 50)),
        st.sampled_from(["a", "b", None]),
    ),
    min_size=1,
    max_size=300,
)


def frame(rows: Any):
    return pl.DataFrame(
        rows, schema={"x": pl.Float64, "y": pl.Float64, "s": pl.String}, orient="row"
    )


def outline(rows: pl.DataFrame, width: float) -> pl.DataFrame:
    """What a line over these rows looks like, per pixel and series."""
    x, y = pl.col("x"), pl.col("y").fill_nan(None)
    return (
        rows.filter(x.is_not_null())
        .group_by((x / width).floor().alias("bin"), "s")
        .agg(
            x.min().alias("first"), x.max().alias("last"), y.min(), y.max().alias("top")
        )
        .sort("bin", "s")
    )


@settings(deadline=None, max_examples=80)
@given(POINTS, st.sampled_from([0.5, 8.0, 64.0, 1024.0]))
def test_the_extremes_draw_the_outline_of_all_rows(points: list[Any], width: float):
    rows = frame(points)

    few = rows[extremes(rows, LINE, width)]

    assert outline(few, width).equals(outline(rows, width))


@settings(deadline=None, max_examples=60)
@given(POINTS, st.data())
def test_extremes_of_extremes_and_the_next_batch_are_those_of_all_rows(
    points: list[Any], data: st.DataObject
):
    rows = frame(points)
    cut = data.draw(st.integers(0, rows.height))
    width = 64.0

    part = rows[:cut]
    merged = pl.concat([part[extremes(part, LINE, width)], rows[cut:]])
    few = merged[extremes(merged, LINE, width)]

    assert outline(few, width).equals(outline(rows, width))
    # Two neighbouring bins join into one of double width.
    wide = few[extremes(few, LINE, 2 * width)]
    assert outline(wide, 2 * width).equals(outline(rows, 2 * width))


def test_a_long_line_keeps_to_the_budget_and_to_its_outline():
    rows = frame([(float(n), float(n * 37 % 101), "ab"[n % 2]) for n in range(5_000)])
    window = AppendWindow(LINE, None)

    for start in range(0, 5_000, 250):
        change = Change(rows[start : start + 250], pl.DataFrame(), 0, start, None)
        window.apply(change)

    shown = window.take().rows
    assert shown.height <= 200
    assert window.thinned == "extremes"
    assert outline(shown, 256.0).equals(outline(rows, 256.0))


def test_points_are_sampled_at_a_steady_stride():
    rows = frame([(float(n), 1.0, "a") for n in range(1_000)])
    window = AppendWindow(Plan("sample", 100), None)

    for start in range(0, 1_000, 50):
        window.apply(Change(rows[start : start + 50], pl.DataFrame(), 0, start, None))

    xs = window.take().rows["x"].to_list()
    assert xs == [float(n) for n in range(0, 1_000, 16)]
    assert window.thinned == "sample"


def test_a_bin_is_as_wide_as_a_power_of_two_even_when_x_does_not_spread():
    assert bin_width(frame([(0.0, 1.0, "a"), (999.0, 1.0, "a")]), LINE) == 32.0
    assert bin_width(frame([(5.0, 1.0, "a")]), LINE) == 0.0
    assert len(extremes(frame([(None, 1.0, "a")]), LINE, 1.0)) == 0


X = {"field": "x", "type": "temporal"}
Y = {"field": "y", "type": "quantitative"}
MEAN = {**Y, "aggregate": "mean"}
S = {"field": "s", "type": "nominal"}


@pytest.mark.parametrize(
    ("mark", "encoding", "how", "rows"),
    [
        ("line", {"x": X, "y": Y, "color": S}, "extremes", 5_000),
        ({"type": "line", "point": True}, {"x": X, "y": Y}, "extremes", 2_000),
        ("area", {"x": X, "y": Y}, "extremes", 2_000),
        ("area", {"x": X, "y": Y, "color": S}, "newest", 2_000),
        ("area", {"x": X, "y": {**Y, "stack": None}, "color": S}, "extremes", 2_000),
        ("point", {"x": X, "y": Y}, "sample", 2_000),
        ("point", {"x": S, "y": Y}, "newest", 2_000),
        ("line", {"x": X, "y": MEAN}, "newest", 5_000),
        ("bar", {"x": X, "y": Y}, "newest", 5_000),
    ],
)
def test_the_marks_decide_how_a_frame_may_be_thinned(
    mark: Any, encoding: dict[str, Any], how: str, rows: Any
):
    plan = plan_for([{"mark": mark, "encoding": encoding}], plain=True, rows=None)

    assert (plan.how, plan.rows) == (how, rows)


def test_a_chart_that_transforms_its_rows_gets_the_newest_whole():
    line = {"mark": "line", "encoding": {"x": X, "y": Y}}

    assert plan_for([line], plain=False, rows=50) == Plan("newest", 50, axes=("x", "y"))
