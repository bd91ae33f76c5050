"""A process that writes records to a topic, whatever becomes of the broker, until its input ends.

    python produce.py redis|kafka PORT TOPIC PARTITIONS ACKNOWLEDGED PAUSE

Ids go round the partitions, with event times that come up to 4 s late. Every id that the broker
has acknowledged is noted in the file ACKNOWLEDGED; what was not is sent again, so that an id may
be in the topic twice. The clients are redis-py and aiokafka, not ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import select
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import redis
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from redis.backoff import NoBackoff
from redis.retry import Retry

BATCH = 10
AGAIN_S = 0.05
EPOCH_MS, STEP_MS, LATE_MS = 1_767_225_600_000, 200, 4_000
Send = Callable[[Iterable[int]], Awaitable[None]]


def payload(number: int) -> bytes:
    """One record; event time goes on with the ids, but not evenly."""
    late = number * 7_919 % (LATE_MS + 1)
    row = {
        "id": number,
        "time": EPOCH_MS + number * STEP_MS - late,
        "symbol": "ABC"[number * 31 % 7 % 3],
        "price": float(
            number % 97
        ),  # whole numbers: their sum is the same in any order
    }
    return json.dumps(row).encode()


def streams(topic: str, partitions: int) -> list[str]:
    """The streams of a topic on Redis."""
    return [topic] if partitions == 1 else [f"{topic}:{n}" for n in range(partitions)]


@contextlib.asynccontextmanager
async def sender(
    kind: str, port: int, topic: str, partitions: int
) -> AsyncIterator[Send]:
    """What sends ids, and raises if one is not acknowledged."""
    if kind == "redis":
        yield _to_redis(port, streams(topic, partitions))
        return
    producer = AIOKafkaProducer(
        bootstrap_servers=f"127.0.0.1:{port}",
        acks="all",
        request_timeout_ms=5_000,
        retry_backoff_ms=50,
        metadata_max_age_ms=1_000,
    )

    async def send(ids: Iterable[int]) -> None:
        sent = [
            await producer.send(topic, payload(n), partition=n % partitions)
            for n in ids
        ]
        # All have ended before the first error is raised: none may come after a second try.
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    await producer.start()
    try:
        yield send
    finally:
        await producer.stop()


def _to_redis(port: int, keys: list[str]) -> Send:
    client = redis.Redis(port=port, socket_timeout=5.0, retry=Retry(NoBackoff(), 0))

    async def send(ids: Iterable[int]) -> None:
        with client.pipeline(transaction=False) as pipe:
            for number in ids:
                pipe.xadd(keys[number % len(keys)], {"msg": payload(number)})
            pipe.execute()

    return send


async def produce(send: Send, acknowledged: Path, pause_s: float) -> None:
    """Send and send again, until our input has ended."""
    batches = ([*range(n, n + BATCH)] for n in itertools.count(0, BATCH))
    with acknowledged.open("w", buffering=1) as file:
        for batch in batches:
            while True:
                try:
                    await send(batch)
                    break
                except (redis.RedisError, KafkaError, OSError, TimeoutError):
                    await asyncio.sleep(AGAIN_S)
            file.write("".join(f"{number}\n" for number in batch))
            if select.select([sys.stdin], [], [], 0)[0]:
                return
            await asyncio.sleep(pause_s)


async def main(words: list[str]) -> None:
    kind, port, topic, partitions, acknowledged, pause = words
    async with sender(kind, int(port), topic, int(partitions)) as send:
        await produce(send, Path(acknowledged), float(pause))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
