"""Writing to a real Kafka: where rows go, what the broker says of them, and failures."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka.partitioner import murmur2 as reference

from streamlab import servers, uri
from streamlab.backends.kafka import connection as backend
from streamlab.backends.kafka.connection import KafkaConnection
from streamlab.backends.kafka.partitioner import Partitioner, murmur2
from streamlab.errors import (
    BrokerError,
    ConnectError,
    PermissionDeniedError,
    TopicNotFoundError,
    UsageError,
)
from streamlab.records import Earliest, Latest, Outgoing, Partition, Records
from tests.backends.kafka_lab import KafkaLab, connect, lab_on, read, values
from tests.brokers import deny, need
from tests.contracts.lab import some

broker = pytest.mark.broker
T0 = 1_767_225_600_000
Open = Callable[..., KafkaConnection]


@pytest.fixture
async def lab(kafka: servers.Kafka) -> AsyncIterator[KafkaLab]:
    async with lab_on(f"{kafka.host}:{kafka.port}") as lab:
        yield lab


@pytest.fixture
async def open_(kafka: servers.Kafka) -> AsyncIterator[Open]:
    made: list[KafkaConnection] = []

    def open_(
        url: str = f"{kafka.host}:{kafka.port}", **options: object
    ) -> KafkaConnection:
        text = url if "://" in url else f"kafka://{url}"
        made.append(backend.connect(uri.parse(text), options))
        return made[-1]

    yield open_
    for connection in made:
        await connection.aclose()


async def held(lab: KafkaLab, topic: str) -> list[Records]:
    assert isinstance(lab.connection, KafkaConnection)
    return await read(lab.connection, topic)


def column(block: Records) -> list[tuple[object, ...]]:
    count = len(block.values)
    return list(
        zip(
            [block.partition.number] * count,
            block.offsets,
            block.timestamps_ms or [],
            block.keys or [None] * count,
            block.values,
            [list(h) for h in block.headers or [()] * count],
            strict=True,
        )
    )


# ---- where rows go --------------------------------------------------------------------


def test_keys_hash_as_they_do_in_java():
    """Values of org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own tests."""
    known = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }

    assert [n & 0xFFFFFFFF for n in known.values()] == murmur2([*known]).tolist()


def test_keys_of_all_lengths_hash_as_one_by_one():
    chance = random.Random(4)  # noqa: S311 - the same keys every time
    keys = [chance.randbytes(n % 23) for n in range(500)]

    assert murmur2(keys).tolist() == [reference(key) for key in keys]


def test_rows_without_keys_take_turns_over_several_sends():
    partitioner = Partitioner("t")

    chosen = [partitioner.choose(Outgoing([b""] * n), 3).tolist() for n in (2, 2, 3)]

    assert chosen == [[0, 1], [2, 0], [1, 2, 0]]


def test_rows_of_a_key_stay_together_and_the_others_take_turns():
    partitioner = Partitioner("t")
    keys = [b"a", None, b"b", None, b"a", None]

    chosen = partitioner.choose(Outgoing([b""] * 6, keys), 4).tolist()

    assert chosen == [
        (reference(b"a") & 0x7FFFFFFF) % 4,
        0,
        (reference(b"b") & 0x7FFFFFFF) % 4,
        1,
        (reference(b"a") & 0x7FFFFFFF) % 4,
        2,
    ]


def test_a_partition_that_is_not_there_is_named():
    rows = Outgoing([b"", b""], partitions=[0, 3])

    with pytest.raises(UsageError, match="row 1 is for partition 3 of 't'"):
        Partitioner("t").choose(rows, 3)


# ---- what arrives -----------------------------------------------------------------------


@broker
async def test_rows_arrive_as_they_were_sent_and_where_the_receipt_says(
    lab: KafkaLab, name: str
) -> None:
    producer = await lab.connection.producer(name, partitions=3)
    rows = Outgoing(
        values=[b"a", None, b"c", b"", b"e"],
        keys=[b"k", b"gone", None, b"k", None],
        timestamps_ms=[T0 + 4, T0, T0 + 2, T0 + 3, T0 + 1],
        headers=[[("h", b"1"), ("h", b"2")], [], [("ü", b"")], [], []],
    )

    sent = await producer.send(rows)

    assert rows.keys is not None
    assert rows.headers is not None
    wanted = sorted(
        zip(
            sent.partitions,
            sent.offsets,
            sent.timestamps_ms,
            rows.keys,
            rows.values,
            map(list, rows.headers),
            strict=True,
        )
    )
    there = await held(lab, name)
    assert sorted(row for block in there for row in column(block)) == wanted
    assert list(sent.timestamps_ms) == [T0 + 4, T0, T0 + 2, T0 + 3, T0 + 1]
    assert sent.partitions[0] == sent.partitions[3]
    lab.made.add(name)


@broker
async def test_many_rows_keep_their_order_in_each_partition(
    lab: KafkaLab, name: str
) -> None:
    producer = await lab.connection.producer(name, partitions=2)
    count = 30_000

    first = await producer.send(Outgoing([b"%06d" % i for i in range(count)]))
    then = await producer.send(Outgoing([b"%06d" % (count + i) for i in range(10)]))

    blocks = await held(lab, name)
    for number in (0, 1):
        got = values([b for b in blocks if b.partition.number == number])
        assert len(got) == count // 2 + 5
        assert got == sorted(got)  # type: ignore[type-var]  # no tombstones here
    assert sorted(map(int, first.offsets)) == sorted([*range(count // 2)] * 2)
    assert min(map(int, then.offsets)) == count // 2
    lab.made.add(name)


@broker
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_rows_can_be_compressed(
    open_: Open, lab: KafkaLab, name: str, codec: str
) -> None:
    connection = open_(**{"compression.type": codec})
    producer = await connection.producer(name)

    await producer.send(Outgoing([b"x" * 500] * 1_000, partitions=[0] * 1_000))

    assert values(await read(connection, name)) == [b"x" * 500] * 1_000
    size = (await connection.info(name))[0].bytes
    assert size is not None
    assert size < 100_000
    lab.made.add(name)


@broker
async def test_a_topic_that_stamps_records_itself_says_when(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name, message_timestamp_type="LogAppendTime")
    producer = await lab.connection.producer(name)

    sent = await producer.send(Outgoing([b"a"], timestamps_ms=[T0]))

    (block,) = await held(lab, name)
    assert list(sent.timestamps_ms) == list(block.timestamps_ms or ())
    assert sent.timestamps_ms[0] > T0


@broker
async def test_batches_fit_a_topic_that_takes_only_small_ones(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name, max_message_bytes="5000")
    producer = await lab.connection.producer(name)
    rows = [b"%04d" % i * 100 for i in range(200)]

    await producer.send(Outgoing(rows))

    assert values(await held(lab, name)) == rows


# ---- topics -------------------------------------------------------------------------------


@broker
async def test_the_broker_makes_a_topic_with_its_own_number_of_partitions(
    open_: Open, lab: KafkaLab, name: str
) -> None:
    connection = open_()
    producer = await connection.producer(name)
    lab.made.add(name)

    assert producer.partitions == 4
    assert len(await connection.partitions(name)) == 4


@broker
async def test_a_topic_with_fewer_partitions_than_wanted_is_refused(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name, 2)

    with pytest.raises(UsageError, match=rf"'{name}' on .* is there with 2 partition"):
        await lab.connection.producer(name, partitions=3)
    assert (await lab.connection.producer(name, partitions=2)).partitions == 2


@pytest.fixture
def strict() -> servers.Kafka:
    """A broker that makes no topics by itself."""
    need("kafka")
    return servers.kafka(extra={"auto.create.topics.enable": "false"})


@broker
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_broker_that_makes_no_topics_is_asked_to_or_says_so(
    strict: servers.Kafka,
) -> None:
    with strict:
        connection = connect(strict.url)
        with pytest.raises(TopicNotFoundError, match="partitions=1 asks it to"):
            await connection.producer("orders")
        made = await connection.producer("orders", partitions=2)

        with pytest.raises(TopicNotFoundError, match="Nearest: 'orders'"):
            await connection.producer("oders")

        assert made.partitions == 2
        await connection.aclose()


# ---- failures --------------------------------------------------------------------------


@broker
async def test_a_row_the_topic_does_not_take_is_named_and_the_next_send_works(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name, 2)
    producer = await lab.connection.producer(name)
    # From now on the broker counts the batches of this client.
    await producer.send(Outgoing([b"w"] * 2))
    rows = Outgoing([b"x" * 2_000_000, b"y"], partitions=[0, 1])

    with pytest.raises(BrokerError, match=r"1 of 2 rows .* row 0 has 2,000,000 bytes"):
        await producer.send(rows)

    await producer.send(Outgoing([b"z"] * 4, partitions=[0, 1, 0, 1]))
    there = values(await held(lab, name))
    assert sorted(map(str, there)) == sorted(map(str, [b"w"] * 2 + [b"y"] + [b"z"] * 4))


@broker
async def test_a_user_without_the_right_to_write_is_told(
    kafka: servers.Kafka, lab: KafkaLab, open_: Open, name: str
) -> None:
    await lab.make(name)
    deny(kafka, "alice", name, "WRITE")
    word = kafka.users["alice"]
    connection = open_(kafka.sasl_url.replace("://", f"://alice:{word}@"))
    producer = await connection.producer(name)

    with pytest.raises(PermissionDeniedError, match=rf'may not write to "{name}"'):
        await producer.send(Outgoing([b"a"]))


@broker
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_broker_that_dies_is_not_waited_for_for_ever(name: str) -> None:
    need("kafka")
    with servers.kafka() as server:
        connection = connect(server.url)
        producer = await connection.producer(name)
        await producer.send(Outgoing([b"a"] * 4))
        server.kill()
        producer._patience = 1.0  # thirty seconds by default

        with pytest.raises(ConnectError, match=r"0 of 2 rows .* acknowledged nothing"):
            await producer.send(Outgoing([b"b", b"c"]))
        server.restart()
        sent = await producer.send(Outgoing([b"d"]))

        assert len(sent.offsets) == 1
        await connection.aclose()


@broker
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_what_was_acknowledged_outlives_a_kill_in_the_middle_and_comes_once(
    name: str,
) -> None:
    need("kafka")
    with servers.kafka() as server:
        connection = connect(server.url)
        producer = await connection.producer(name, partitions=2)
        rows = [b"%d" % i for i in range(20_000)]
        await producer.send(Outgoing(rows[:100]))
        sending = asyncio.create_task(producer.send(Outgoing(rows[100:])))
        await asyncio.sleep(0)  # it is on its way
        server.kill()
        server.restart()
        await sending

        there = values(await read(connection, name))

        assert sorted(map(str, there)) == sorted(map(str, rows))
        await connection.aclose()


# ---- throwing away -----------------------------------------------------------------------


@broker
async def test_trimming_keeps_the_newest_of_each_partition(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name, 2)
    producer = await lab.connection.producer(name)
    await producer.send(Outgoing([b"%d" % i for i in range(20)]))

    gone = await lab.connection.trim(name, keep=3)

    assert gone == 14
    there = await held(lab, name)
    assert sorted(map(str, values(there))) == [str(b"%d" % i) for i in range(14, 20)]
    assert await lab.connection.trim(name, keep=3) == 0


@broker
async def test_trimming_counts_records_and_not_the_gaps_between(
    lab: KafkaLab, name: str
) -> None:
    await lab.fill(name, {0: some(12)}, {0: [6, 7, 8, 10]})

    await lab.connection.trim(name, keep=4)

    there = values(await held(lab, name))
    assert there[-4:] == [b"0:4", b"0:5", b"0:9", b"0:11"]
    assert len(there) < 8


@broker
async def test_trimming_before_offsets(lab: KafkaLab, name: str) -> None:
    await lab.make(name)
    producer = await lab.connection.producer(name)
    await producer.send(Outgoing([b"%d" % i for i in range(5)]))
    place = Partition(name, 0)

    assert await lab.connection.trim(name, before={place: 2}) == 2
    assert await lab.connection.trim(name, before={place: 900}) == 3

    first = await lab.connection.resolve(name, Earliest())
    assert first == await lab.connection.resolve(name, Latest()) == {place: 5}


@broker
async def test_a_compacted_topic_is_not_trimmed(lab: KafkaLab, name: str) -> None:
    await lab.make(name, cleanup_policy="compact")
    producer = await lab.connection.producer(name)
    await producer.send(Outgoing([b"a", b"b"], keys=[b"k", b"k"]))

    with pytest.raises(UsageError, match="is compacted"):
        await lab.connection.trim(name, keep=1)
