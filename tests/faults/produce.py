"""A process that writes ids to a topic, whatever becomes of the broker, until its input ends.

    python produce.py redis|kafka PORT TOPIC PARTITIONS ACKNOWLEDGED

Every id that the broker has acknowledged is noted in the file ACKNOWLEDGED. What was not is sent
again, so that an id may be in the topic twice. The clients are redis-py and aiokafka, not ours.
"""

from __future__ import annotations

import asyncio
import json
import select
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import redis
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from redis.backoff import NoBackoff
from redis.retry import Retry

BATCH = 10
PAUSE_S = 0.005
Send = Callable[[Sequence[int]], Awaitable[None]]


def payload(number: int) -> bytes:
    return json.dumps({"id": number}).encode()


def over() -> bool:
    """Whether our input has ended."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


async def produce(send: Send, acknowledged: Path) -> None:
    """Send and send again."""
    done = 0
    with acknowledged.open("w", buffering=1) as file:
        while not over():
            batch = range(done, done + BATCH)
            try:
                await send(batch)
            except (redis.RedisError, KafkaError, OSError, TimeoutError):
                await asyncio.sleep(PAUSE_S * 10)
                continue
            file.write("".join(f"{number}\n" for number in batch))
            done += BATCH
            await asyncio.sleep(PAUSE_S)


async def to_redis(port: int, topic: str, partitions: int, file: Path) -> None:
    client = redis.Redis(port=port, socket_timeout=5.0, retry=Retry(NoBackoff(), 0))
    keys = [topic] if partitions == 1 else [f"{topic}:{n}" for n in range(partitions)]

    async def send(batch: Sequence[int]) -> None:
        with client.pipeline(transaction=False) as pipe:
            for number in batch:
                pipe.xadd(keys[number % partitions], {"msg": payload(number)})
            pipe.execute()

    await produce(send, file)


async def to_kafka(port: int, topic: str, partitions: int, file: Path) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=f"127.0.0.1:{port}",
        acks="all",
        request_timeout_ms=5_000,
        retry_backoff_ms=50,
        metadata_max_age_ms=1_000,
    )

    async def send(batch: Sequence[int]) -> None:
        sent = [
            await producer.send(topic, payload(n), partition=n % partitions)
            for n in batch
        ]
        results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    await producer.start()
    try:
        await produce(send, file)
    finally:
        await producer.stop()


if __name__ == "__main__":
    kind, port, topic, partitions, file = sys.argv[1:]
    to = {"redis": to_redis, "kafka": to_kafka}[kind]
    asyncio.run(to(int(port), topic, int(partitions), Path(file)))
