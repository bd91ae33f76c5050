"""What a micro-batch costs in the engine: `python -m tests.bench.engine`.

First 1,000 rows that touch 1,000 window keys among 10³ to 10⁶ open ones (aim: within 2× from
the least to the most), then blocks of 50,000 rows into a mean and a count per second and
symbol, then the same blocks put in order, and functions that look back over them.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import polars as pl

from streamlab.changes import HIDDEN_SCHEMA
from streamlab.durations import Span
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import InOrder, Node, Running, Source, Window

SECOND = 1_000_000
HOLDING = frozenset({0})
RNG = np.random.default_rng(7)
AGGS = (pl.col("price").mean().alias("mean"), pl.len().alias("n"))


def rows(times: np.ndarray, symbols: np.ndarray, seq: int) -> pl.DataFrame:
    n = len(times)
    return pl.DataFrame(
        {
            "symbol": symbols,
            "price": RNG.random(n),
            "__time": times.astype(np.int64),
            "__part": np.zeros(n, np.int32),
            "__stamp": times.astype(np.int64) // 1000,
            "__seq": np.arange(seq, seq + n),
        }
    ).with_columns(pl.col(name).cast(dtype) for name, dtype in HIDDEN_SCHEMA.items())


def window(
    every: int, lateness: int | None, aggs: tuple[pl.Expr, ...] = AGGS
) -> Window:
    late = None if lateness is None else Span(0, lateness)
    span, hour = Span(0, every), Span(0, 3600 * SECOND)
    return Window(
        Source("bench"), span, ("symbol",), None, Span(0, 0), "UTC", late, hour, aggs
    )


def among(open_keys: int, batches: int = 60) -> float:
    """Median ms of a batch of 1,000 rows, each of another key, with so many keys open."""
    names = np.array([f"key{i}" for i in range(open_keys)])
    graph = Graph()
    handle = graph.add(window(3600 * SECOND, None), None, max_open=2 * open_keys)
    graph.step(Batch(rows(np.zeros(open_keys), names, 0), HOLDING))
    took = []
    for number in range(batches):
        picked = RNG.choice(open_keys, 1_000, replace=False)
        batch = Batch(rows(np.full(1_000, number), names[picked], number), HOLDING)
        start = time.perf_counter()
        outcome = graph.step(batch)[handle]
        took.append(time.perf_counter() - start)
        assert outcome.change.added.height == 1_000
    state = graph.state_bytes / open_keys
    print(
        f"{open_keys:>9,} open   {statistics.median(took) * 1e3:6.2f} ms   {state:4.0f} B a key"
    )
    return statistics.median(took)


def through(aggs: tuple[pl.Expr, ...], per_second: int, blocks: int = 20) -> None:
    """Rows a second into windows of 1 s by 100 symbols, in blocks of 50,000."""
    names = np.array([f"S{i}" for i in range(100)])
    graph = Graph()
    handle = graph.add(window(SECOND, 2 * SECOND, aggs), None)
    took = []
    for number in range(blocks):
        index = np.arange(number * 50_000, (number + 1) * 50_000)
        times = index * SECOND // per_second + RNG.integers(-SECOND, SECOND, 50_000)
        batch = Batch(rows(times, RNG.choice(names, 50_000), number * 50_000), HOLDING)
        start = time.perf_counter()
        outcome = graph.step(batch)[handle]
        took.append(time.perf_counter() - start)
        assert outcome.error is None
    what = ", ".join(expr.meta.output_name() for expr in aggs)
    median = statistics.median(took)
    print(
        f"{what:<14} {per_second:>7,} rows an event second   {median * 1e3:6.2f} ms   {0.05 / median:5.2f} M rows/s"
    )


def in_order(
    name: str, expr: pl.Expr | None, size: int = 50_000, per_second: int = 50_000
) -> None:
    """Rows put in order that come up to 2 s late, and what looks back over them."""
    names = np.array([f"S{i}" for i in range(100)])
    graph = Graph()
    node: Node = InOrder(Source("bench"), Span(0, 2 * SECOND), Span(0, 3600 * SECOND))
    node = node if expr is None else Running(node, (expr.alias("found"),))
    handle = graph.add(node, None)
    took = []
    for number in range(30):
        index = np.arange(number * size, (number + 1) * size)
        times = index * SECOND // per_second + RNG.integers(-SECOND, SECOND, size)
        batch = rows(times, RNG.choice(names, size), number * size)
        batch = batch.with_columns(pl.col("__time").alias("time"))
        start = time.perf_counter()
        outcome = graph.step(Batch(batch, HOLDING))[handle]
        took.append(time.perf_counter() - start)
        assert outcome.error is None
    # The first batches find nothing to let go.
    median = statistics.median(took[10:])
    print(
        f"{name:<24} {size:>6,} rows   {median * 1e3:6.2f} ms   {size / median / 1e6:5.2f} M rows/s"
    )


def main() -> None:
    print("1,000 rows, 1,000 keys touched")
    times = [among(10**power) for power in (3, 4, 5, 6)]
    print(f"most / least: {max(times) / min(times):.2f}")
    print("blocks of 50,000 rows, windows of 1 s by 100 symbols")
    through(AGGS, 50_000)
    through(AGGS, 5_000)
    through(AGGS, 500)
    through((pl.col("price").median().alias("median"),), 50_000)
    print("rows in order, lateness 2 s, and over them by 100 symbols")
    price = pl.col("price")
    in_order("in order", None)
    in_order("in order, 1 M waiting", None, per_second=500_000)
    in_order("shift", price.shift().over("symbol"))
    in_order("rolling_mean(20)", price.rolling_mean(20).over("symbol"))
    in_order("rolling_mean_by 1 s", price.rolling_mean_by("time", "1s").over("symbol"))
    in_order("ewm_mean", price.ewm_mean(alpha=0.1).over("symbol"))


if __name__ == "__main__":
    main()
