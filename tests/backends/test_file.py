from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import streamlab
from streamlab import uri
from streamlab.backends.file import index as file_index
from streamlab.backends.file import recording as file
from streamlab.backends.file import ss
from streamlab.backends.file.ss_encoder import Encoder
from streamlab.errors import (
    BrokerError,
    ConnectError,
    PositionError,
    TopicNotFoundError,
    UrlError,
    UsageError,
)
from streamlab.records import AtOffsets, AtTime, Earliest, Latest, Newest, Partition
from tests.backends.file_lab import FileLab, connect
from tests.contracts.assign import AssignContract
from tests.contracts.backend import BackendContract
from tests.contracts.lab import (
    T0,
    Row,
    drain,
    fresh,
    rows_of,
    some,
)

SAMPLE = Path(streamlab.__file__).parent / "data" / "trades.ss"


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[FileLab]:
    lab = FileLab(tmp_path)
    yield lab
    await lab.connection.aclose()


class TestFile(BackendContract, AssignContract):
    @pytest.fixture
    async def lab(self, lab: FileLab) -> FileLab:
        return lab


# ---- the sample ---------------------------------------------------------------


async def test_the_sample_holds_ten_thousand_two_hundred_messages() -> None:
    connection = connect(f"file://{SAMPLE}/trades")

    lines = await connection.info("trades")
    every = await connection.info("SEA_STREAMER_WILDCARD")

    assert await connection.topics() == ["status", "trades"]
    assert [line.records for line in lines] == [3334, 3333, 3333]
    assert sum(line.records or 0 for line in every) == 10_200
    assert lines[0].first == 1767225600000 << 16
    assert lines[0].oldest_ms == 1767225600000


async def test_the_sample_is_read_whole_and_in_order() -> None:
    connection = connect(f"file://{SAMPLE}/")
    start = await connection.resolve("", Earliest())
    stop = await connection.resolve("", Latest())
    consumer = await connection.consumer(start, stop)

    seen = await drain(consumer, max_records=777)

    assert {(p.topic, p.number): len(rows) for p, rows in seen.items()} == {
        ("trades", 0): 3334,
        ("trades", 1): 3333,
        ("trades", 2): 3333,
        ("status", 0): 200,
    }
    for rows in seen.values():
        assert [r.offset for r in rows] == sorted({r.offset for r in rows})


async def test_a_late_start_reads_only_the_end_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_index, "PIECE", 50_000)
    connection = connect(f"file://{SAMPLE}/trades")
    start = await connection.resolve("trades", Newest(100))
    stop = await connection.resolve("trades", Latest())
    read: list[int] = []
    whole = file_index.Pieces.read

    def counted(self: file_index.Pieces) -> ss.Piece | None:
        read.append(self.at)
        return whole(self)

    consumer = await connection.consumer(start, stop)
    monkeypatch.setattr(file_index.Pieces, "read", counted)
    seen = await drain(consumer)

    assert sum(map(len, seen.values())) == 100
    assert min(read) > SAMPLE.stat().st_size - 150_000


# ---- a file that grows, and one that ends --------------------------------------


async def test_the_end_mark_ends_the_reading(lab: FileLab) -> None:
    await lab.fill("t", {0: some(3)})
    lab.append(lab.encoder.end(T0))

    consumer = await lab.reading("t", bounded=False)
    seen = await drain(consumer)

    assert rows_of(seen) == {0: [b"0:0", b"0:1", b"0:2"]}
    assert consumer.ended
    assert consumer.state()[Partition("t", 0)].ended


async def test_half_a_record_is_waited_for(lab: FileLab) -> None:
    await lab.fill("t", {0: some(1)})
    consumer = await lab.reading("t", bounded=False)
    await drain(consumer, 1)
    message = lab.encoder.message("t", 0, 2, T0, b"late")

    lab.append(message[:20])
    silence = await consumer.receive(10, 0.01)
    while consumer.trouble is None:
        assert not await consumer.receive(10, 0.01)
    trouble = consumer.trouble
    lab.append(message[20:])
    seen = await drain(consumer, 1)

    assert len(silence) == 0
    assert trouble is not None
    assert "half a record at byte" in trouble
    assert rows_of(seen) == {0: [b"late"]}
    assert consumer.trouble is None


async def test_a_record_longer_than_a_piece_is_read(
    lab: FileLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_index, "PIECE", 100)
    long = bytes(range(256)) * 40
    await lab.fill("t", {0: [Row(b"a", T0), Row(long, T0), Row(b"b", T0)]})

    seen = await drain(await lab.reading("t", bounded=True))

    assert rows_of(seen) == {0: [b"a", long, b"b"]}


async def test_an_empty_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "new.ss"
    path.touch()
    connection = connect(f"file://{path}/t")
    start = await connection.resolve("t", Earliest())
    consumer = await connection.consumer(start)
    assert not await consumer.receive(10, 0.01)

    encoder = Encoder("new.ss", T0)
    path.write_bytes(encoder.header + encoder.message("t", 0, 1, T0, b"first"))

    assert rows_of(await drain(consumer, 1)) == {0: [b"first"]}


