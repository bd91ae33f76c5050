from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import streamlab.parity
from streamlab.changes import PART, SEQ, STAMP, TIME
from streamlab.durations import Span
from streamlab.errors import UsageError
from streamlab.parity import compare, evaluate
from streamlab.plans.nodes import (
    Drop,
    Filter,
    Late,
    Recompute,
    Rename,
    Select,
)
from tests.parity.lab import (
    HOUR,
    ROWS,
    START,
    TRADES,
    ZERO,
    live_of,
    price,
    seconds,
    trades,
    window,
)


def test_rows_go_through_the_steps_once() -> None:
    plan = Select(Filter(TRADES, (price > 1.5,)), (price * 2, pl.lit("x").alias("tag")))

    found = evaluate(plan, ROWS)

    assert found.frame.to_dict(as_series=False) == {
        "price": [4.0, 18.0, 5.0, 16.0],
        "tag": ["x"] * 4,
    }
    assert found.keys.width == 0


def test_a_window_holds_the_rows_from_its_start_up_to_its_end() -> None:
    found = evaluate(window(), ROWS).frame.sort("window_start", "symbol")

    assert found.select("window_start", "window_end", "symbol", "n").rows() == [
        (START, START + timedelta(seconds=10), "A", 3),
        (START, START + timedelta(seconds=10), "B", 1),
        (START + timedelta(seconds=10), START + timedelta(seconds=20), "A", 1),
        (START + timedelta(seconds=10), START + timedelta(seconds=20), "B", 1),
    ]
    # Null prices count as polars counts them; order inside is event time.
    first = found.row(0, named=True)
    assert first["vwap"] == (1.5 * 10 + 2.5 * 4) / 17
    assert first["first"] == 1.5
    assert first["sizes"] == [10, 3, 4]


def test_order_inside_a_window_is_time_then_partition_then_offset() -> None:
    tied = trades(
        (5, "A", 1.0, 1), (5, "A", 2.0, 2), (5, "A", 3.0, 3), (4, "A", 4.0, 4)
    )
    tied = tied.with_columns(pl.Series(PART, [1, 0, 1, 1], dtype=pl.Int32))

    found = evaluate(window(), tied).frame

    assert found["sizes"].to_list() == [[4, 2, 1, 3]]


def test_pairs_that_were_late_are_left_out() -> None:
    late = pl.DataFrame(
        {PART: [0], STAMP: ROWS[STAMP][:1], SEQ: [4], "window_start": [START]},
        schema_overrides={PART: pl.Int32, "window_start": pl.Datetime("us", "UTC")},
    )

    found = evaluate(window(), ROWS, late=late).frame.sort("window_start", "symbol")

    assert found["n"].to_list() == [2, 1, 1, 1]
    assert found["sizes"].to_list()[0] == [10, 3]


def test_rows_without_a_time_or_from_the_future_are_in_no_window() -> None:
    # The broker stamped them at second 60; an hour ahead of that is the limit.
    odd = trades((None, "A", 1.0, 1), (3661, "A", 1.0, 2), (3660, "A", 1.0, 3))

    found = evaluate(window(), odd).frame

    assert found["sizes"].to_list() == [[3]]


def test_a_row_counts_the_same_alone_and_among_others() -> None:
    # 35 / 100 is 0.35, 35 times the reciprocal is a little more: the answer must be one of them.
    many = trades(*((10 * n, "A", 1.0, 35) for n in range(5)))
    node = window(aggs=((pl.col("size") / 100 > 0.35).sum().alias("above"),))

    together = evaluate(node, many).frame["above"].to_list()
    alone = [evaluate(node, many[n : n + 1]).frame["above"].item() for n in range(5)]

    assert (
        alone
        == together
        == many.select((pl.col("size") / 100 > 0.35).cast(int))["size"].to_list()
    )


