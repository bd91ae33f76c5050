"""Redis → decoded frame, against the bare `redis.asyncio` loop that only counts.

    python -m tests.bench.redis_read [records]

Everything in one process, after import and connect; the roads take turns, five times each, and
the medians are compared. Ours decodes on one worker thread while the next answers come in.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import polars as pl
import redis.asyncio

from streamlab import servers, uri
from streamlab.backends import redis as backend
from streamlab.records import Earliest, Latest, Outgoing

ROUNDS = 5
COUNTS = (100, 1_000, 10_000)
BLOCK = 20_000
SCHEMA = pl.Schema(
    {"time": pl.Int64, "symbol": pl.String, "price": pl.Float64, "size": pl.Int64}
)


def payload(i: int) -> bytes:
    """57 to 62 bytes, as trades are: no two lengths in a row alike."""
    price = 90 + i % 97 / 4
    symbol = ("NVDA", "AAPL", "F")[i % 3]
    return (
        f'{{"time":{1_767_225_600_000 + i},"symbol":"{symbol}",'
        f'"price":{price},"size":{i % 1000}}}'
    ).encode()


def decode(values: list[bytes]) -> int:
    return pl.read_ndjson(b"\n".join(values), schema=SCHEMA).height


async def bare(port: int, count: int) -> int:
    client = redis.asyncio.Redis(port=port)
    await client.ping()
    last, seen = b"0-0", 0
    while reply := await client.xread({"bench": last}, count=count):
        entries: Any = _entries(reply)
        seen += len(entries)
        last = entries[-1][0]
    await client.aclose()
    return seen


def _entries(reply: Any) -> Any:
    """The stream's entries, in the shape of either protocol."""
    return reply[0][1] if isinstance(reply, list) else reply[b"bench"][0]


async def ours(port: int, count: int, *, into_frame: bool) -> int:
    connection = backend.connect(uri.parse(f"redis://127.0.0.1:{port}/bench"), {})
    start = await connection.resolve("bench", Earliest())
    stop = await connection.resolve("bench", Latest())
    consumer = await connection.consumer(start, stop)
    rows = 0
    values: list[bytes] = []
    decoding: asyncio.Task[int] | None = None
    while not consumer.ended:
        for block in await consumer.receive(count, 1.0):
            values += [value for value in block.values if value is not None]
        if not into_frame:
            rows, values = rows + len(values), []
        elif len(values) >= BLOCK or consumer.ended:
            if decoding is not None:
                rows += await decoding
            decoding = asyncio.create_task(asyncio.to_thread(decode, values))
            values = []
    if decoding is not None:
        rows += await decoding
    await connection.aclose()
    return rows


async def measure(records: int) -> None:
    with servers.valkey() as server:
        connection = backend.connect(uri.parse(f"{server.url}/bench"), {})
        producer = await connection.producer("bench")
        began = time.perf_counter()
        await producer.send(Outgoing([payload(i) for i in range(records)]))
        written = records / (time.perf_counter() - began) / 1e6
        await connection.aclose()
        roads: dict[str, Callable[[], Awaitable[int]]] = {}
        for n in COUNTS:
            roads[f"bare redis.asyncio, COUNT {n}"] = partial(bare, server.port, n)
        roads["consumer, counting"] = partial(
            ours, server.port, BLOCK, into_frame=False
        )
        for n in COUNTS:
            roads[f"consumer → frame, receive({n})"] = partial(
                ours, server.port, n, into_frame=True
            )
        speeds: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(ROUNDS):
            for name, road in roads.items():
                began = time.perf_counter()
                seen = await road()
                assert seen == records, (name, seen)
                speeds[name].append(records / (time.perf_counter() - began) / 1e6)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best = max(speed for name, speed in medians.items() if name.startswith("bare"))
    print(
        f"{records} records of {len(payload(100_000))} bytes; written at {written:.2f} M/s"
    )
    for name, speed in medians.items():
        print(
            f"{name:32} {speed:6.2f} M/s   {speed / best:5.2f} of the fastest bare loop"
        )


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000))