async def test_a_shard_that_begins_later_is_read_from_its_first_record(
    lab: FileLab,
) -> None:
    await lab.fill("t", {0: some(1)})
    latest = await lab.connection.resolve("t", Latest())
    consumer = await lab.connection.consumer(latest)

    await lab.fill("other", {0: some(1)})
    await lab.fill("t", {1: some(2, partition=1)})

    assert rows_of(await drain(consumer, 2)) == {1: [b"1:0", b"1:1"]}
    assert Partition("t", 1) in consumer.state()


async def test_all_streams_are_read_and_those_still_to_come(lab: FileLab) -> None:
    await lab.fill("a", {0: some(1)})
    await lab.fill("b", {0: some(1)})
    for name in ("", "SEA_STREAMER_WILDCARD"):
        start = await lab.connection.resolve(name, Latest())
        consumer = await lab.connection.consumer(start)
        topic = fresh()

        await lab.fill(topic, {0: some(1)})
        await lab.fill("a", {0: some(1, ms=T0 + 99)})

        seen = await drain(consumer, 2)
        assert sorted(p.topic for p in seen) == sorted(["a", topic])


async def test_an_overwritten_end_mark_is_no_damage(lab: FileLab) -> None:
    """Appending writes over the mark and leaves its last bytes behind."""
    await lab.fill("t", {0: some(1)})
    size = lab.path.stat().st_size
    mark = lab.encoder.end(T0)
    message = Encoder("x", 0).message("t", 0, 2, T0, b"")
    lab.append(message + mark[len(message) :])
    lab.let_rest()

    consumer = await lab.reading("t", bounded=True)
    seen = await drain(consumer)

    assert lab.path.stat().st_size == size + 56
    assert rows_of(seen) == {0: [b"0:0", b""]}


async def test_a_file_that_is_removed_or_replaced_is_told(lab: FileLab) -> None:
    await lab.fill("t", {0: some(1)})
    consumer = await lab.reading("t", bounded=False)
    other = await lab.reading("t", bounded=False)
    await drain(consumer, 1)
    await drain(other, 1)

    data = lab.path.read_bytes()
    lab.path.rename(lab.path.with_suffix(".old"))
    with pytest.raises(BrokerError, match="was removed while it was read"):
        await drain(consumer, 1)
    lab.path.with_suffix(".new").write_bytes(data)
    lab.path.with_suffix(".new").rename(lab.path)
    with pytest.raises(BrokerError, match="was replaced by another file"):
        await drain(other, 1)

    assert [line.records for line in await lab.connection.info("t")] == [1]


async def test_a_reading_that_is_cancelled_loses_nothing(lab: FileLab) -> None:
    await lab.fill("t", {0: some(5)})
    consumer = await lab.reading("t", bounded=True)
    task = asyncio.create_task(consumer.receive(10, 5))
    for _ in range(2):  # into the thread that reads
        await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len((await drain(consumer))[Partition("t", 0)]) == 5


# ---- what is not there ------------------------------------------------------------


async def test_a_missing_file_names_its_neighbours(
    lab: FileLab, tmp_path: Path
) -> None:
    with pytest.raises(ConnectError, match=r"no file 'lob.ss' in .*Nearest: 'lab.ss'"):
        await connect(f"file://{tmp_path}/lob.ss/t").info("t")
    with pytest.raises(ConnectError, match="there is no folder"):
        await connect(f"file://{tmp_path}/none/lab.ss/t").info("t")


async def test_a_missing_key_names_the_nearest_when_read(lab: FileLab) -> None:
    await lab.fill("trades", {0: some(1)})

    with pytest.raises(
        TopicNotFoundError, match=r"no topic 'trade' on file://.*'trades'"
    ):
        await lab.connection.resolve("trade", Earliest())


async def test_positions_of_a_file(lab: FileLab) -> None:
    await lab.fill("t", {0: some(3), 1: some(1)})

    with pytest.raises(PositionError, match=r"t has no partition 7. There are: 0, 1"):
        await lab.connection.resolve("t", AtOffsets({7: 1}))
    with pytest.raises(PositionError, match="'1-0' is a Redis entry id"):
        await lab.connection.resolve("t", AtOffsets({0: "1-0"}))
    with pytest.raises(PositionError, match="needs one stream"):
        await lab.connection.resolve("", AtOffsets({0: 1}))
    assert await lab.connection.resolve("t", AtTime(T0 + 15)) == {
        Partition("t", 0): 3,
        Partition("t", 1): 2,
    }


async def test_files_are_not_written(lab: FileLab) -> None:
    with pytest.raises(UsageError, match="files are read only in this version"):
        await lab.connection.producer("t")


def test_parameters_and_options_are_refused_by_name() -> None:
    with pytest.raises(UrlError, match="write %3F"):
        connect("file://x.ss/t?speed=1")
    with pytest.raises(UsageError, match="not even 'speed'"):
        file.connect(uri.parse("file://x.ss/t"), {"speed": 1})