def test_windows_without_keys_and_over_a_shown_column() -> None:
    by_size = window(by=(), every=4, offset=1, on="size", aggs=(pl.len().alias("n"),))

    found = evaluate(by_size, ROWS).frame.sort("window_start")

    assert found.select("window_start", "window_end", "n").rows() == [
        (1, 5, 4),
        (5, 9, 1),
        (9, 13, 1),
    ]


@pytest.mark.parametrize(
    ("every", "offset", "zone", "start", "end"),
    [
        (seconds(3600), ZERO, "Asia/Kolkata", "2026-03-29T01:00Z", "2026-03-29T02:00Z"),
        (
            Span(0, 86_400_000_000),
            ZERO,
            "UTC",
            "2026-03-29T00:00Z",
            "2026-03-30T00:00Z",
        ),
        (
            Span(0, 86_400_000_000),
            ZERO,
            "Europe/Berlin",  # the day that has 23 hours
            "2026-03-28T23:00Z",
            "2026-03-29T22:00Z",
        ),
        (Span(1, 0), ZERO, "Europe/Berlin", "2026-02-28T23:00Z", "2026-03-31T22:00Z"),
        (
            Span(0, 7 * 86_400_000_000),
            ZERO,
            "UTC",
            "2026-03-23T00:00Z",
            "2026-03-30T00:00Z",
        ),
        (seconds(5400), ZERO, "UTC", "2026-03-29T00:00Z", "2026-03-29T01:30Z"),
        (seconds(3600), seconds(600), "UTC", "2026-03-29T00:10Z", "2026-03-29T01:10Z"),
        (
            Span(0, 86_400_000_000),
            HOUR,
            "UTC",
            "2026-03-29T01:00Z",
            "2026-03-30T01:00Z",
        ),
    ],
)
def test_windows_begin_where_their_zone_and_offset_say(
    every: Span, offset: Span, zone: str, start: str, end: str
) -> None:
    at = datetime(2026, 3, 29, 1, 5, tzinfo=UTC)
    if offset == seconds(600):
        at -= timedelta(minutes=4)
    one = trades((0, "A", 1.0, 1)).with_columns(
        pl.lit(at).cast(pl.Datetime("us", "UTC")).alias(TIME),
        pl.lit(int(at.timestamp() * 1000)).alias(STAMP),
    )
    node = window(every=every, offset=offset, zone=zone, aggs=(pl.len().alias("n"),))

    found = evaluate(node, one).frame.row(0, named=True)

    assert found["window_start"] == datetime.fromisoformat(start)
    assert found["window_end"] == datetime.fromisoformat(end)
    assert evaluate(node, one).frame.schema["window_start"] == pl.Datetime("us", zone)


def test_steps_after_a_window_keep_its_key_out_of_sight() -> None:
    plan = Drop(Rename(window(), {"vwap": "v", "window_start": "t"}), ("symbol", "n"))
    plan_live = live_of(plan)

    found = evaluate(plan, ROWS)

    assert found.frame.columns[:2] == ["t", "window_end"]
    assert found.keys.columns == ["t", "symbol"]
    assert (
        compare(
            plan_live.sample(fraction=1, shuffle=True, seed=1), found, ("t", "symbol")
        )
        is None
    )


def test_what_hangs_on_the_moment_has_no_batch_answer() -> None:
    for node in (
        Recompute(TRADES, lambda lf: lf),
        Late(window()),
    ):
        with pytest.raises(UsageError, match="has no batch answer"):
            evaluate(node, ROWS)
    with pytest.raises(UsageError, match="filter on _closed has no batch answer"):
        evaluate(Filter(window(), (pl.col("_closed"),)), ROWS)


def test_the_oracle_shares_no_code_with_what_it_checks() -> None:
    folder = Path(streamlab.parity.__file__).parent

    for path in folder.glob("*.py"):
        for found in ast.walk(ast.parse(path.read_text())):
            names = [found.module] if isinstance(found, ast.ImportFrom) else []
            if isinstance(found, ast.Import):
                names = [each.name for each in found.names]
            for name in names:
                assert not str(name).startswith(
                    ("streamlab.engine", "streamlab.formats")
                )
