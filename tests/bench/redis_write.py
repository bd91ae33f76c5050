"""Sending rows to Redis, against a bare pipelined redis-py producer.

    python -m tests.bench.redis_write [rows]

Everything in one process, after import and connect; the two take turns, five times each, and
the ratios of neighbours are compared. Once more with the main thread computing: then both send
on a thread of their own, as a kernel's streams do.
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

import redis
import redis.asyncio

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.records import Outgoing

ROUNDS = 5
PIPELINE = 1_000


def payload(i: int) -> bytes:
    return (
        f'{{"time":{1_767_225_600_000 + i},"symbol":"NVDA",'
        f'"price":{90 + i % 97 / 4},"size":{i % 1000}}}'
    ).encode()


async def bare(port: int, rows: list[bytes]) -> int:
    """What anybody would write: XADDs, a thousand at a time, the ids kept."""
    client = redis.asyncio.Redis(port=port)
    ids: list[Any] = []
    for at in range(0, len(rows), PIPELINE):
        pipe = client.pipeline(transaction=False)
        for row in rows[at : at + PIPELINE]:
            pipe.xadd("bare", {"msg": row})
        ids += await pipe.execute()
    await client.aclose()
    return len(ids)


async def bare_sync(port: int, rows: list[bytes]) -> int:
    """The same with redis-py's plain client, which is faster at it."""
    client = redis.Redis(port=port)
    ids: list[Any] = []
    for at in range(0, len(rows), PIPELINE):
        pipe = client.pipeline(transaction=False)
        for row in rows[at : at + PIPELINE]:
            pipe.xadd("bare", {"msg": row})
        ids += pipe.execute()
    client.close()
    return len(ids)


async def ours(port: int, rows: list[bytes]) -> int:
    connection = backend.connect(uri.parse(f"redis://127.0.0.1:{port}/ours"), {})
    producer = await connection.producer("ours")
    sent = await producer.send(Outgoing(rows))
    await connection.aclose()
    return len(sent.offsets)


ROADS = {"redis.asyncio": bare, "redis": bare_sync, "ours": ours}


def timed(road: Callable[[int, list[bytes]], Awaitable[int]], *args: Any) -> float:
    async def run() -> float:
        began = time.perf_counter()
        assert await road(*args) == len(args[1])
        return time.perf_counter() - began

    return asyncio.run(run())


def while_computing(work: Callable[[], float]) -> float:
    """The same on a thread, while this one runs pure Python."""
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # as it is in a kernel while a stream runs
    thread.start()
    count = 0
    while thread.is_alive():
        count += sum(i * i for i in range(1_000))
    sys.setswitchinterval(interval)
    return found[0]


def plainly(work: Callable[[], float]) -> float:
    return work()


def measure(count: int) -> None:
    rows = [payload(i) for i in range(count)]
    with servers.valkey() as server:
        for how in (plainly, while_computing):
            times: dict[str, list[float]] = {name: [] for name in ROADS}
            for _ in range(ROUNDS):
                for name, road in ROADS.items():
                    work = partial(timed, road, server.port, rows)
                    times[name].append(how(work))
            for name, each in times.items():
                ratios = [t / o for t, o in zip(each, times["ours"], strict=True)]
                print(
                    f"{how.__name__:16} {name:16} {statistics.median(each):6.2f} s   "
                    f"ours is {statistics.median(ratios):5.2f} times as fast"
                )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
