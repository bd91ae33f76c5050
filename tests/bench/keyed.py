"""Running groups and `unique` in process: rows per second by the number of keys.

Run by hand: `python -m tests.bench.keyed`.
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from streamlab.changes import HIDDEN_SCHEMA
from streamlab.durations import Span
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import GroupBy, Node, Source, Unique

BATCH, BATCHES = 50_000, 12
SOURCE = Source("bench")
TTL = Span(0, 60_000_000)


def batches(keys: int, *, text: bool) -> list[Batch]:
    """Rows 10 µs apart, their keys drawn evenly."""
    chance = np.random.default_rng(0)
    found = []
    for number in range(BATCHES):
        at = np.arange(BATCH) + number * BATCH
        drawn = pl.Series(chance.integers(0, keys, BATCH))
        hidden = [
            pl.Series(at * 10).alias("__time").cast(HIDDEN_SCHEMA["__time"]),
            pl.Series("__part", np.zeros(BATCH, np.int32)),
            pl.Series("__stamp", at // 100),
            pl.Series("__seq", at),
        ]
        key = drawn.cast(pl.String) if text else drawn
        rows = pl.DataFrame([key.alias("k"), pl.Series("x", chance.random(BATCH))])
        found.append(Batch(rows.hstack(hidden), frozenset({0})))
    return found


def speed(node: Node, given: list[Batch]) -> float:
    """Millions of rows a second, the best of three; the first two batches warm up."""
    best = 0.0
    for _ in range(3):
        graph = Graph()
        graph.add(node, None, max_open=2_000_000)
        for batch in given[:2]:
            graph.step(batch)
        begun = time.perf_counter()
        for batch in given[2:]:
            graph.step(batch)
        taken = time.perf_counter() - begun
        best = max(best, (BATCHES - 2) * BATCH / taken / 1e6)
    return best


def main() -> None:
    """Print a table."""
    x = pl.col("x")
    aggs = (x.mean().alias("mean"), pl.len().alias("n"))
    last = (x.last().alias("last"),)
    everything = (pl.all().last(),)
    plans: dict[str, Node] = {
        "mean and len": GroupBy(SOURCE, ("k",), aggs),
        "mean and len, ttl": GroupBy(SOURCE, ("k",), aggs, TTL),
        "last": GroupBy(SOURCE, ("k",), last),
        "newest rows": GroupBy(SOURCE, ("k",), everything, compacted=True),
        "unique": Unique(SOURCE, ("k",)),
        "unique within 1 s": Unique(SOURCE, ("k",), Span(0, 1_000_000)),
        "unique within 1 ms": Unique(SOURCE, ("k",), Span(0, 1_000)),
    }
    sizes = (10, 10_000, 1_000_000)
    print(f"{'M rows/s':22}", *(f"{n:>10,} keys" for n in sizes))
    for text in (False, True):
        given = [batches(keys, text=text) for keys in sizes]
        print("text keys" if text else "integer keys")
        for name, node in plans.items():
            found = [speed(node, each) for each in given]
            print(f"  {name:20}", *(f"{each:15.2f}" for each in found))


if __name__ == "__main__":
    main()
