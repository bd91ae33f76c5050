"""Kafka → mean and count by symbol and second, against the bare aiokafka loop that only counts.

    python -m tests.bench.kafka_windows [records] [--peers]

Everything in one process, after import; the roads take turns, five times each, and the median
of the rounds' ratios counts. Ours is what a user writes: a topic with a schema, `live` from
the earliest record to the latest, a window of 1 s by symbol. "While a cell computes" has the
main thread in a pure Python loop. `--peers` has other people's tools do the same in the same
run, each in a process and a virtual environment of its own (see `others.py`); what can't be
installed or run is listed with the reason.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any

import polars as pl

import streamlab as sl
from streamlab import servers
from tests.bench import others
from tests.bench.kafka_read import (
    SCHEMA,
    SWITCH_S,
    Road,
    bare,
    beside_a_cell,
    compare,
    fill,
    here,
)

RECORDS = 2_000_000
PEER_SHARE = (
    4  # slower ones are given the topic too, and stopped after this share of it
)


def windows(url: str) -> sl.LiveFrame:
    """Mean and count by symbol and second, of the topic from end to end."""
    topic = sl.topic(f"{url}/bench", format="json", schema=SCHEMA, time="time")
    live = topic.live(start="earliest", until="latest")
    return live.window("1s", by="symbol", lateness="1s").agg(
        mean=pl.col("price").mean(), n=pl.len()
    )


def ours(url: str, records: int) -> Road:
    """A road that ends when every record is in its window."""

    def run() -> int:
        frame = windows(url)
        frame.wait(count=records, timeout="600s")
        seen = int(frame.df["n"].sum())
        frame.source.stop()
        return seen

    return lambda: asyncio.to_thread(run)


def measure(records: int, server: Any) -> None:
    """Alone, and while a cell computes."""
    url, address = server.url, f"{server.host}:{server.port}"
    asyncio.run(fill(url, records))
    roads: dict[str, Road] = {
        "bare getmany(20000), counting": partial(bare, address, records),
        "1 s mean and count by symbol": ours(url, records),
    }
    compare("alone", here, roads, records)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    compare("while a cell computes", beside_a_cell, roads, records)
    sys.setswitchinterval(before)


def beside(records: int, server: Any) -> None:
    """The other tools, with the bare loop once before each of them."""
    address = f"{server.host}:{server.port}"
    print("others, each alone in a process of its own:")
    for name in others.PEERS:
        base = here(partial(bare, address, records), records)
        told = others.run(name, address, "bench", records)
        if told.speed is None:
            print(f"  {name:34} {told.reason}")
        else:
            ratio = told.speed / base
            print(f"  {name:34} {told.speed:6.2f} M/s   {ratio:5.2f} of the bare loop")


def main() -> None:
    records = next((int(word) for word in sys.argv[1:] if word.isdigit()), RECORDS)
    with servers.kafka() as server:
        measure(records, server)
        if "--peers" in sys.argv:
            beside(records, server)


if __name__ == "__main__":
    main()
