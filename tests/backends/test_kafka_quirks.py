"""What only Kafka does: markers and gaps, open transactions, codecs, clocks, topics made anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException

from streamlab import servers
from streamlab.backends.base import Consumer
from streamlab.backends.kafka import batches as kafka_batches
from streamlab.backends.kafka.connection import KafkaConnection
from streamlab.backends.kafka.reader import KafkaConsumer
from streamlab.errors import (
    BrokerError,
    PositionError,
    PositionLost,
    TopicNotFoundError,
)
from streamlab.records import (
    AtOffsets,
    AtTime,
    Earliest,
    Latest,
    Newest,
    Partition,
    Records,
)
from tests.backends.kafka_lab import READY_S, KafkaLab, connect, lab_on, read, values
from tests.brokers import need
from tests.contracts.lab import T0, Row, some

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


@pytest.fixture
def address(kafka: servers.Kafka) -> str:
    return f"{kafka.host}:{kafka.port}"


@pytest.fixture(params=["fast", "slow"])
async def lab(request: pytest.FixtureRequest, address: str) -> AsyncIterator[KafkaLab]:
    async with lab_on(address, fast=request.param == "fast") as lab:
        yield lab


async def until(
    consumer: Consumer, holds: Callable[[list[Records]], bool]
) -> list[Records]:
    """Receive until `holds` of all blocks so far."""
    blocks: list[Records] = []
    async with asyncio.timeout(READY_S * 2):
        while not holds(blocks):
            blocks += await consumer.receive(1000, 0.2)
    return blocks


def has(*wanted: bytes) -> Callable[[list[Records]], bool]:
    return lambda blocks: set(wanted) <= set(values(blocks))


# ---- transactions -----------------------------------------------------------


async def test_markers_and_aborted_records_are_neither_read_nor_waited_for(
    lab: KafkaLab, name: str
) -> None:
    await lab.write_all(name, "a", "-x", "+b", "-y", "c", "-z")
    connection = lab.connection
    start = await connection.resolve(name, Earliest())
    stop = await connection.resolve(name, Latest())
    consumer = await connection.consumer(start, stop)

    blocks: list[Records] = []
    async with asyncio.timeout(5):
        while not consumer.ended:
            blocks += await consumer.receive(1000, 50)

    assert values(blocks) == [b"a", b"b", b"c"]
    assert [o for block in blocks for o in block.offsets] == [0, 3, 7]
    assert stop == {Partition(name, 0): 10}
    assert consumer.state()[Partition(name, 0)].next == 10


async def test_positions_count_messages_where_offsets_have_gaps(
    lab: KafkaLab, name: str
) -> None:
    await lab.write_all(name, "a", "-x", "+b", "-y", "c", "-z")
    place = Partition(name, 0)
    connection = lab.connection

    assert await connection.resolve(name, Newest(1)) == {place: 7}
    assert await connection.resolve(name, Newest(2)) == {place: 3}
    assert await connection.resolve(name, Newest(9)) == {place: 0}
    (line,) = await connection.info(name)
    assert (line.first, line.next, line.records) == (0, 10, 3)


async def test_a_time_is_not_that_of_a_record_taken_back(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name)
    await lab.write(name, 0, [Row(b"a", T0)])
    await lab.write(name, 0, [Row(b"x", T0 + 50)], undone=True)
    await lab.write(name, 0, [Row(b"b", T0 + 10), Row(b"c", T0 + 60)])

    found = await lab.connection.resolve(name, AtTime(T0 + 40))

    assert found == {Partition(name, 0): 4}


async def test_an_open_transaction_ends_the_topic_until_it_is_committed(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name)
    await lab.write(name, 0, [Row(b"a", T0)])
    await lab.undone.begin_transaction()
    await lab.undone.send_and_wait(name, b"open", partition=0)
    await lab.write(name, 0, [Row(b"behind", T0)])
    end = await lab.connection.resolve(name, Latest())
    consumer = await lab.connection.consumer(
        await lab.connection.resolve(name, Earliest())
    )

    before = await until(consumer, has(b"a"))
    await consumer.receive(10, 0.01)
    waiting = consumer.state()[Partition(name, 0)]
    await lab.undone.commit_transaction()
    after = await until(consumer, has(b"behind"))

    assert end == {Partition(name, 0): 1}
    assert values(before) == [b"a"]
    assert (waiting.next, waiting.behind, waiting.caught_up) == (1, 0, True)
    assert values(after) == [b"open", b"behind"]


async def test_uncommitted_records_are_read_by_who_asks_for_them(
    lab: KafkaLab, address: str, name: str
) -> None:
    await lab.write_all(name, "a", "-x", "b")
    dirty = connect(f"kafka://{address}?isolation.level=read_uncommitted")

    assert values(await read(dirty, name)) == [b"a", b"x", b"b"]
    await dirty.aclose()


# ---- gaps of other kinds ----------------------------------------------------


@pytest.mark.slow
async def test_a_compacted_topic_is_read_by_what_is_left(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(
        name,
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.0",
        min_compaction_lag_ms="0",
        max_compaction_lag_ms="100",
    )
    await lab.write(name, 0, [Row(b"%d" % i, T0, b"k%d" % (i % 3)) for i in range(50)])
    await asyncio.sleep(0.2)  # segments are closed by age, at the next record
    await lab.write(name, 0, [Row(b"last", T0 + 1000, b"other")])
    left = [b"47", b"48", b"49", b"last"]

    found: list[Records] = []
    async with asyncio.timeout(60):
        while values(found) != left:
            await asyncio.sleep(0.2)
            found = await read(lab.connection, name)

    assert [o for block in found for o in block.offsets] == [47, 48, 49, 50]
    assert await lab.connection.resolve(name, Newest(2)) == {Partition(name, 0): 49}
    middle = await lab.connection.consumer({Partition(name, 0): 20})
    assert values(await until(middle, has(b"last"))) == left
    assert middle.lost == 0
    gone = await lab.connection.consumer(
        {Partition(name, 0): 20}, {Partition(name, 0): 30}
    )
    assert values(await until(gone, lambda _: gone.ended)) == []
    assert gone.state()[Partition(name, 0)].next == 30


async def test_a_start_in_the_middle_of_a_batch_begins_there(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name)
    await lab.write(name, 0, some(500))
    place = Partition(name, 0)

    consumer = await lab.connection.consumer({place: 123}, {place: 321})
    blocks = await until(consumer, lambda _: consumer.ended)

    assert values(blocks) == [b"0:%d" % i for i in range(123, 321)]
    assert consumer.state()[place].next == 321


# ---- what records carry -----------------------------------------------------


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(
    lab: KafkaLab, address: str, name: str, codec: str
) -> None:
    await lab.make(name)
    producer = AIOKafkaProducer(bootstrap_servers=address, compression_type=codec)
    await producer.start()
    sent = [b'{"n":%d}' % i for i in range(300)]
    await asyncio.gather(
        *[await producer.send(name, value, partition=0) for value in sent]
    )
    await producer.stop()

    assert values(await read(lab.connection, name)) == sent


async def test_keys_and_headers_stay_with_their_records(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name)
    rows = [
        Row(
            b"%d" % i,
            T0 + i,
            b"key%d" % i if i % 7 == 3 else None,
            [("n", b"%d" % i), ("n", b"")] if i % 11 == 5 else (),
        )
        for i in range(200)
    ]
    await lab.write(name, 0, rows)
    place = Partition(name, 0)

    consumer = await lab.connection.consumer({place: 4})
    got: list[Row] = []
    async with asyncio.timeout(READY_S):
        while len(got) < len(rows) - 4:
            for block in await consumer.receive(9, 1.0):
                assert block.timestamps_ms is not None
                count = len(block.values)
                keys = block.keys or [None] * count
                headers = block.headers or [()] * count
                got += [
                    Row(block.values[i], block.timestamps_ms[i], keys[i], headers[i])
                    for i in range(count)
                ]

    assert [(*row[:3], [*row.headers]) for row in got] == [
        (*row[:3], [*row.headers]) for row in rows[4:]
    ]


async def test_records_without_keys_have_no_column_of_them(
    lab: KafkaLab, name: str
) -> None:
    await lab.fill(name, {0: some(10)})

    (block,) = await read(lab.connection, name)

    assert block.keys is None
    assert block.headers is None


async def test_the_brokers_clock_counts_where_the_topic_says_so(
    lab: KafkaLab, name: str
) -> None:
    await lab.make(name, message_timestamp_type="LogAppendTime")
    await lab.write(name, 0, some(3))

    (block,) = await read(lab.connection, name)
    (line,) = await lab.connection.info(name)

    assert block.timestamps_ms is not None
    assert min(block.timestamps_ms) > T0 + 1000
    assert line.newest_ms == block.timestamps_ms[-1]
    assert line.oldest_ms == block.timestamps_ms[0]


# ---- several at once --------------------------------------------------------


async def test_several_topics_are_read_by_one_reader(lab: KafkaLab, name: str) -> None:
    for topic in (f"{name}-a", f"{name}-b"):
        await lab.fill(topic, {0: some(20), 1: some(20, partition=1)})

    blocks = await read(lab.connection, f"{name}-a", f"{name}-b")

    assert len(values(blocks)) == 80
    assert {block.partition.topic for block in blocks} == {f"{name}-a", f"{name}-b"}


async def test_partitions_are_taken_in_and_given_up_while_reading(
    lab: KafkaLab, name: str
) -> None:
    await lab.fill(name, {0: some(5), 1: some(5, partition=1), 2: some(5, partition=2)})
    first, second, third = (Partition(name, n) for n in range(3))
    consumer = await lab.connection.consumer({})
    assert await consumer.receive(10, 0.05) == ()
    assert not consumer.ended

    await consumer.assign({first: 0})
    one = await until(consumer, has(b"0:4"))
    await consumer.assign({second: 3, third: 0})
    two = await until(consumer, has(b"1:4", b"2:4"))
    await consumer.unassign([first, third])
    await lab.write(name, 0, [Row(b"unheard", T0)])
    await lab.write(name, 1, [Row(b"heard", T0)])
    three = await until(consumer, has(b"heard"))
    await consumer.assign({second: 0})
    again = await until(consumer, has(b"heard"))

    assert values(one) == [b"0:%d" % i for i in range(5)]
    assert sorted(v or b"" for v in values(two)) == [
        *(b"1:%d" % i for i in (3, 4)),
        *(b"2:%d" % i for i in range(5)),
    ]
    assert values(three) == [b"heard"]
    assert set(consumer.state()) == {second}
    assert values(again) == [*(b"1:%d" % i for i in range(5)), b"heard"]


async def test_partitions_are_cheap_to_ask_for_and_absent_topics_have_none(
    lab: KafkaLab, name: str
) -> None:
    await lab.fill(name, {0: some(1), 1: []})

    assert await lab.connection.partitions(name) == {
        Partition(name, 0),
        Partition(name, 1),
    }
    assert await lab.connection.partitions(f"{name}-no") == frozenset()


# ---- lost -------------------------------------------------------------------


async def test_what_is_deleted_before_a_reader_counts_as_lost(
    lab: KafkaLab, name: str
) -> None:
    await lab.fill(name, {0: some(30)})
    consumer = await lab.connection.consumer({Partition(name, 0): 5})
    await until(consumer, has(b"0:29"))
    await consumer.unassign([Partition(name, 0)])
    await lab.delete_before(name, 0, 12)

    await consumer.assign({Partition(name, 0): 10})
    blocks = await until(consumer, has(b"0:29"))

    assert values(blocks)[0] == b"0:12"
    assert consumer.lost == 2


@pytest.mark.parametrize("strict", [False, True])
async def test_a_topic_made_anew_is_read_from_its_first_younger_record(
    lab: KafkaLab, name: str, *, strict: bool
) -> None:
    await lab.fill(name, {0: some(30)})
    consumer = await lab.connection.consumer(
        {Partition(name, 0): 0}, on_lost="error" if strict else "skip"
    )
    await until(consumer, has(b"0:29"))

    await lab.make_anew(name)
    await lab.write(name, 0, [Row(b"old", T0), Row(b"new", T0 + 60_000)])

    if strict:
        with pytest.raises(PositionLost, match=r"no longer has 30: \d+ or more"):
            await until(consumer, has(b"new"))
        return
    assert values(await until(consumer, has(b"new"))) == [b"new"]
    assert consumer.lost >= 28


async def test_a_stop_beyond_what_came_back_is_not_waited_for(
    lab: KafkaLab, name: str
) -> None:
    await lab.fill(name, {0: some(30)})
    place = Partition(name, 0)
    await lab.make_anew(name)
    await lab.write(name, 0, some(3))

    consumer = await lab.connection.consumer({place: 20}, {place: 30})
    await until(consumer, lambda _: consumer.ended)

    assert consumer.lost > 0


async def test_a_topic_that_is_deleted_ends_its_reader_with_an_error(
    lab: KafkaLab, name: str
) -> None:
    await lab.fill(name, {0: some(3)})
    consumer = await lab.connection.consumer({Partition(name, 0): 0})
    await until(consumer, has(b"0:2"))

    await lab.admin.delete_topics([name])
    lab.made.discard(name)

    with pytest.raises(TopicNotFoundError, match=name):
        await until(consumer, has(b"never"))
    # A reader that asks for its topic by name would have made it again.
    assert name not in await lab.connection.topics()


# ---- reconnecting -----------------------------------------------------------


async def held(connection: KafkaConnection, name: str) -> KafkaConsumer:
    consumer = await connection.consumer({Partition(name, 0): 0})
    await until(consumer, has(b"0:9"))
    return consumer


@pytest.mark.slow
async def test_a_broker_that_dies_is_reconnected_and_nothing_is_lost(name: str) -> None:
    need("kafka")
    with servers.kafka() as server:
        async with lab_on(f"{server.host}:{server.port}") as lab:
            await lab.fill(name, {0: some(10)})
            consumer = await held(lab.connection, name)

            await asyncio.to_thread(server.kill)
            await until(consumer, lambda _: consumer.trouble is not None)
            said = consumer.trouble or ""
            down = consumer.state()[Partition(name, 0)]
            await asyncio.to_thread(server.restart)
            await lab.write(name, 0, [Row(b"after", T0)])
            blocks = await until(consumer, has(b"after"))
            await until(consumer, lambda _: consumer.trouble is None)

    assert f"reconnecting {server.host}:{server.port}, try 1, next in " in said
    assert not down.caught_up
    assert values(blocks) == [b"after"]
    assert consumer.lost == 0


# ---- beside others ----------------------------------------------------------


async def test_looking_leaves_no_group_behind(
    lab: KafkaLab, address: str, name: str
) -> None:
    await lab.fill(name, {0: some(10)})
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    before = sorted(await admin.list_consumer_groups())

    await read(lab.connection, name)
    await lab.connection.info(name)
    await lab.connection.resolve(name, Newest(3))

    assert sorted(await admin.list_consumer_groups()) == before
    await admin.close()


async def test_other_consumers_of_the_process_get_records_as_ever(
    address: str, name: str
) -> None:
    taken, why = kafka_batches.road()
    assert taken, why
    async with lab_on(address) as lab:
        await lab.fill(name, {0: some(3)})
        theirs = AIOKafkaConsumer(
            bootstrap_servers=address, value_deserializer=bytes.decode
        )
        await theirs.start()
        theirs.assign([TopicPartition(name, 0)])
        await theirs.seek_to_beginning()

        record = await theirs.getone()

        assert (record.value, record.offset, record.timestamp) == ("0:0", 0, T0)
        await theirs.stop()


def test_an_aiokafka_that_unpacks_otherwise_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other:
        def _unpack_records(self) -> None:
            """In a way of its own."""

    theirs = Other._unpack_records
    monkeypatch.setattr(fetcher, "PartitionRecords", Other)

    taken, why = kafka_batches.road.__wrapped__()

    assert not taken
    assert "unpacks records in a new way; reading record by record" in why
    assert Other._unpack_records is theirs


async def test_a_damaged_batch_is_an_error_and_no_silence(
    address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> bool:
        raise CorruptRecordException("Invalid CRC")

    async with lab_on(address) as lab:
        await lab.fill(name, {0: some(3)})
        consumer = await lab.connection.consumer({Partition(name, 0): 0})
        monkeypatch.setattr(kafka_batches, "_hidden", damaged)

        with pytest.raises(BrokerError, match="Invalid CRC"):
            await until(consumer, has(b"0:2"))


async def test_offsets_of_another_kind_are_refused(lab: KafkaLab, name: str) -> None:
    await lab.fill(name, {0: some(3)})

    with pytest.raises(PositionError, match=r"has no partition 7\. There are: 0\."):
        await lab.connection.resolve(name, AtOffsets({7: 0}))
    with pytest.raises(PositionError, match="Kafka's offsets are numbers"):
        await lab.connection.resolve(name, AtOffsets({0: "1-0"}))
