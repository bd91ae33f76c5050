"""Brokers that may be killed, somebody who writes whatever happens, and a sink that keeps."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import polars as pl
import redis
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import streamlab as sl
from streamlab import servers
from streamlab.records import offset_rank
from tests.brokers import need
from tests.faults.produce import sender, streams

HERE = Path(__file__).parent
KINDS = ("redis", "kafka")
# After a kill a Kafka is refused by its own controller until its former session ends.
_QUICK = {"broker.session.timeout.ms": "500", "broker.heartbeat.interval.ms": "100"}
_LOOK_S = 0.01


class Where(NamedTuple):
    """A topic: on a "redis" or a "kafka", at a port of this machine."""

    kind: str
    port: int
    topic: str
    partitions: int


class Record(NamedTuple):
    """One record of a topic: the id it carries, and its place."""

    id: int
    partition: int
    offset: int | str


def until(what: Callable[[], Any], told: Callable[[], Any], most_s: float = 60) -> None:
    """Return once `what()` holds; `told()` is what to say if it never does."""
    for _ in range(int(most_s / _LOOK_S)):
        if what():
            return
        threading.Event().wait(_LOOK_S)
    raise AssertionError(told())


def start(kind: str, **given: Any) -> servers.Valkey | servers.Kafka:
    """A server of one's own that keeps what it acknowledges over kill -9."""
    if kind == "redis":
        need("valkey")
        return servers.valkey(appendonly=True, **given)
    need("kafka")
    return servers.kafka(extra=_QUICK, **given)


def make(where: Where) -> None:
    """Make the topic; on Redis the first entries do."""
    if where.kind == "kafka":
        asyncio.run(_make(where))


async def _make(where: Where) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{where.port}")
    await admin.start()
    try:
        await admin.create_topics([NewTopic(where.topic, where.partitions, 1)])
    finally:
        await admin.close()


def put(where: Where, ids: Iterable[int]) -> None:
    """Write records with these ids."""

    async def work() -> None:
        async with sender(*where) as send:
            await send(ids)

    asyncio.run(work())


def everything(where: Where) -> list[Record]:
    """All that is in a topic, read by the bare client: what the server has kept."""
    if where.kind == "kafka":
        return asyncio.run(_all_of_kafka(where))
    names = streams(where.topic, where.partitions)
    with redis.Redis(port=where.port) as client:
        return [
            Record(json.loads(fields[b"msg"])["id"], number, entry.decode())
            for number, name in enumerate(names)
            for entry, fields in client.xrange(name)
        ]


async def _all_of_kafka(where: Where) -> list[Record]:
    client = AIOKafkaConsumer(bootstrap_servers=f"127.0.0.1:{where.port}")
    await client.start()
    places = [TopicPartition(where.topic, n) for n in range(where.partitions)]
    client.assign(places)
    await client.seek_to_beginning()
    ends = await client.end_offsets(places)
    found: list[Record] = []
    for place in places:
        while await client.position(place) < ends[place]:
            for message in (await client.getmany(place, timeout_ms=100)).get(place, ()):
                number = json.loads(message.value)["id"]
                found.append(Record(number, place.partition, message.offset))
    await client.stop()
    return found


class Producing:
    """A process of `produce.py`; ends with `with`."""

    def __init__(self, where: Where, file: Path, *, pause_s: float = 0.005) -> None:
        """Acknowledged ids are noted in `file`; `pause_s` between two batches of ten."""
        self._file = file
        words = [*where, file, pause_s]
        self._child = subprocess.Popen(
            [sys.executable, HERE / "produce.py", *map(str, words)],
            stdin=subprocess.PIPE,
        )

    @property
    def acknowledged(self) -> int:
        """How many ids the broker has acknowledged: all below that."""
        if not self._file.exists():
            return 0
        return self._file.read_bytes().count(b"\n")

    def goes_on(self, by: int) -> None:
        """Return once so many more are acknowledged."""
        wanted = self.acknowledged + by
        until(lambda: self.acknowledged >= wanted, lambda: self.acknowledged)

    def finish(self) -> int:
        """End it, and return how many were acknowledged."""
        self._child.communicate(timeout=60)
        assert self._child.returncode == 0
        return self.acknowledged

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()


