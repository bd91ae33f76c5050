"""The moving table over its channel, and what a saved notebook keeps of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from streamlab.observed import Failure
from streamlab.views.table import LiveTable
from tests.views.fakes import IDLE, FakeFrame, HandPost, Wire

SCHEMA: dict[str, Any] = {
    "window_start": pl.Datetime("ms", "UTC"),
    "symbol": pl.String,
    "vwap": pl.Float64,
    "_closed": pl.Boolean,
}
AT = datetime(2026, 11, 23, 10, 1, 20, tzinfo=UTC)


def rows(*symbols: str) -> pl.DataFrame:
    values = [(AT, symbol, 300.162, False) for symbol in symbols]
    return pl.DataFrame(values, schema=SCHEMA, orient="row")


class Bench:
    """A table with its channel, one page and a hand-driven I/O thread."""

    def __init__(self) -> None:
        self.frame, self.post = FakeFrame(SCHEMA, name="vwap"), HandPost()
        self.table = LiveTable(self.frame, post=self.post, clock=self.post.clock)
        self.wire = Wire(self.table)

    def hello(self) -> None:
        self.wire.say({"t": "hello", "page": "p"})
        self.post.go_on()

    @property
    def shown(self) -> dict[str, Any]:
        return [m for m, _ in self.wire.messages if m["t"] == "d"][-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_page_gets_name_steps_columns_rows_newest_first_and_status(bench: Bench):
    bench.frame.push(rows("AMD", "NVDA"))
    bench.hello()

    shown = bench.shown

    assert (shown["name"], shown["steps"]) == ("vwap", bench.frame.steps)
    assert [(c["name"], c["type"], c["right"]) for c in shown["columns"]] == [
        ("window_start", "datetime[ms, UTC]", False),
        ("symbol", "str", False),
        ("vwap", "f64", True),
        ("_closed", "bool", False),
    ]
    assert shown["rows"] == [
        ["2026-11-23 10:01:20", "NVDA", "300.162", "◌"],
        ["2026-11-23 10:01:20", "AMD", "300.162", "◌"],
    ]
    assert shown["size"] == "2 rows · 4 columns"
    assert [part["text"] for part in shown["status"]][:3] == [
        "● live",
        "0/s",
        "kept 2 rows, 0.0 of 256 MB",
    ]


def test_twenty_rows_twelve_columns_and_eighty_characters_are_the_most(bench: Bench):
    wide = pl.DataFrame({f"c{n}": ["x" * 500] * 30 for n in range(15)})
    bench.frame.schema, bench.frame.df = wide.schema, wide

    bench.hello()

    assert len(bench.shown["rows"]) == 20
    assert {len(row) for row in bench.shown["rows"]} == {12}
    assert {len(cell) for row in bench.shown["rows"] for cell in row} == {80}
    assert bench.shown["size"] == "20 of 30 rows · 12 of 15 columns"


def test_late_and_rejected_are_there_even_at_zero_and_loud_above(bench: Bench):
    bench.hello()
    quiet = {p["role"]: p for p in bench.shown["status"]}
    bench.frame.now = replace(IDLE, late=3, rejected=1200)
    bench.frame.tell()
    bench.post.go_on()

    loud = {p["role"]: p for p in bench.shown["status"]}

    assert (quiet["late"]["text"], quiet["late"]["loud"]) == ("late 0", False)
    assert (loud["late"]["text"], loud["late"]["loud"]) == ("late 3", True)
    assert (loud["rejected"]["text"], loud["rejected"]["loud"]) == (
        "rejected 1 200",
        True,
    )


def test_changes_are_gathered_into_eight_updates_a_second(bench: Bench):
    bench.hello()
    before = len(bench.wire.messages)

    for _ in range(200):
        bench.frame.push(rows("A"))
        bench.post.go_on(0.01)
        if bench.shown["ack"]:
            bench.wire.say({"t": "ack", "page": "p", "seq": bench.shown["seq"]})

    assert 14 <= len(bench.wire.messages) - before <= 17
    bench.post.go_on()
    assert bench.shown["size"].startswith("20 of 200 rows")


def test_a_page_that_does_not_answer_costs_no_snapshots(bench: Bench):
    bench.hello()

    for _ in range(100):
        bench.frame.push(rows("A"))
        bench.post.go_on(0.2)

    assert len(bench.wire.messages) <= 8
    assert bench.frame.snapshots <= 8


def test_stop_reaches_the_source_and_then_there_are_no_buttons(bench: Bench):
    bench.hello()
    assert (bench.shown["siblings"], bench.shown["over"]) == (3, False)

    bench.wire.say({"t": "stop", "page": "p"})
    assert bench.frame.stops == 0  # it is done on the I/O thread
    bench.post.go_on()

    assert bench.frame.stops == 1
    assert bench.shown["over"] is True


FAILURE = Failure(
    when_ms=1795428302000,
    error="InvalidOperationError: cannot divide str by int",
    step="step 1 with_columns(amount=…)",
    record='orders p3 @ 7 843 112, key "guest"',
    payload='{"amount":"12,50"',
    hint="pl.col('amount').cast(pl.Float64, strict=False)",
    good=1_240_881,
)


def test_a_failure_is_shown_above_the_last_good_rows(bench: Bench):
    bench.frame.push(rows("AMD"))
    bench.frame.error = FAILURE
    bench.frame.now = replace(IDLE, state="failed", detail="cannot divide str by int")
    bench.hello()

    assert bench.shown["failure"].splitlines() == [
        "✖ vwap failed at 10:05:02 UTC and stopped; 1 240 881 records before it are good.",
        (
            "  InvalidOperationError: cannot divide str by int"
            "          step 1 with_columns(amount=…)"
        ),
        '  record   orders p3 @ 7 843 112, key "guest"',
        '  payload  {"amount":"12,50"',
        "  try      pl.col('amount').cast(pl.Float64, strict=False)",
    ]
    assert len(bench.shown["rows"]) == 1
    assert bench.shown["over"] is True


def test_a_saved_notebook_shows_the_table_without_scripts(bench: Bench):
    bench.frame.push(rows("<script>alert(1)</script>"))

    data, _ = bench.table._repr_mimebundle_()

    assert "&lt;script&gt;" in data["text/html"]
    assert "<script>" not in data["text/html"]
    lines = data["text/plain"].splitlines()
    assert lines[0] == f"vwap · {bench.frame.steps}"
    assert lines[1].split() == ["window_start", "symbol", "vwap", "_closed"]
    assert lines[-1].startswith("● live   0/s   kept 1 rows")


def test_a_null_is_told_from_the_text_null_and_nan_from_a_number(bench: Bench):
    frame = pl.DataFrame({"s": ["null", None], "f": [float("nan"), 1.5]})
    bench.frame.schema, bench.frame.df = frame.schema, frame

    bench.hello()

    assert bench.shown["rows"] == [[None, "1.5"], ["null", "NaN"]]


def test_the_widgets_saved_state_does_not_grow(bench: Bench):
    def size() -> int:
        return len(json.dumps(bench.table.get_state(), default=str))

    before = size()
    bench.frame.push(rows(*("A" * 500)))
    bench.hello()

    assert size() == before


def test_a_waiting_frame_has_a_status_line_and_no_table(bench: Bench):
    bench.frame.schema, bench.frame.df = None, pl.DataFrame()
    bench.frame.now = replace(
        IDLE, state="waiting", detail="no record yet; newest is 2 h old"
    )
    bench.hello()

    assert bench.shown["columns"] == []
    first = bench.shown["status"][0]["text"]
    assert first == "○ waiting (no record yet; newest is 2 h old)"


def test_close_leaves_the_frame(bench: Bench):
    bench.table.close()
    bench.table.close()
    bench.frame.push(rows("A"))
    bench.post.go_on()

    assert bench.frame.listeners == []
    assert [m["t"] for m, _ in bench.wire.messages] == ["over"]
