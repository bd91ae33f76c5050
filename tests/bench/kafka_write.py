"""Rows → Kafka, against a bare pipelined loop of aiokafka's producer.

    python -m tests.bench.kafka_write [rows]

Both are idempotent and wait for all replicas. Everything in one process, after connecting; the
two take turns, five times each, and the median of the five ratios counts. Once alone and once
"while a cell computes": a pure-Python loop on the main thread, the I/O on its own.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiokafka import AIOKafkaProducer

from streamlab import servers, uri
from streamlab.backends.kafka import connection as backend
from streamlab.records import Earliest, Latest, Outgoing
from tests.bench.redis_read import payload

ROUNDS = 5
PARTITIONS = 4
Road = Callable[[list[bytes]], Awaitable[object]]


async def measure(server: servers.Kafka, count: int, title: str) -> None:
    rows = [payload(i) for i in range(count)]
    keys = [b"user-%d" % (i % 5_000) for i in range(count)]
    connection = backend.connect(uri.parse(server.url), {})
    writer = await connection.producer("bench", partitions=PARTITIONS)
    client = AIOKafkaProducer(
        bootstrap_servers=f"{server.host}:{server.port}",
        enable_idempotence=True,
        acks="all",
    )
    await client.start()

    async def bare(values: list[bytes]) -> object:
        return await asyncio.gather(*[await client.send("bench", v) for v in values])

    async def bare_keys(values: list[bytes]) -> object:
        pairs = zip(keys, values, strict=True)
        return await asyncio.gather(
            *[await client.send("bench", v, key=k) for k, v in pairs]
        )

    async def ours(values: list[bytes]) -> object:
        return await writer.send(Outgoing(values))

    async def ours_keys(values: list[bytes]) -> object:
        return await writer.send(Outgoing(values, keys))

    print(f"\n{count} rows of {len(rows[0])} bytes, {PARTITIONS} partitions, {title}")
    await _compare("no keys", bare, ours, rows)
    await _compare("keys", bare_keys, ours_keys, rows)
    start = await connection.resolve("bench", Earliest())
    end = await connection.resolve("bench", Latest())
    there = sum(int(end[p]) - int(start[p]) for p in start)
    assert there == count * 4 * (ROUNDS + 1), there
    await connection.trim("bench", before=end)
    await client.stop()
    await connection.aclose()


async def _compare(what: str, bare: Road, ours: Road, rows: list[bytes]) -> None:
    speeds: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):
        pair = []
        for road in (bare, ours):
            began = time.perf_counter()
            await road(rows)
            pair.append(len(rows) / (time.perf_counter() - began) / 1e3)
        speeds.append((pair[0], pair[1]))
    ratios = [mine / theirs for theirs, mine in speeds[1:]]
    slow, fast = (statistics.median(column) for column in zip(*speeds[1:], strict=True))
    print(
        f"{what:8} bare {slow:6.0f} k/s   ours {fast:6.0f} k/s   "
        f"ratio {statistics.median(ratios):.2f}"
    )


@contextmanager
def computing() -> Iterator[None]:
    """A cell that computes, on a thread beside."""
    over = threading.Event()

    def cell() -> None:
        while not over.is_set():
            sum(range(1_000))

    thread = threading.Thread(target=cell)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main(count: int) -> None:
    with servers.kafka() as server:
        asyncio.run(measure(server, count, "alone"))
    with servers.kafka() as server, computing():
        asyncio.run(measure(server, count, "while a cell computes"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
