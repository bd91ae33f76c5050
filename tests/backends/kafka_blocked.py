"""A notebook whose cell computes in pure Python for long, while a member of a group reads.

    python -m tests.backends.kafka_blocked URL TOPIC GROUP SESSION_MS SECONDS

Says "ready" once it has its share, waits for a line, blocks, and says what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from streamlab import uri
from streamlab.backends.base import GroupConsumer
from streamlab.backends.kafka import connection as backend
from streamlab.records import Earliest, Partition
from streamlab.runtime.loop import io


async def join(url: str, topic: str, group: str, session_ms: int) -> GroupConsumer:
    async def revoked(partitions: frozenset[Partition]) -> None:
        """Nothing is under way."""

    connection = backend.connect(
        uri.parse(url), {"session.timeout.ms": session_ms, "heartbeat.interval.ms": 500}
    )
    member = await connection.group_consumer(
        [topic], group=group, start=Earliest(), revoked=revoked, name="notebook"
    )
    while not member.state():
        await member.receive(100, 0.2)
    return member


async def keep_reading(member: GroupConsumer, got: list[bytes]) -> None:
    while True:
        for block in await member.receive(1000, 0.2):
            got += [value for value in block.values if value is not None]


def block(seconds: float) -> int:
    """A cell that computes."""
    end = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < end:
        turns += 1
    return turns


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(url: str, topic: str, group: str, session_ms: str, seconds: str) -> None:
    joining = join(url, topic, group, int(session_ms))
    member: GroupConsumer = io().call(joining, twin="join")
    got: list[bytes] = []
    failures: list[Any] = []
    io().spawn(keep_reading(member, got), name="reading", failed=failures.append)
    say("ready")
    sys.stdin.readline()
    block(float(seconds))
    seen = {
        "got": len(got),
        "rebalances": member.rebalances,
        "failures": [repr(failure) for failure in failures],
    }
    say(json.dumps(seen))
    asyncio.run_coroutine_threadsafe(member.aclose(), io().loop).result(5)


if __name__ == "__main__":
    main(*sys.argv[1:])
