"""Decoding speed: `python tests/bench/decode.py`. Ratios within one run; medians.

The measure is bare `pl.read_ndjson` of payloads already joined, which does no more than parse.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import polars as pl

from streamlab.entry_ids import split
from streamlab.formats.json import make
from streamlab.intake import Intake
from streamlab.records import Partition, Records

SCHEMA = pl.Schema(
    {
        "time": pl.Int64(),
        "symbol": pl.String(),
        "price": pl.Float64(),
        "size": pl.Int64(),
    }
)
NARROW = pl.Schema({"time": pl.Int64(), "price": pl.Float64()})
START = 1_795_352_702_113


def median(job: Callable[[], object], times: int) -> float:
    job()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        job()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def payloads(count: int, poison: float = 0.0, lacking: float = 0.0) -> list[bytes]:
    rng = random.Random(0)  # noqa: S311  # made-up trades, no secret
    out = []
    for i in range(count):
        row: dict[str, object] = {
            "time": START + i,
            "symbol": rng.choice(["NVDA", "AAPL", "MSFT"]),
            "price": round(rng.uniform(1, 500), 2),
            "size": rng.randint(1, 100),
        }
        if rng.random() < poison:
            row["price"] = "12,50"
        if rng.random() < lacking:
            del row["size"]
        out.append(json.dumps(row, separators=(",", ":")).encode())
    return out


def blocks(values: Sequence[bytes], *, ids: bool) -> list[Records]:
    stamps = [START + i for i in range(len(values))]
    if ids:
        offsets = [f"{stamp}-0".encode() for stamp in stamps]
        return [Records(Partition("t", 0), offsets, None, values)]
    return [Records(Partition("t", 0), list(range(len(values))), stamps, values)]


def line(what: str, seconds: float, count: int, bare: float) -> None:
    rate, ratio = count / seconds / 1e6, bare / seconds
    print(f"{what:52}{1e6 * seconds:10.0f} µs{rate:8.2f} M/s{ratio:7.2f} of bare")


def main() -> None:
    json_format = make()
    for count in (1, 100, 1_000, 20_000, 50_000):
        times = 100 if count <= 1_000 else 9
        good = payloads(count)
        joined = b"\n".join(good)
        bare = median(partial(pl.read_ndjson, joined, schema=SCHEMA), times)
        print(f"\n{count} records of {len(joined) // count} bytes")
        line("bare read_ndjson", bare, count, bare)
        cases = {
            "decode, clean": (good, SCHEMA),
            "decode, schema of two of the four fields": (good, NARROW),
            "decode, 10 % lack a field": (payloads(count, lacking=0.1), SCHEMA),
        }
        if count > 1:
            cases["decode, one bad record"] = ([*good[:-1], b"x"], SCHEMA)
            cases["decode, 5 % bad records"] = (payloads(count, poison=0.05), SCHEMA)
        for what, (values, schema) in cases.items():
            taken = median(partial(json_format.decode, values, schema), min(times, 30))
            line(what, taken, count, bare)
        for what, ids, event_time in (
            ("intake", False, None),
            ("intake, Redis ids", True, None),
            ('intake, Redis ids, time="time"', True, "time"),
        ):
            intake = Intake(json_format, SCHEMA, time=event_time, ids_are_text=ids)
            ready = blocks(good, ids=ids)
            line(what, median(partial(intake.take, ready), times), count, bare)
    entry_ids = [f"{START + i // 3}-{i % 3}".encode() for i in range(50_000)]
    taken = median(partial(split, entry_ids), 9)
    print(f"\nentry_ids.split: {50_000 / taken / 1e6:.1f} M ids/s")


if __name__ == "__main__":
    main()
