"""Lateness, in numbers and as a chart."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.errors import SpanError, UsageError
from streamlab.views.chart import RollingChart
from tests.scenarios.lab import EPOCH_MS, put, row, topic


def came(name: str, partition: int, *pairs: tuple[float, float]) -> None:
    """Records as (when they happened, when they came)."""
    put(
        name,
        partition,
        [json.dumps(row(happened)).encode() for happened, _ in pairs],
        [EPOCH_MS + round(arrived * 1000) for _, arrived in pairs],
    )


def span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.fixture
def live(name: str) -> sl.LiveFrame:
    source = topic(name, 2)
    came(name, 0, (1, 1), (4, 4), (2, 5), (9, 9), (3, 13))
    came(name, 1, (1, 1), (2, 2), (12, 12))
    day = sl.clock(speed=0)
    frame = source.live(clock=day)
    day.step("1m")
    return frame


def test_lateness_is_told_per_partition_and_in_all(live: sl.LiveFrame):
    told = live.lateness()

    assert told.columns == [
        "partition",
        "records",
        "p50",
        "p99",
        "max",
        "delay_p50",
        "delay_p99",
        "delay_max",
    ]
    assert told["partition"].to_list() == ["p0", "p1", "all"]
    assert told["records"].to_list() == [5, 3, 8]
    assert told["p50"].to_list() == [span(0)] * 3
    assert told["max"].to_list() == [span(6), span(0), span(6)]
    assert told["delay_max"].to_list() == [span(10), span(0), span(10)]


def test_of_some_rows_it_is_told_how_far_they_trail_all(live: sl.LiveFrame):
    few = live.filter(pl.col("time").dt.second() < 4)

    assert few.lateness()["records"].to_list() == [3, 2, 5]
    assert few.lateness()["max"].to_list() == [span(6), span(0), span(6)]
    assert few.select("price").lateness()["records"].to_list() == [3, 2, 5]


def test_a_window_tells_the_lateness_of_its_source(live: sl.LiveFrame):
    counts = live.window("2s", lateness="1s").agg(n=pl.len())

    assert counts.lateness().equals(live.lateness())
    assert counts.late.lateness().equals(live.lateness())


def test_before_the_first_record_there_is_nothing_to_tell(name: str):
    told = topic(name).live().lateness()

    assert told.rows() == [("all", 0, *[None] * 6)]


def drawn(chart: RollingChart) -> dict[str, pl.DataFrame]:
    """The rows of the picture: of all, of the late ones if they are apart, of the line."""
    rows, *late, line = (frame.snapshot().df for frame in chart.frames)
    return {"rows": rows, "line": line, **({"late": late[0]} if late else {})}


def late(frame: pl.DataFrame) -> list[Any]:
    return frame.filter(pl.col("row") == "late")["event_time"].dt.second().to_list()


def test_the_chart_of_a_source_marks_what_a_lateness_would_lose(live: sl.LiveFrame):
    assert late(drawn(live.plot.lateness("2s"))["rows"]) == [3]
    assert late(drawn(live.plot.lateness("7s"))["rows"]) == []
    assert late(drawn(live.plot.lateness())["rows"]) == []


def test_the_chart_of_a_window_marks_its_own_late_rows(live: sl.LiveFrame):
    counts = live.window("4s", lateness="0s").agg(n=pl.len())

    picture = drawn(counts.plot.lateness())

    assert late(picture["late"]) == counts.late.df["time"].dt.second().to_list() == [3]
    assert late(picture["rows"]) == []
    assert picture["rows"].height == 8


def test_the_chart_of_rows_in_order_marks_its_own_late_rows(live: sl.LiveFrame):
    ordered = live.in_order("1s")

    picture = drawn(ordered.plot.lateness())

    assert late(picture["late"]) == ordered.late.df["time"].dt.second().to_list()
    assert ordered.late.df.height == 1


def test_the_line_is_the_watermark_and_never_goes_back(live: sl.LiveFrame):
    line = drawn(live.plot.lateness("2s"))["line"]

    assert line["watermark"].is_sorted()
    assert line["seen"].is_sorted()
    assert line["watermark"].null_count() == 0


def test_the_chart_compiles_with_a_legend_of_all_three(live: sl.LiveFrame):
    chart = live.plot.lateness("2s", title="how late")

    compiled = chart._compiled
    assert compiled is not None
    points, line = compiled.spec["layer"]
    assert points["encoding"]["color"]["scale"]["domain"] == [
        "in time",
        "late",
        "watermark (lateness 2s)",
    ]
    assert line["encoding"]["color"]["datum"] == "watermark (lateness 2s)"
    assert compiled.spec["title"] == "how late"
    assert chart.to_png()


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (lambda live: live.plot.lateness(2), SpanError, "lateness=2"),
        (
            lambda live: (
                live.window("2s", lateness="1s").agg(pl.len()).plot.lateness("3s")
            ),
            UsageError,
            r'is "1s".*plot\.lateness\(.3s.\)',
        ),
        (
            lambda live: live.window(2, on="price").agg(pl.len()).plot.lateness(),
            UsageError,
            "no time",
        ),
    ],
)
def test_what_the_chart_refuses(
    live: sl.LiveFrame, draw: Any, error: type[Exception], words: str
):
    whole = live.with_columns(pl.col("price").cast(pl.Int64))

    with pytest.raises(error, match=words):
        draw(whole)
