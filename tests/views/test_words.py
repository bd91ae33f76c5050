"""Numbers, ages, status lines and captions, letter by letter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from streamlab.observed import Status
from streamlab.views import words
from streamlab.views.caption import Picture, caption
from streamlab.views.status import status_line
from streamlab.views.thinning import Plan

LIVE = Status("live", "", 1240.4, 0.3, 1204, 100_000, 400_000, 256_000_000, 0, 12, 812)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (words.number(1204), "1 204"),
        (words.number(188_320_144), "188 320 144"),
        (words.count(188_320_144), "188.3 M"),
        (words.count(1205), "1 205"),
        (words.rate(0.34), "0.3"),
        (words.rate(1240), "1 240"),
        (words.size(21.4e9), "21.4 GB"),
        (words.size(812), "812 B"),
        (words.share_of(400_000, 256_000_000), "0.4 of 256 MB"),
        (words.age(0.31), "0.3 s"),
        (words.age(47.6), "48 s"),
        (words.age(240), "4 m"),
        (words.age(7200), "2 h"),
        (words.age(7 * 86_400), "7 d"),
        (words.shorten("a\n b\tc"), "a b c"),
        (words.shorten("x" * 81), "x" * 79 + "…"),
        (words.type_name(pl.List(pl.Int64())), "list[i64]"),
        (words.type_name(pl.Struct({"a": pl.Int64()})), "struct[1]"),
        (words.type_name(pl.Datetime("us")), "datetime[μs]"),
    ],
)
def test_numbers_and_types_read_alike_everywhere(made: str, expected: Any):
    assert made == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([144.0, 144.2221, None], ["144.000", "144.222", None]),
        ([1e-9, 1.0], ["1e-09", "1"]),
        ([float("inf"), 0.5], ["inf", "0.5"]),
        ([1_795_352_702_113.5], ["1795352702113.50"]),
        ([True, None], ["true", None]),
        ([b"a\xff"], ["a\\xff"]),
        ([{"a": 1}], ['{"a": 1}']),
        ([timedelta(seconds=90)], ["1m 30s"]),
    ],
)
def test_cells_of_a_column(values: list[Any], expected: Any):
    assert words.cells(pl.Series(values)) == expected


def test_times_show_as_many_digits_as_the_column_needs():
    at = datetime(2026, 11, 23, 10, 1, 20, tzinfo=UTC)

    whole = words.cells(pl.Series([at]))
    parts = words.cells(pl.Series([at, at + timedelta(milliseconds=5)]))

    assert whole == ["2026-11-23 10:01:20"]
    assert parts == ["2026-11-23 10:01:20.000", "2026-11-23 10:01:20.005"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {},
            (
                "● live   1 240/s   lag 0.3 s   kept 1 204 of 100 000 rows, 0.4 of 256 MB   "
                "late 0   rejected 12   version 812"
            ),
        ),
        (
            {"state": "waiting", "detail": "no record yet", "keep_rows": None},
            (
                "○ waiting (no record yet)   kept 1 204 rows, 0.4 of 256 MB   "
                "late 0   rejected 12   version 812"
            ),
        ),
        (
            {"state": "paused", "detail": "lag 4 m and growing", "lag_s": None},
            (
                "‖ paused, lag 4 m and growing   1 240/s   kept 1 204 of 100 000 rows, "
                "0.4 of 256 MB   late 0   rejected 12   version 812"
            ),
        ),
        (
            {"state": "failed", "detail": "no", "stale": "reads from an older 'live'"},
            (
                "⚠ reads from an older 'live'   "
                "✖ failed: no (the last good version stays on show)   kept 1 204 of "
                "100 000 rows, 0.4 of 256 MB   late 0   rejected 12   version 812"
            ),
        ),
        (
            {"state": "ended", "detail": "at until", "notes": ("p7 idle",)},
            (
                "■ ended at until   kept 1 204 of 100 000 rows, 0.4 of 256 MB   "
                "late 0   rejected 12   version 812   (p7 idle)"
            ),
        ),
    ],
)
def test_the_status_line_has_one_grammar(change: dict[str, Any], expected: Any):
    assert status_line(replace(LIVE, **change)) == expected


LINE = Plan("extremes", 5_000, "time", ("price",), (), ("price", "time"))
BEGAN = datetime(2026, 11, 23, 9, 56, 25, tzinfo=UTC)


def picture(**changes: Any) -> Picture:
    rows = pl.DataFrame(
        {"time": [BEGAN, BEGAN + timedelta(minutes=5)], "price": [1.0, 2.0]}
    )
    whole = Picture(rows, 2, "", LINE, "time", revised=False)
    return whole._replace(**changes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "10:01:25 · last 5 m · 2 rows"),
        ({"time": None}, "2 rows"),
        (
            {"kept": 100_000, "thinned": "extremes"},
            "10:01:25 · last 5 m · showing 2 of 100 k rows (min/max per pixel kept)",
        ),
        ({"kept": 16, "thinned": "sample", "time": None}, "12 % of points, sampled"),
        ({"kept": 9_000, "thinned": "newest", "time": None}, "newest 2 of 9 k rows"),
        ({"revised": True, "time": None}, "2 rows · open windows still change"),
        (
            {"rows": pl.DataFrame({"price": [None, None, None, float("nan"), 1.0]})},
            "5 rows · 3 nulls and 1 NaN not drawn",
        ),
        (
            {"rows": pl.DataFrame({"price": [float("inf")]})},
            "1 rows · 1 infinite not drawn",
        ),
    ],
)
def test_the_caption_says_what_is_on_show_and_what_is_not(
    change: dict[str, Any], expected: Any
):
    assert caption([picture(**change)], [LIVE]) == expected


def test_the_caption_of_closed_windows_has_nothing_more_to_say():
    rows = pl.DataFrame({"_closed": [True, True]})

    assert caption([picture(rows=rows, revised=True)], [LIVE]) == "2 rows"


def test_the_caption_of_running_totals_says_what_they_are_over():
    status = replace(LIVE, basis="since 09:30:00 (1 204 records)")

    said = caption([picture(time=None, revised=True)], [status])

    assert said.endswith("since 09:30:00 (1 204 records)")


def test_a_state_out_of_the_ordinary_leads_the_caption():
    status = replace(LIVE, state="reconnecting", detail="b1:9093, try 3")

    said = caption([picture(time=None)], [status])

    assert said == "↻ reconnecting b1:9093, try 3 · 2 rows"
