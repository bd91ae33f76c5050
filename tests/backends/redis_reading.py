"""Reading a Redis topic to its end, for the tests beside this file."""

from __future__ import annotations

from typing import Any

from streamlab.backends.redis.connection import RedisConnection
from streamlab.backends.redis.merged import MergedConsumer
from streamlab.backends.redis.reader import RedisConsumer
from streamlab.records import Earliest, Latest, Partition, Records


async def reader(
    connection: RedisConnection, *topics: str
) -> RedisConsumer | MergedConsumer:
    start: dict[Partition, Any] = {}
    stop: dict[Partition, Any] = {}
    for topic in topics:
        start |= await connection.resolve(topic, Earliest())
        stop |= await connection.resolve(topic, Latest())
    return await connection.consumer(start, stop)


async def read(connection: RedisConnection, *topics: str) -> list[Records]:
    consumer = await reader(connection, *topics)
    blocks: list[Records] = []
    while not consumer.ended:
        blocks += await consumer.receive(1000, 1.0)
    return blocks


def values(blocks: list[Records]) -> list[bytes | None]:
    return [value for block in blocks for value in block.values]
