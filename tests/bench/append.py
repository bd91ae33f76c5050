"""Append 1,000 rows, take `.df`, look at the newest 1,000: what it costs by rows kept.

    python -m tests.bench.append

Prints the median of each size and its ratio to the smallest; the aim is within 2×.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import polars as pl

from streamlab.changes import HIDDEN_SCHEMA, PART, SEQ, STAMP, TIME, Change
from streamlab.frames.rowstore import RowStore
from streamlab.frames.store import Budget, Keep

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
ROWS = 1_000
ROUNDS = 400


def batch(start: int, rows: int) -> pl.DataFrame:
    """Rows as a source hands them over."""
    number = np.arange(start, start + rows)
    return pl.DataFrame(
        {
            "price": number * 0.5,
            "size": number % 500,
            "symbol": np.array(["AAPL", "MSFT", "NVDA", "GOOG"])[number % 4],
            TIME: pl.Series(number * 1_000).cast(HIDDEN_SCHEMA[TIME]),
            PART: np.zeros(rows, np.int32),
            STAMP: number,
            SEQ: number,
        }
    )


def filled(rows: int) -> RowStore:
    """A store that keeps `rows` rows and is full."""
    first = batch(0, 0)
    store = RowStore(first, Keep(rows=rows), Budget(10**12))
    for start in range(0, rows, 50_000):
        put(store, batch(start, min(50_000, rows - start)))
    return store


def put(store: RowStore, rows: pl.DataFrame) -> None:
    """One micro-batch."""
    store.put(Change(rows, rows.clear(), 0, 0, None))


def rounds(store: RowStore, start: int) -> list[float]:
    """Seconds of each append-and-look."""
    took = []
    for number in range(ROUNDS):
        rows = batch(start + number * ROWS, ROWS)
        begun = time.perf_counter()
        put(store, rows)
        newest = store.held().frame().tail(ROWS)
        newest["price"].sum()
        took.append(time.perf_counter() - begun)
    return took


def main() -> None:
    """Measure all sizes in one run."""
    stores = {rows: filled(rows) for rows in SIZES}
    medians = {
        rows: statistics.median(rounds(store, rows)) for rows, store in stores.items()
    }
    least = medians[SIZES[0]]
    for rows, median in medians.items():
        print(
            f"{rows:>11,} rows kept   {median * 1e3:6.3f} ms   × {median / least:.2f}"
        )


if __name__ == "__main__":
    main()
