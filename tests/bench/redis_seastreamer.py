"""SeaStreamer's own benchmark on Redis, read by us: 100,000 messages of exactly 256 bytes.

    python -m tests.bench.redis_seastreamer

Seconds from the first message to the last, median of five; SeaStreamer's Rust consumer took
2.3 s on the machine of the README's figures.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.records import Earliest, Outgoing

COUNT, SIZE, ROUNDS = 100_000, 256, 5
THEIRS_S = 2.3


def payload(i: int) -> bytes:
    text = b"The quick brown fox number %05d jumps over the lazy dog; " % i
    return (text * (SIZE // len(text) + 1))[:SIZE]


async def once(url: str) -> float:
    connection = backend.connect(uri.parse(f"{url}/bench"), {})
    consumer = await connection.consumer(await connection.resolve("bench", Earliest()))
    seen, began = 0, 0.0
    while seen < COUNT:
        blocks = await consumer.receive(10_000, 1.0)
        began = began or time.perf_counter()
        seen += sum(len(block.values) for block in blocks)
    took = time.perf_counter() - began
    await connection.aclose()
    return took


async def measure() -> None:
    with servers.valkey() as server:
        connection = backend.connect(uri.parse(f"{server.url}/bench"), {})
        producer = await connection.producer("bench")
        began = time.perf_counter()
        await producer.send(Outgoing([payload(i) for i in range(COUNT)]))
        wrote = time.perf_counter() - began
        await connection.aclose()
        took = statistics.median([await once(server.url) for _ in range(ROUNDS)])
    print(f"written in {wrote:.2f} s; first to last message read in {took:.3f} s,")
    print(f"{THEIRS_S / took:.1f} times as fast as {THEIRS_S} s")


if __name__ == "__main__":
    asyncio.run(measure())
