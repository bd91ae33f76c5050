"""What a micro-batch costs as state, stream and plans grow.

    python -m tests.bench.growth [open | gone | memory | frames] [most]

Without a word, all of them:

open    1,000 micro-batches that touch the same 1,000 window-keys, drawn evenly from 10³ to 10⁶
        open ones, one view reading `Change` only; aim: within 2×.
gone    a micro-batch after 1 million and after 100 million records; aim: within 1.2×.
memory  bytes of state with 1 to 10,000 records a window; aim: no difference.
frames  ten derived frames on one topic against one, idle and while this process's main thread
        runs a pure-Python loop; aim: less than 3×.

Whoever is compared takes turns with the other, batch by batch. The first three put synthetic rows straight into a pipeline, all of it but the decoder: plans,
stores, publishing, telling views. The last is the whole product over `memory://`.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import psutil

import streamlab as sl
from streamlab.changes import HIDDEN_SCHEMA, Change
from streamlab.durations import Span
from streamlab.frames.members import Member
from streamlab.frames.pipeline import Pipeline
from streamlab.frames.store import Budget, Keep
from streamlab.intake import Intake, Taken
from streamlab.plans.nodes import Source, Window
from streamlab.records import Partition, Records

SECOND = 1_000_000
HOUR = Span(0, 3600 * SECOND)
GIGABYTE = 10**9
RNG = np.random.default_rng(7)
AGGS = (pl.col("price").mean().alias("mean"), pl.len().alias("n"))
PARTITION = Partition("bench", 0)
SWITCH_S = 0.0005  # what a kernel is set to while a stream runs
ROUNDS = 5


class Ready:
    """In the place of a decoder: blocks are frames, ready to be taken."""

    schema = pl.Schema({"symbol": pl.String(), "price": pl.Float64()})
    ids_are_text = False

    def __init__(self) -> None:
        rejected = {"_partition": pl.Int32(), "_reason": pl.String(), **HIDDEN_SCHEMA}
        self._nothing = pl.DataFrame(schema=rejected)

    def number(self, _: Partition) -> int:
        return 0

    def where(self, part: int, stamp: int, seq: int) -> str:
        return f"p{part} @ {stamp} {seq}"

    def take(self, blocks: Sequence[Records]) -> Taken:
        frames = cast("Sequence[pl.DataFrame]", blocks)
        rows = frames[0] if frames else pl.DataFrame(schema=self.schema)
        return Taken(rows, self._nothing, rows.height, rows.height, {}, {})


class Cost(NamedTuple):
    """Seconds of the clock, and of the processor over all threads: the one that holds when
    others use the machine too.
    """

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"mean {self.wall * 1e3:6.2f} ms ({self.cpu * 1e3:6.2f} of processor)"

    def over(self, other: Cost) -> str:
        """As a ratio."""
        return f"{self.wall / other.wall:.2f} ({self.cpu / other.cpu:.2f} of processor)"


def mean(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.mean(each) for each in zip(*costs, strict=True)))


class Bench:
    """A pipeline with one window of mean and count by symbol, and a view of it."""

    def __init__(
        self,
        every: int,
        lateness: int | None,
        keep: Keep,
        *,
        source: Keep = Keep(rows=10_000),  # noqa: B008 - a frozen value
    ) -> None:
        self.pipeline = Pipeline(
            Source("bench"),
            cast("Intake", Ready()),
            keep=source,
            budget=Budget(4 * GIGABYTE),
            from_start=True,
            now_ms=lambda: 0,
            discover=lambda _: cast("Intake", Ready()),
        )
        late = None if lateness is None else Span(0, lateness)
        window = Window(
            self.pipeline.source,
            Span(0, every),
            ("symbol",),
            None,
            Span(0, 0),
            "UTC",
            late,
            HOUR,
            AGGS,
        )
        self.frame: Member = self.pipeline.add(window, keep)
        self.told = 0
        self.frame.listen(self._tell)
        self._number = 0

    def _tell(self, change: Change) -> None:
        self.told += change.added.height

    def step(self, rows: pl.DataFrame) -> Cost:
        """What a micro-batch takes."""
        self._number += 1
        began, before = time.perf_counter(), time.process_time()
        self.pipeline.step(
            cast("Any", [rows]),
            holding=frozenset({PARTITION}),
            final=False,
            done={},
            number=self._number,
            take=lambda intake, blocks: intake.take(blocks),
        )
        cost = Cost(time.perf_counter() - began, time.process_time() - before)
        assert self.frame.error is None, self.frame.error
        return cost


def rows(times: np.ndarray, symbols: pl.Series, seq: int) -> pl.DataFrame:
    """Rows of one partition; `times` in µs."""
    n = len(times)
    columns = {
        "symbol": symbols,
        "price": RNG.random(n),
        "__time": times,
        "__part": np.zeros(n, np.int32),
        "__stamp": times // 1000,
        "__seq": np.arange(seq, seq + n),
    }
    return pl.DataFrame(columns).cast(dict(HIDDEN_SCHEMA))  # type: ignore[arg-type]


class Among:
    """A pipeline with so many open window-keys, and a batch that touches 1,000 of them.

    1,000 symbols an hour, in as many hours as it takes.
    """

    def __init__(self, open_keys: int, keep: int) -> None:
        self.open, self.keep = open_keys, keep
        self.bench = Bench(HOUR.us, None, Keep(rows=keep))
        hours = open_keys // 1_000
        names = pl.Series([f"symbol{i}" for i in range(1_000)])
        for first in range(0, hours, 100):
            some = np.repeat(np.arange(first, min(hours, first + 100)), 1_000)
            symbols = names.gather(np.tile(np.arange(1_000), len(some) // 1_000))
            self.bench.step(rows(some * HOUR.us, symbols, first * 1_000))
        picked = RNG.choice(open_keys, 1_000, replace=False)
        times, symbols = picked // 1_000 * HOUR.us, names.gather(picked % 1_000)
        self._batches = [rows(times, symbols, open_keys + i * 1_000) for i in range(10)]
        self.took: list[Cost] = []
        for _ in range(10):
            self.step()
        self.took.clear()

    def step(self) -> None:
        told = self.bench.told
        self.took.append(self.bench.step(self._batches[len(self.took) % 10]))
        assert self.bench.told == told + 1_000

    def report(self) -> Cost:
        cost = mean(self.took)
        state = self.bench.frame.state_bytes / self.open
        print(
            f"  {self.open:>9,} open, keep={self.keep:>9,}   {cost}   "
            f"{state:4.0f} B of state a key"
        )
        return cost


def growing_open(batches: int = 1_000) -> None:
    print(
        "1,000 micro-batches, the same 1,000 window-keys touched, a view reads Change"
    )
    for slack in (2, 1):
        all_of_them = [Among(10**p, slack * 10**p) for p in (3, 4, 5, 6)]
        for _ in range(batches):  # in turn, so that all see the same machine
            for each in all_of_them:
                each.step()
        means = [each.report() for each in all_of_them]
        print(f"  10⁶ / 10³: {means[-1].over(means[0])}")


class Gone:
    """A pipeline past which records go: windows of 1 s by 100 symbols, closing."""

    block = 50_000

    def __init__(self) -> None:
        keep, source = Keep(rows=10_000), Keep(rows=1_000_000)
        self.bench = Bench(SECOND, 2 * SECOND, keep, source=source)
        self._names = pl.Series([f"S{i}" for i in range(100)])
        self.at = 0

    def step(self) -> Cost:
        spread = RNG.integers(-SECOND, SECOND, self.block)
        times = np.arange(self.at, self.at + self.block) * 20 + spread
        symbols = self._names.gather(RNG.integers(0, 100, self.block))
        took = self.bench.step(rows(times, symbols, self.at))
        self.at += self.block
        return took

    def until(self, records: int) -> Gone:
        while self.at < records:
            self.step()
        return self


def growing_gone(most: int, batches: int = 100) -> None:
    print(f"micro-batches of {Gone.block:,} records, windows of 1 s by 100 symbols")
    old, young = Gone().until(most), Gone().until(10**6)
    pairs = [(young.step(), old.step()) for _ in range(batches)]
    first, last = (mean(each) for each in zip(*pairs, strict=True))
    for gone, cost in ((10**6, first), (most, last)):
        print(f"  {gone:>11,} gone by   {cost}")
    resident = psutil.Process().memory_info().rss / 1e6
    print(f"  last / first: {last.over(first)}   resident {resident:.0f} MB")


def growing_windows() -> None:
    print("1,000 open windows of decomposable aggregates; bytes of state")
    held = []
    for each in (1, 10, 100, 1_000, 10_000):
        bench = Bench(SECOND, None, Keep(rows=2_000), source=Keep(rows=1))
        symbols = pl.repeat("one", 100_000, eager=True)
        for first in range(0, 1_000 * each, 100_000):
            places = np.arange(first, min(1_000 * each, first + 100_000))
            batch = rows(places % 1_000 * SECOND, symbols.head(len(places)), first)
            bench.step(batch)
        held.append(bench.frame.state_bytes)
        print(f"  {each:>7,} records a window   {held[-1]:>9,} bytes of state")
    print("  no difference" if len(set(held)) == 1 else "  THEY DIFFER")


def derived(live: sl.LiveFrame, count: int) -> list[sl.LiveFrame]:
    """Row-wise frames and windows in turn."""
    made = []
    for i in range(count):
        if i % 2:
            made.append(live.filter(pl.col("price") > i))
        else:
            window = live.window(f"{i + 1}s", by="symbol", lateness="1s")
            made.append(window.agg(mean=pl.col("price").mean(), n=pl.len()))
    return made


def through(name: str, count: int) -> float:
    """Seconds of a topic from end to end, with so many frames derived from it."""
    live = sl.topic(
        "memory://growth/" + name,
        format="json",
        schema={
            "time": pl.Int64,
            "symbol": pl.String,
            "price": pl.Float64,
            "size": pl.Int64,
        },
        time="time",
    ).live(start="earliest", until="latest", paused=True)
    frames = derived(live, count)
    began = time.perf_counter()
    live.resume()
    for each in (live, *frames):
        each.wait(timeout="120s")
    took = time.perf_counter() - began
    assert all(each.error is None for each in frames)
    live.stop()
    return took


def beside_a_cell(work: Callable[[], float]) -> float:
    """On a thread, while this one computes."""
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    total = 0
    while thread.is_alive():
        for i in range(1000):
            total += i * i
    return found[0]


def growing_frames(records: int = 500_000) -> None:
    from tests.bench.kafka_read import payload

    print(
        f"{records:,} records of memory://, with frames derived: 1 (a window), 10 (5 + 5)"
    )
    topic = sl.connect("memory://growth").topic("trades")
    for start in range(0, records, 50_000):
        topic.send([payload(i) for i in range(start, start + 50_000)])
    ways: dict[str, Callable[[Callable[[], float]], float]] = {
        "idle": lambda work: work(),
        "while a cell computes": beside_a_cell,
    }
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    for name, way in ways.items():
        pairs = [
            (way(lambda: through("trades", 1)), way(lambda: through("trades", 10)))
            for _ in range(ROUNDS)
        ]
        one, ten = (statistics.median(each) for each in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(
            f"  {name:22} one {one:5.2f} s   ten {ten:5.2f} s   ten / one {ratio:.2f}"
        )
    sys.setswitchinterval(before)


def main() -> None:
    words = [word for word in sys.argv[1:] if word.isalpha()]
    most = next((int(word) for word in sys.argv[1:] if word.isdigit()), 10**8)
    parts: dict[str, Callable[[], None]] = {
        "open": growing_open,
        "gone": lambda: growing_gone(most),
        "memory": growing_windows,
        "frames": growing_frames,
    }
    for name, part in parts.items():
        if not words or name in words:
            part()


if __name__ == "__main__":
    main()