class Sink:
    """A function sink: rows with `id`, `_partition` and `_offset` go to a file and stay there.

    Attributes:
        count: how many it has written.
        newest: the highest id of each partition.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a")
        self.count = 0
        self.newest: dict[int, int] = {}

    def __call__(self, rows: pl.DataFrame) -> None:
        some = rows.select("id", "_partition", "_offset").rows()
        self._file.write("".join(json.dumps(row) + "\n" for row in some))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.newest |= {partition: number for number, partition, _ in some}
        self.count += len(some)

    def close(self) -> None:
        self._file.close()

    @property
    def records(self) -> list[Record]:
        """What the file holds, in the order of writing, without a line under way."""
        whole, _, _ = self._path.read_text().rpartition("\n")
        return [Record(*json.loads(line)) for line in whole.splitlines()]


class Mark(NamedTuple):
    """A moment when a reader had caught up.

    Attributes:
        written: how many the sink had written by then.
        committed: partition → the next offset that the group needed.
    """

    written: int
    committed: Mapping[int, Any]


class Reader:
    """A live frame of a group, named as its mode, with a sink; ends with `with`.

    Attributes:
        marks: what it has committed when.
    """

    def __init__(
        self, source: sl.Topic, mode: str, folder: Path, name: str | None = None
    ) -> None:
        """Its file is called `name`, or as its mode."""
        self.mode = mode
        self.sink = Sink(folder / (name or mode))
        self.marks: list[Mark] = []
        self._source = source
        self.live = source.live(start="earliest", group=mode, mode=mode, keep=1_000)
        self.live.to(self.sink, name=mode)

    def catches_up(self, acknowledged: int, partitions: int) -> None:
        """Return once it has written all ids below, and says that all is well."""

        def has() -> bool:
            # Ids go round the partitions, and in each they come in their order.
            newest = self.sink.newest
            wanted = acknowledged - partitions
            there = len(newest) == partitions and min(newest.values()) >= wanted
            return there and self.live.status().state in {"live", "catching up"}

        until(has, lambda: (self.sink.newest, acknowledged, self.live.status()))

    def comes_to_be(self, state: str) -> None:
        """Return once its status says so."""
        until(lambda: self.live.status().state == state, self.live.status)

    def commit(self) -> None:
        """Commit, and note what the broker says of it; only when caught up."""
        self.live.commit()
        rows = self._source.info(group=self.mode)
        found = dict(rows.select("partition", "committed").iter_rows())
        self.marks.append(Mark(self.sink.count, found))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()
        self.sink.close()

    def check(self, kept: Sequence[Record]) -> None:
        """Assert that all there is was written, and again only what was not committed."""
        written = self.sink.records
        assert {*written} == {*kept}, self.mode
        assert self.live.stats.lost == 0
        for at, record in again(written):
            marks = [mark for mark in self.marks if mark.written <= at]
            before = marks[-1].committed[record.partition]
            assert offset_rank(record.offset) >= offset_rank(before), self.mode


def again(records: Iterable[Record]) -> Iterator[tuple[int, Record]]:
    """Those that had come before, with their place."""
    seen: set[Record] = set()
    for at, record in enumerate(records):
        if record in seen:
            yield at, record
        seen.add(record)


@contextmanager
def reading(source: sl.Topic, folder: Path) -> Iterator[Sequence[Reader]]:
    """A reader in each mode that commits."""
    modes = ("resumable", "load-balanced")
    with ExitStack() as stack:
        yield [stack.enter_context(Reader(source, mode, folder)) for mode in modes]
