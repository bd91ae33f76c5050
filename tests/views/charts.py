"""A chart on the bench: rows, a fake frame, its channel and a hand-driven I/O thread."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import polars as pl

from streamlab.views.chart import rolling
from streamlab.views.encode import page_values
from tests.views.fakes import FakeFrame, HandPost, Wire

BEGAN = datetime(2026, 11, 23, 10, tzinfo=UTC)
TRADES: dict[str, Any] = {
    "time": pl.Datetime("us", "UTC"),
    "price": pl.Float64,
    "symbol": pl.String,
}


def trades(start: int, count: int) -> pl.DataFrame:
    at = range(start, start + count)
    rows = [(BEGAN + timedelta(seconds=n), float(n), "abc"[n % 3]) for n in at]
    return pl.DataFrame(rows, schema=TRADES, orient="row")


def windows(*rows: tuple[int, str | None, float | None]) -> pl.DataFrame:
    schema = {"window_start": pl.Int64, "symbol": pl.String, "vwap": pl.Float64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def in_page(frame: pl.DataFrame) -> list[dict[str, Any]]:
    columns = {series.name: page_values(series) for series in frame}
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


class Bench:
    """A chart of one frame with its channel and hand-driven I/O thread."""

    def __init__(self, frame: FakeFrame, rows: int | None = None) -> None:
        self.frame, self.post = frame, HandPost()
        x, y = next(iter(frame.schema or TRADES)), "vwap" if frame.key else "price"
        drawn = alt.Chart(frame).mark_line().encode(x=x, y=y, color="symbol")
        self.chart = rolling(drawn, post=self.post, rows=rows, clock=self.post.clock)
        self.wire = Wire(self.chart)

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [content for content, _ in self.wire.messages if content["t"] == "d"]
