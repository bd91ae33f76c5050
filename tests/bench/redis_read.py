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
from itertools import product
from typing import Any

import polars as pl
import redis.asyncio

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.formats import json
from streamlab.intake import Intake
from streamlab.records import Earliest, Latest, Outgoing, Records

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


Decode = Callable[[list[Records]], int]


def by_intake() -> Decode:
    """Records to rows as live frames do it: every record accounted for."""
    intake = Intake(json.make(), SCHEMA, ids_are_text=True)
    return lambda blocks: intake.take(blocks).decoded


def by_polars(blocks: list[Records]) -> int:
    """One parse of the joined payloads: the least that makes a frame."""
    joined = b"\n".join([v for block in blocks for v in block.values if v is not None])
    return pl.read_ndjson(joined, schema=SCHEMA).height


def by_counting(blocks: list[Records]) -> int:
    return sum(len(block.values) for block in blocks)


async def bare(port: int, protocol: int, count: int) -> int:
    client = redis.asyncio.Redis(port=port, protocol=protocol)
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


async def ours(port: int, count: int, decode: Decode) -> int:
    connection = backend.connect(uri.parse(f"redis://127.0.0.1:{port}/bench"), {})
    start = await connection.resolve("bench", Earliest())
    stop = await connection.resolve("bench", Latest())
    consumer = await connection.consumer(start, stop)
    rows = held = 0
    blocks: list[Records] = []
    decoding: asyncio.Task[int] | None = None
    while not consumer.ended:
        got = await consumer.receive(count, 1.0)
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


async def measure(records: int) -> None:
    with servers.valkey() as server:
        connection = backend.connect(uri.parse(f"{server.url}/bench"), {})
        producer = await connection.producer("bench")
        began = time.perf_counter()
        await producer.send(Outgoing([payload(i) for i in range(records)]))
        written = records / (time.perf_counter() - began) / 1e6
        await connection.aclose()
        roads: dict[str, Callable[[], Awaitable[int]]] = {}
        for protocol, n in product((2, 3), COUNTS):
            roads[f"bare redis.asyncio, RESP{protocol}, COUNT {n}"] = partial(
                bare, server.port, protocol, n
            )
        roads["consumer, counting"] = partial(ours, server.port, BLOCK, by_counting)
        for n in COUNTS:
            roads[f"consumer → read_ndjson, receive({n})"] = partial(
                ours, server.port, n, by_polars
            )
        for n in COUNTS:
            roads[f"consumer → intake, receive({n})"] = partial(
                ours, server.port, n, by_intake()
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
            f"{name:38} {speed:6.2f} M/s   {speed / best:5.2f} of the fastest bare loop"
        )


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000))
