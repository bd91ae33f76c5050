"""What a damaged or a cut recording still gives, and how the fault is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamlab.backends.file.ss_encoder import Encoder
from streamlab.errors import DamagedFileError
from streamlab.records import AtOffsets, Earliest, Partition
from tests.backends.file_lab import FileLab, connect, values_until_damage
from tests.contracts.lab import T0, Row, collect, drain, rows_of, some


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[FileLab]:
    lab = FileLab(tmp_path)
    yield lab
    await lab.connection.aclose()


@pytest.mark.parametrize("bounded", [True, False])
async def test_all_that_is_good_comes_before_the_damage(
    lab: FileLab, *, bounded: bool
) -> None:
    await lab.fill("t", {0: some(40)})
    at = lab.path.stat().st_size
    await lab.fill("t", {0: [Row(b"broken", T0)]})
    data = bytearray(lab.path.read_bytes())
    data[data.index(b"broken")] ^= 1
    lab.path.write_bytes(data)

    consumer = await lab.reading("t", bounded=bounded)
    got, error = await values_until_damage(consumer)

    assert got == [row.value for row in some(40)]
    assert error.byte == at
    assert f"is damaged at byte {at}: the checksum of a record is wrong" in str(error)
    assert not consumer.ended


async def test_a_reading_that_ends_before_the_damage_does_not_mind(
    lab: FileLab,
) -> None:
    await lab.fill("t", {0: some(10)})
    lab.append(b"\x01tgarbage")
    lab.let_rest()
    start = await lab.connection.resolve("t", Earliest())
    stop = await lab.connection.resolve("t", AtOffsets({0: 6}))

    seen = await drain(await lab.connection.consumer(start, stop))

    assert len(seen[Partition("t", 0)]) == 5


async def test_a_cut_file_is_read_to_the_cut_and_then_named(lab: FileLab) -> None:
    await lab.fill("t", {0: some(10)})
    at = lab.path.stat().st_size
    lab.append(lab.encoder.message("t", 0, 11, T0, b"cut off")[:-5])
    lab.let_rest()

    got, error = await values_until_damage(await lab.reading("t", bounded=True))

    assert len(got) == 10
    assert error.byte == at
    assert "it ends in the middle of a record" in str(error)


async def test_half_a_record_just_being_written_is_no_cut(lab: FileLab) -> None:
    await lab.fill("t", {0: some(2)})
    message = lab.encoder.message("t", 0, 3, T0, b"x")
    lab.append(message[:9])
    consumer = await lab.reading("t", bounded=True)
    seen = collect(await consumer.receive(10, 5), {})
    silence = await consumer.receive(10, 0.01)
    assert len(silence) == 0
    assert not consumer.ended

    lab.append(message[9:])
    lab.let_rest()
    await drain(consumer)

    assert rows_of(seen) == {0: [b"0:0", b"0:1"]}
    assert consumer.ended


async def test_what_is_no_recording_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "x.ss"
    path.write_bytes(b"time,price\n" * 20)

    with pytest.raises(
        DamagedFileError, match="is not a SeaStreamer file: it begins with"
    ):
        await connect(f"file://{path}/t").topics()


async def test_a_recording_that_ends_with_a_beacon_is_whole(lab: FileLab) -> None:
    """Beacons are written as soon as they are due, with nothing behind them."""
    lab.encoder = Encoder("lab.ss", T0, 256)
    frame = lab.encoder.message("t", 0, 1, T0, b"x" * (128 - 33))
    lab.path.write_bytes(lab.encoder.header + frame)
    lab.let_rest()

    consumer = await lab.reading("t", bounded=True)
    seen = await drain(consumer)
    following = await lab.reading("t", bounded=False)
    await drain(following, 1)
    await following.receive(1, 0.01)
    lab.append(lab.encoder.message("t", 0, 2, T0, b"then"))

    assert len(frame) == 128 + 7
    assert len(seen[Partition("t", 0)]) == 1
    assert following.trouble is None
    assert rows_of(await drain(following, 1)) == {0: [b"then"]}
