"""Reading as a member of a Redis group, XREADGROUP and XACK, to decoded frames; against the bare
`redis.asyncio` loop that reads, acknowledges and only counts (and against the plain client's, which is no use beside others).

    python -m tests.bench.redis_group [records]

Everything in one process, after import and connect; the roads take turns, five times each, and
the ratios of neighbours are compared. Once more while the main thread computes: then all of it
runs on a thread of its own, as a kernel's streams do. Ours decodes on a worker thread and
commits what is decoded while the next answers come in.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import redis
import redis.asyncio

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.records import Earliest, Mark, Outgoing, Partition, Records
from tests.bench.redis_read import by_counting, by_intake, payload
from tests.bench.redis_write import plainly, while_computing

ROUNDS = 5
BLOCK = 20_000
GROUP = "g"


async def bare(port: int, count: int, records: int) -> int:
    """What anybody would write: read, count, acknowledge."""
    client = redis.asyncio.Redis(port=port)
    seen = 0
    while seen < records:
        reply: Any = await client.xreadgroup(GROUP, "bare", {"bench": ">"}, count=count)
        ((_, entries),) = reply
        seen += len(entries)
        await client.xack("bench", GROUP, *[entry for entry, _ in entries])
    await client.aclose()
    return seen


async def bare_sync(port: int, count: int, records: int) -> int:
    """The same with redis-py's plain client."""
    client = redis.Redis(port=port)
    seen = 0
    while seen < records:
        reply: Any = client.xreadgroup(GROUP, "bare", {"bench": ">"}, count=count)
        ((_, entries),) = reply
        seen += len(entries)
        client.xack("bench", GROUP, *[entry for entry, _ in entries])
    client.close()
    return seen


async def nobody_minds(partitions: frozenset[Partition]) -> None:
    """Members share all partitions."""


class Committer:
    """Decodes on a thread, one block at a time, and commits what is decoded."""

    def __init__(self, member: Any, decode: Callable[[list[Records]], int]) -> None:
        self.rows = 0
        self._member, self._decode = member, decode
        self._work: asyncio.Task[None] | None = None

    async def take(self, blocks: list[Records], upto: dict[Partition, Mark]) -> None:
        await self.finish()
        self._work = asyncio.create_task(self._one(blocks, upto))

    async def finish(self) -> None:
        if self._work is not None:
            await self._work

    async def _one(self, blocks: list[Records], upto: dict[Partition, Mark]) -> None:
        self.rows += await asyncio.to_thread(self._decode, blocks)
        await self._member.commit(upto)


async def ours(port: int, decode: Callable[[list[Records]], int], records: int) -> int:
    connection = backend.connect(uri.parse(f"redis://127.0.0.1:{port}/bench"), {})
    member = await connection.group_consumer(
        ["bench"], group=GROUP, start=Earliest(), revoked=nobody_minds
    )
    committer = Committer(member, decode)
    seen = held = 0
    blocks: list[Records] = []
    while seen < records:
        got = await member.receive(BLOCK, 1.0)
        blocks += got
        held += by_counting(list(got))
        if held >= BLOCK or seen + held >= records:
            seen += held
            marks = {p: state.mark for p, state in member.state().items()}
            await committer.take(blocks, marks)
            blocks, held = [], 0
    await committer.finish()
    await connection.aclose()
    return committer.rows


async def begin_anew(port: int) -> None:
    async with redis.asyncio.Redis(port=port) as client:
        if any(g["name"] == GROUP.encode() for g in await client.xinfo_groups("bench")):
            assert (await client.xpending("bench", GROUP))["pending"] == 0
            await client.xgroup_destroy("bench", GROUP)
        await client.xgroup_create("bench", GROUP, id="0")


def timed(port: int, road: Callable[[], Awaitable[int]], records: int) -> float:
    async def run() -> float:
        await begin_anew(port)
        began = time.perf_counter()
        assert await road() == records
        return time.perf_counter() - began

    return asyncio.run(run())


async def fill(port: int, records: int) -> None:
    connection = backend.connect(uri.parse(f"redis://127.0.0.1:{port}/bench"), {})
    producer = await connection.producer("bench")
    await producer.send(Outgoing([payload(i) for i in range(records)]))
    await connection.aclose()


def measure(records: int) -> None:
    with servers.valkey() as server:
        port = server.port
        asyncio.run(fill(port, records))
        roads = {
            "redis.asyncio, 1000": partial(bare, port, 1_000, records),
            "redis.asyncio, 10000": partial(bare, port, 10_000, records),
            "redis, 1000": partial(bare_sync, port, 1_000, records),
            "member, counting": partial(ours, port, by_counting, records),
            "member → frame": partial(ours, port, by_intake(), records),
        }
        for how in (plainly, while_computing):
            times: dict[str, list[float]] = {name: [] for name in roads}
            for _ in range(ROUNDS):
                for name, road in roads.items():
                    times[name].append(how(partial(timed, port, road, records)))
            mine = times["member → frame"]
            for name, each in times.items():
                ratios = [t / o for t, o in zip(each, mine, strict=True)]
                print(
                    f"{how.__name__:16} {name:20} "
                    f"{records / statistics.median(each) / 1e6:6.2f} M/s   "
                    f"member → frame is {statistics.median(ratios):5.2f} times as fast"
                )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
