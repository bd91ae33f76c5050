from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

import pytest

from streamlab import uri
from streamlab.backends.base import Connection
from streamlab.backends.memory import broker as memory
from streamlab.errors import (
    ConnectError,
    PositionError,
    TopicNotFoundError,
    UrlError,
    UsageError,
)
from streamlab.records import AtOffsets, Earliest, Latest, Outgoing, Partition
from tests.contracts.assign import AssignContract
from tests.contracts.backend import BackendContract
from tests.contracts.lab import (
    NONE,
    Abilities,
    Row,
    collect,
    drain,
    everything,
    rows_of,
    some,
)


def connect(text: str) -> Connection:
    return memory.connect(uri.parse(text), {})


class MemoryLab:
    can = Abilities()

    def __init__(self) -> None:
        self.connection = connect("memory://lab")
        self.broker = memory.broker("lab")

    async def fill(
        self,
        topic: str,
        rows: Mapping[int, Sequence[Row]],
        deleted: Mapping[int, Collection[int]] = NONE,
    ) -> None:
        log = self.broker.make(
            topic, None if topic in self.broker.names() else len(rows)
        )
        for number, part in rows.items():
            first = log.logs[number].next
            log.append(
                Outgoing(
                    [row.value for row in part],
                    [row.key for row in part],
                    [row.ms for row in part],
                    [row.headers for row in part],
                    [number] * len(part),
                )
            )
            for place in deleted.get(number, ()):
                log.delete(number, first + place)

    async def trim(self, topic: str, partition: int, *, keep: int) -> None:
        self.broker.make(topic).trim(partition, keep=keep)


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    memory.reset()
    yield
    memory.reset()


@pytest.fixture
async def lab() -> AsyncIterator[MemoryLab]:
    lab = MemoryLab()
    yield lab
    await lab.connection.aclose()


class TestMemory(BackendContract, AssignContract):
    @pytest.fixture
    async def lab(self, lab: MemoryLab) -> MemoryLab:
        return lab


async def test_the_same_name_is_the_same_broker_and_another_name_another() -> None:
    producer = await connect("memory://a").producer("t")
    await producer.send(Outgoing([b"x"]))

    assert await connect("memory://a").topics() == ["t"]
    assert await connect("memory://b").topics() == []


async def test_reset_begins_anew() -> None:
    memory.broker("lab").make("t")

    memory.reset()

    assert await connect("memory://lab").topics() == []


async def test_a_url_says_how_many_partitions_a_new_topic_has() -> None:
    lines = await connect("memory://lab/t?partitions=3").info("t")

    assert [line.partition for line in lines] == [Partition("t", n) for n in range(3)]
    with pytest.raises(
        UsageError, match=r"partitions=2: 't' on memory://lab has 3 already"
    ):
        await connect("memory://lab/t?partitions=2").info("t")


async def test_reading_a_topic_makes_it_and_asking_about_it_does_not() -> None:
    connection = connect("memory://lab")
    with pytest.raises(TopicNotFoundError, match="It has no topics at all"):
        await connection.info("t")

    start = await connection.resolve("t", Latest())

    assert start == {Partition("t", 0): 0}
    assert await connection.topics() == ["t"]


async def test_a_key_stays_in_its_partition_and_keyless_records_take_turns() -> None:
    connection = connect("memory://lab/t?partitions=3")
    producer = await connection.producer("t")

    await producer.send(Outgoing([b"0", b"1", b"2", b"3"]))
    await producer.send(Outgoing([b"a", b"b", b"a"], keys=[b"k", b"b", b"k"]))

    start = await connection.resolve("t", Earliest())
    consumer = await connection.consumer(start)
    seen = rows_of(await drain(consumer, 7))
    assert {n: rows[0] for n, rows in seen.items()} == {0: b"0", 1: b"1", 2: b"2"}
    # crc32(b"k") % 3 and crc32(b"b") % 3, which must not change from release to release.
    assert [v for v in seen[1] if v in {b"a", b"b"}] == [b"a", b"a"]
    assert [v for v in seen[2] if v in {b"a", b"b"}] == [b"b"]


async def test_a_partition_can_be_wished_for_but_must_be_there() -> None:
    connection = connect("memory://lab/t?partitions=2")
    producer = await connection.producer("t")

    await producer.send(Outgoing([b"a", b"b"], partitions=[1, 1]))
    with pytest.raises(UsageError, match=r"t has no partition 2; it has 2"):
        await producer.send(Outgoing([b"c", b"d"], partitions=[0, 2]))

    assert [line.records for line in await connection.info("t")] == [0, 2]


