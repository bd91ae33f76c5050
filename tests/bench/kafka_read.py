"""Kafka → decoded frame, against the bare aiokafka loop that only counts.

    python -m tests.bench.kafka_read [records]

Everything in one process, after import; the roads take turns, five times each, and the median
of the rounds' ratios counts. Ours decodes on one worker thread while the next answers come in.
"While a cell computes" has the main thread in a pure Python loop and all of this on the I/O
loop's thread, as in a notebook.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from streamlab import servers, uri
from streamlab.backends.kafka import connection as backend
from streamlab.formats import json
from streamlab.intake import Intake
from streamlab.records import Earliest, Latest, Outgoing, Records

ROUNDS = 5
PARTITIONS = 4
BLOCK = 50_000
SWITCH_S = 0.0005  # what a kernel is set to while a stream runs
SCHEMA = pl.Schema(
    {"time": pl.Int64, "symbol": pl.String, "price": pl.Float64, "size": pl.Int64}
)
Decode = Callable[[list[Records]], int]
Road = Callable[[], Awaitable[int]]


def payload(i: int) -> bytes:
    """57 to 62 bytes, as trades are: no two lengths in a row alike."""
    price = 90 + i % 97 / 4
    symbol = ("NVDA", "AAPL", "F")[i % 3]
    return (
        f'{{"time":{1_767_225_600_000 + i},"symbol":"{symbol}",'
        f'"price":{price},"size":{i % 1000}}}'
    ).encode()


def by_intake() -> Decode:
    """Records to rows as live frames do it: every record accounted for."""
    intake = Intake(json.make(), SCHEMA, ids_are_text=False)
    return lambda blocks: intake.take(blocks).decoded


def by_counting(blocks: list[Records]) -> int:
    return sum(len(block.values) for block in blocks)


async def bare(address: str, records: int) -> int:
    """The loop that everybody writes, doing nothing with what it gets."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign([TopicPartition("bench", n) for n in range(PARTITIONS)])
    await consumer.seek_to_beginning()
    seen = 0
    while seen < records:
        got = await consumer.getmany(timeout_ms=1000, max_records=20_000)
        seen += sum(map(len, got.values()))
    await consumer.stop()
    return seen


async def ours(url: str, decode: Decode, *, fast: bool = True) -> int:
    connection = backend.connect(uri.parse(f"{url}/bench"), {}, fast=fast)
    start = await connection.resolve("bench", Earliest())
    stop = await connection.resolve("bench", Latest())
    consumer = await connection.consumer(start, stop)
    rows = held = 0
    blocks: list[Records] = []
    decoding: asyncio.Task[int] | None = None
    while not consumer.ended:
        got = await consumer.receive(BLOCK - held, 1.0)
        blocks += got
        held += by_counting(list(got))
        if held >= BLOCK or consumer.ended:
            if decoding is not None:
                rows += await decoding
            decoding = asyncio.create_task(asyncio.to_thread(decode, blocks))
            blocks, held = [], 0
    if decoding is not None:
        rows += await decoding
    await connection.aclose()
    return rows


async def fill(url: str, records: int) -> None:
    connection = backend.connect(uri.parse(f"{url}/bench"), {})
    producer = await connection.producer("bench", partitions=PARTITIONS)
    for start in range(0, records, 100_000):
        rows = range(start, min(records, start + 100_000))
        await producer.send(
            Outgoing(
                [payload(i) for i in rows], partitions=[i % PARTITIONS for i in rows]
            )
        )
    await connection.aclose()


async def timed(road: Road, records: int) -> float:
    began = time.perf_counter()
    seen = await road()
    assert seen == records, seen
    return records / (time.perf_counter() - began) / 1e6


def here(road: Road, records: int) -> float:
    """Alone in the process."""
    return asyncio.run(timed(road, records))


def beside_a_cell(road: Road, records: int) -> float:
    """On a thread, while this one computes."""
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(here(road, records)))
    thread.start()
    total = 0
    while thread.is_alive():
        for i in range(1000):
            total += i * i
    return found[0]


def compare(
    title: str, way: Callable[[Road, int], float], roads: dict[str, Road], records: int
) -> None:
    rounds: list[dict[str, float]] = [
        {name: way(road, records) for name, road in roads.items()}
        for _ in range(ROUNDS)
    ]
    print(f"{title}:")
    base = next(iter(roads))
    for name in roads:
        speed = statistics.median(each[name] for each in rounds)
        ratio = statistics.median(each[name] / each[base] for each in rounds)
        print(f"  {name:34} {speed:6.2f} M/s   {ratio:5.2f} of the bare loop")


def measure(records: int, server: Any) -> None:
    url, address = server.url, f"{server.host}:{server.port}"
    asyncio.run(fill(url, records))
    roads: dict[str, Road] = {
        "bare getmany(20000), counting": partial(bare, address, records),
        "consumer, counting": partial(ours, url, by_counting),
        "consumer → intake": partial(ours, url, by_intake()),
        "record by record → intake": partial(ours, url, by_intake(), fast=False),
    }
    print(f"{records} records of {len(payload(100_000))} bytes; {backend.road()[1]}")
    compare("alone", here, roads, records)
    # Too slow to be of use, and everybody's loop all the same.
    del roads["record by record → intake"]
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    compare("while a cell computes", beside_a_cell, roads, records)
    sys.setswitchinterval(before)


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with servers.kafka() as server:
        measure(records, server)


if __name__ == "__main__":
    main()
