"""Trades and plans for the tests of parity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from streamlab.changes import HIDDEN_SCHEMA, PART, SEQ, STAMP, TIME
from streamlab.durations import Span
from streamlab.parity import evaluate
from streamlab.plans.nodes import Node, Source, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pl.Schema({"symbol": pl.String(), "price": pl.Float64(), "size": pl.Int64()})
TRADES = Source("trades", SCHEMA)
ZERO, HOUR = Span(0, 0), Span(0, 3_600_000_000)
price, size = pl.col("price"), pl.col("size")


def seconds(count: float) -> Span:
    return Span(0, round(count * 1e6))


def trades(*lines: tuple[float | None, str, float | None, int | None]) -> pl.DataFrame:
    """(second, symbol, price, size) in the order handed over; partition 0."""
    times = [None if s is None else START + timedelta(seconds=s) for s, *_ in lines]
    shown = pl.DataFrame([line[1:] for line in lines], schema=SCHEMA, orient="row")
    stamps = [int(START.timestamp() * 1000) + 60_000] * len(lines)
    hidden = pl.DataFrame(
        {TIME: times, PART: 0, STAMP: stamps, SEQ: range(len(lines))},
        schema=HIDDEN_SCHEMA,
    )
    return shown.hstack(hidden)


ROWS = trades(
    (1, "A", 1.5, 10),
    (12, "A", 2.0, 1),
    (3, "B", 9.0, 2),
    (2, "A", None, 3),
    (9.999999, "A", 2.5, 4),
    (10, "B", 8.0, 5),
)
AGGS = (
    ((price * size).sum() / size.sum()).alias("vwap"),
    pl.len().alias("n"),
    price.first().alias("first"),
    size.implode().alias("sizes"),
)


def window(
    parent: Node = TRADES,
    by: tuple[str, ...] = ("symbol",),
    *,
    every: Span | int | None = None,
    offset: Span | int = ZERO,
    on: str | None = None,
    zone: str = "UTC",
    aggs: tuple[pl.Expr, ...] = AGGS,
) -> Window:
    length = seconds(10) if every is None else every
    return Window(parent, length, by, on, offset, zone, seconds(5), HOUR, aggs)


def live_of(node: Node, rows: pl.DataFrame = ROWS) -> pl.DataFrame:
    """What a live frame without a fault would hold."""
    expected = evaluate(node, rows)
    beside = [
        name for name in expected.keys.columns if name not in expected.frame.columns
    ]
    return expected.frame.hstack(expected.keys.select(beside))
