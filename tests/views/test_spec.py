"""Any altair chart over live frames: found, typed, named, and left otherwise alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
import polars as pl
import pytest

from streamlab.errors import UsageError
from streamlab.views.chart import rolling
from streamlab.views.spec import Compiled, compile_chart, frames_in
from tests.views.fakes import FakeFrame, HandPost

TRADES: dict[str, Any] = {
    "time": pl.Datetime("us", "UTC"),
    "price": pl.Float64,
    "size": pl.Int64,
    "symbol": pl.String,
}


@pytest.fixture
def live() -> FakeFrame:
    return FakeFrame(TRADES, time="time", name="live")


@pytest.fixture
def vwap() -> FakeFrame:
    schema = {
        "window_start": pl.Datetime("us"),
        "symbol": pl.String,
        "vwap": pl.Float64,
    }
    return FakeFrame(schema, key=("window_start", "symbol"), time="window_start")


def line(frame: FakeFrame, x: str = "time", y: str = "price") -> alt.Chart:
    drawn: alt.Chart = alt.Chart(frame).mark_line().encode(x=x, y=y, color="symbol")
    return drawn


def compiled(chart: Any, rows: int | None = None) -> Compiled:
    found = compile_chart(chart, frames_in(chart), rows)
    assert found is not None
    return found


def nodes(spec: Any) -> Iterator[dict[str, Any]]:
    """Every object of a spec."""
    if isinstance(spec, dict):
        yield spec
        spec = list(spec.values())
    if isinstance(spec, list):
        for item in spec:
            yield from nodes(item)


def data_names(spec: Any) -> set[str]:
    return {
        node["data"]["name"]
        for node in nodes(spec)
        if isinstance(node.get("data"), dict) and "name" in node["data"]
    }


def test_altair_takes_a_live_frame_and_keeps_it_as_it_is(
    live: FakeFrame, vwap: FakeFrame
):
    one, other = line(live), line(vwap, "window_start", "vwap")

    assert one.data is live
    assert one.properties(width=10).interactive().data is live
    for joined in (one + other, one | other, one & other):
        assert frames_in(joined) == [live, vwap]


def test_types_are_inferred_from_an_empty_frame(live: FakeFrame):
    encoding = compiled(line(live)).spec["encoding"]

    assert encoding["x"]["type"] == "temporal"
    assert encoding["y"]["type"] == "quantitative"
    assert encoding["color"]["type"] == "nominal"


def test_two_empty_frames_are_not_taken_for_one(live: FakeFrame):
    twin = FakeFrame(TRADES, time="time")
    chart = compiled(line(live) | line(twin))

    assert data_names(chart.spec) == {"live_0", "live_1"}
    assert [source.frame for source in chart.sources] == [live, twin]


def test_layers_concats_facets_repeats_and_lookups_are_walked(
    live: FakeFrame, vwap: FakeFrame
):
    def plain() -> alt.Chart:
        return line(live)

    charts = {
        "layer": plain() + line(vwap, "window_start", "vwap"),
        "hconcat": plain() | line(vwap, "window_start", "vwap"),
        "vconcat": plain() & line(vwap, "window_start", "vwap"),
        "concat": alt.concat(plain(), line(vwap, "window_start", "vwap"), columns=1),
        "lookup": plain().transform_lookup(
            "symbol", from_=alt.LookupData(vwap, "symbol", ["vwap"])
        ),
    }
    for name, chart in charts.items():
        assert data_names(compiled(chart).spec) == {"live_0", "live_1"}, name
    single = {
        "facet": plain().facet("symbol:N", columns=2),
        "row": plain().encode(row="symbol:N"),
        "repeat": alt.Chart(live)
        .mark_line()
        .encode(x="time", y=alt.Y(alt.repeat("row"), type="quantitative"))
        .repeat(row=["price", "size"]),
        "same twice": plain() & plain().mark_point(),
    }
    for name, chart in single.items():
        found = compiled(chart)
        assert data_names(found.spec) == {"live_0"}, name
        assert [source.frame for source in found.sources] == [live], name


def test_static_data_stay_whole_beside_live_ones(live: FakeFrame):
    static = pl.DataFrame({"x": range(6_000), "y": range(6_000)})
    chart = compiled(line(live) + alt.Chart(static).mark_point().encode(x="x", y="y"))

    assert [len(rows) for rows in chart.spec["datasets"].values()] == [6_000]
    assert [source.name for source in chart.sources] == ["live_0"]


def test_a_hostile_data_transformer_of_the_users_is_left_out_and_comes_back(
    live: FakeFrame,
):
    def never(_: Any) -> Any:
        raise AssertionError("our chart went through the user's transformer")

    before = alt.data_transformers.active
    alt.data_transformers.register("never", never)
    with alt.data_transformers.enable("never"):
        compiled(line(live))
        assert alt.data_transformers.active == "never"
    assert alt.data_transformers.active == before


def test_plain_altair_gets_the_rows_of_now_not_an_empty_picture(live: FakeFrame):
    live.push(
        pl.DataFrame(
            {"time": [None], "price": [1.5], "size": [1], "symbol": ["A"]},
            schema=TRADES,
        )
    )

    spec = line(live).to_dict()

    (rows,) = spec["datasets"].values()
    assert rows[0]["price"] == 1.5


def test_only_columns_that_the_chart_speaks_of_are_sent(live: FakeFrame):
    assert compiled(line(live)).sources[0].columns == ("time", "price", "symbol")
    filtered = line(live).transform_filter("datum.size > 3")
    assert compiled(filtered).sources[0].columns == tuple(TRADES)
    whole_tooltip = (
        alt.Chart(live).mark_line(tooltip={"content": "data"}).encode(x="time")
    )
    assert compiled(whole_tooltip).sources[0].columns is None
    counts = alt.Chart(live).mark_bar().encode(y="count()")
    assert compiled(counts).sources[0].columns == ("time",)


def test_column_names_with_dots_and_quotes_are_recognised():
    frame = FakeFrame({"a.b": pl.Float64, 'say "x"': pl.Float64, "other": pl.Float64})
    chart = alt.Chart(frame).mark_point().encode(x="a\\.b", y='say "x"')

    found = compiled(chart).sources[0]

    assert found.columns == ("a.b", 'say "x"')
    assert found.plan.axes == ("a.b", 'say "x"')


def test_times_in_utc_are_shown_in_utc_unless_the_user_says_otherwise(
    live: FakeFrame, vwap: FakeFrame
):
    berlin = FakeFrame({"at": pl.Datetime("us", "Europe/Berlin"), "v": pl.Float64})

    def scale(chart: alt.Chart) -> Any:
        return compiled(chart).spec["encoding"]["x"].get("scale")

    assert scale(line(live)) == {"type": "utc"}
    assert scale(line(vwap, "window_start", "vwap")) == {"type": "utc"}
    assert scale(alt.Chart(berlin).mark_line().encode(x="at", y="v")) is None
    own = alt.X("time").scale(type="time")
    assert scale(alt.Chart(live).mark_line().encode(x=own, y="price")) == {
        "type": "time"
    }


def test_a_single_chart_is_wide_unless_its_size_is_given(live: FakeFrame):
    assert compiled(line(live)).spec["config"]["view"]["continuousWidth"] == 640
    beside = compiled(line(live) | line(live))
    assert beside.spec["config"]["view"]["continuousWidth"] == 300
    assert compiled(line(live).properties(width=99)).spec["width"] == 99


def test_a_frame_whose_columns_are_unknown_waits_unless_types_are_written(
    live: FakeFrame,
):
    unknown = FakeFrame(None)

    assert compile_chart(line(unknown), [unknown], None) is None
    typed = alt.Chart(unknown).mark_line().encode(x="time:T", y="price:Q")
    assert compiled(typed).sources[0].columns is None


def test_a_misspelled_column_is_told_in_the_cell(live: FakeFrame):
    with pytest.raises(ValueError, match="prise"):
        compiled(line(live, y="prise"))


def test_a_chart_without_a_live_frame_is_refused():
    chart = alt.Chart(pl.DataFrame({"x": [1]})).mark_point().encode(x="x")

    with pytest.raises(UsageError, match=r"alt\.Chart\(live\)"):
        rolling(chart, post=HandPost())


def test_the_budget_of_each_frame_follows_the_marks_that_draw_it(
    live: FakeFrame, vwap: FakeFrame
):
    chart = line(live).mark_point() + line(vwap, "window_start", "vwap")

    plans = [source.plan for source in compiled(chart).sources]

    assert [(plan.how, plan.rows) for plan in plans] == [
        ("sample", 2_000),
        ("newest", 5_000),
    ]
    assert compiled(line(live), rows=77).sources[0].plan.rows == 77


def test_the_time_axis_has_a_clock_of_24_hours_unless_the_chart_says_otherwise():
    frame = FakeFrame({"t": pl.Datetime("us", "UTC"), "v": pl.Float64})
    plain = alt.Chart(frame).mark_line().encode(x="t:T", y="v:Q", tooltip="t:T")
    own = plain.encode(x=alt.X("t:T").axis(format="%d.%m."))

    first = compile_chart(plain, [frame], None)
    second = compile_chart(own, [frame], None)

    assert first is not None
    assert second is not None
    assert first.spec["encoding"]["x"]["axis"]["format"]["minutes"] == "%H:%M"
    assert "axis" not in first.spec["encoding"]["tooltip"]
    assert second.spec["encoding"]["x"]["axis"]["format"] == "%d.%m."