async def test_an_offset_must_be_a_number_of_a_partition_that_is_there(
    lab: MemoryLab,
) -> None:
    await lab.fill("t", {0: some(1)})

    with pytest.raises(PositionError, match=r"t has no partition 5; it has 1"):
        await lab.connection.resolve("t", AtOffsets({5: 0}))
    with pytest.raises(PositionError, match="'1-0' is a Redis entry id"):
        await lab.connection.resolve("t", AtOffsets({0: "1-0"}))


async def test_an_offset_still_to_come_is_waited_for(lab: MemoryLab) -> None:
    await lab.fill("t", {0: some(2)})
    start = await lab.connection.resolve("t", AtOffsets({0: 3}))
    consumer = await lab.connection.consumer(start)

    assert not await consumer.receive(10, 0)
    await lab.fill("t", {0: some(3)})

    assert rows_of(await drain(consumer, 2)) == {0: [b"0:1", b"0:2"]}


async def test_partitions_with_much_to_read_get_even_shares(lab: MemoryLab) -> None:
    rows = {n: some(1000, partition=n) for n in range(3)}
    await lab.fill("t", {**rows, 3: some(1, partition=3)})
    start = await lab.connection.resolve("t", Earliest())
    consumer = await lab.connection.consumer(start)

    sizes = [
        {b.partition.number: len(b.values) for b in await consumer.receive(12, 1)}
        for _ in range(50)
    ]

    totals = [sum(size.get(n, 0) for size in sizes) for n in range(4)]
    assert sum(totals) == 600
    assert totals[3] == 1
    assert max(totals[:3]) - min(totals[:3]) <= 4


async def test_a_broker_that_is_cut_off_shows_trouble_and_loses_nothing(
    lab: MemoryLab,
) -> None:
    await lab.fill("t", {0: some(2)})
    start = await lab.connection.resolve("t", Earliest())
    consumer = await lab.connection.consumer(start)
    await drain(consumer, 2)
    assert consumer.state()[Partition("t", 0)].caught_up

    await lab.fill("t", {0: some(2)})
    lab.broker.cut("refused")
    silence = await consumer.receive(10, 0.01)

    assert len(silence) == 0
    assert consumer.trouble == "refused"
    assert not consumer.state()[Partition("t", 0)].caught_up
    with pytest.raises(ConnectError, match="nobody answers at memory://lab: refused"):
        await lab.connection.info("t")
    producer = await lab.connection.producer("t")
    with pytest.raises(ConnectError, match="None of 1 records was written"):
        await producer.send(Outgoing([b"x"]))
    waiting = asyncio.create_task(consumer.receive(10, 50))
    await asyncio.sleep(0)
    lab.broker.mend()
    async with asyncio.timeout(20):
        assert rows_of(collect(await waiting, {})) == {0: [b"0:0", b"0:1"]}
    assert consumer.trouble is None


async def test_a_closed_consumer_wakes_and_says_so(lab: MemoryLab) -> None:
    await lab.fill("t", {0: some(1)})
    end = await lab.connection.resolve("t", Latest())
    consumer = await lab.connection.consumer(end)
    waiting = asyncio.create_task(consumer.receive(10, 50))
    await asyncio.sleep(0)

    await lab.connection.aclose()

    with pytest.raises(ConnectError, match="this consumer was closed"):
        async with asyncio.timeout(20):
            await waiting


async def test_writers_on_other_threads_and_loops_lose_nothing(lab: MemoryLab) -> None:
    """Four threads, each with a loop of its own, write while two consumers read."""
    connection = connect("memory://lab/t?partitions=3")
    start = await connection.resolve("t", Earliest())
    readers = [await connection.consumer(start) for _ in range(2)]

    async def write(writer: int) -> None:
        producer = await connection.producer("t")
        for i in range(100):
            await producer.send(
                Outgoing([b"%d:%d:%d" % (writer, i, j) for j in range(5)])
            )

    threads = [
        threading.Thread(target=lambda n=n: asyncio.run(write(n))) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    seen = await asyncio.gather(*(drain(reader, 2000) for reader in readers))
    for thread in threads:
        thread.join()

    assert seen[0] == seen[1]
    values = [v for rows in rows_of(seen[0]).values() for v in rows]
    assert len(values) == len(set(values)) == 2000
    assert await everything(lab, "t") == seen[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "memory://lab/t?partition=3",
            r"no parameter 'partition'. There are: partitions, session",
        ),
        ("memory://lab/t?partitions=0", r"partitions is a number from 1 to 9999"),
        ("memory://lab/t?partitions=x", r"partitions is a number from 1 to 9999"),
    ],
)
def test_a_wrong_parameter_is_refused(text: str, message: str) -> None:
    with pytest.raises(UrlError, match=message):
        connect(text)


def test_options_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="not even 'acks'"):
        memory.connect(uri.parse("memory://lab"), {"acks": 1})
