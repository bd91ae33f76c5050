"""Sets of records and trimming in memory; and what recordings and demos refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import streamlab
from streamlab import uri
from streamlab.backends.base import Connection
from streamlab.backends.demo import topics as demo
from streamlab.backends.file import recording as file
from streamlab.backends.memory import broker as memory
from streamlab.errors import BrokerError, UsageError
from streamlab.records import Committed, Earliest, Outgoing, Partition
from tests.backends.test_memory import MemoryLab
from tests.contracts.lab import everything, rows_of, some

PLACE = Partition("t", 0)
TRADES = Path(streamlab.__file__).parent / "data" / "trades.ss"


@pytest.fixture
def lab() -> Iterator[MemoryLab]:
    memory.reset()
    yield MemoryLab()
    memory.reset()


async def test_a_set_is_seen_once_it_is_committed_and_with_it_what_a_group_has_done(
    lab: MemoryLab,
) -> None:
    done = {Partition("in", 0): Committed(7, "m")}
    await lab.fill("in", {0: some(9)})
    writer = await lab.connection.transactions("w")
    await writer.begin()
    sent = await (await writer.producer("t")).send(Outgoing([b"a", b"b"]))
    await (await writer.producer("u")).send(Outgoing([b"c"]))
    before = rows_of(await everything(lab, "t"))

    await writer.commit("g", done)

    assert (list(sent.partitions), list(sent.offsets)) == ([0, 0], [-1, -1])
    assert before == {0: []}
    assert rows_of(await everything(lab, "t")) == {0: [b"a", b"b"]}
    assert rows_of(await everything(lab, "u")) == {0: [b"c"]}
    assert await lab.connection.committed("g", "in") == done


async def test_a_set_that_is_taken_back_is_never_seen(lab: MemoryLab) -> None:
    writer = await lab.connection.transactions("w")
    producer = await writer.producer("t")
    await writer.begin()
    await producer.send(Outgoing([b"a"]))
    await writer.abort()
    await writer.begin()
    await producer.send(Outgoing([b"b"]))
    await writer.commit()

    assert rows_of(await everything(lab, "t")) == {0: [b"b"]}
    with pytest.raises(UsageError, match="no transaction is under way"):
        await producer.send(Outgoing([b"c"]))


async def test_of_two_writers_of_one_name_the_first_is_shut_out(lab: MemoryLab) -> None:
    old = await lab.connection.transactions("w")
    await old.begin()
    await lab.connection.transactions("w")

    with pytest.raises(BrokerError, match="another writer of that name has taken over"):
        await old.commit()


async def test_trimming_by_number_and_by_place_tells_how_many_are_gone(
    lab: MemoryLab,
) -> None:
    await lab.fill("t", {0: some(10), 1: some(4, partition=1)})

    gone = await lab.connection.trim("t", keep=6)
    more = await lab.connection.trim("t", before={PLACE: 7})

    assert (gone, more) == (4, 3)
    start = await lab.connection.resolve("t", Earliest())
    assert start == {PLACE: 7, Partition("t", 1): 0}


async def test_a_new_topic_gets_the_partitions_that_were_asked_for(
    lab: MemoryLab,
) -> None:
    made = await lab.connection.producer("t", partitions=3)
    again = await lab.connection.producer("t", partitions=2)

    assert (made.partitions, again.partitions) == (3, 3)
    with pytest.raises(UsageError, match="partitions=4: 't' on memory://lab has 3"):
        await lab.connection.producer("t", partitions=4)


@pytest.mark.parametrize(
    ("connection", "what"),
    [
        (file.connect(uri.parse(f"file://{TRADES}/trades"), {}), "a file"),
        (demo.connect(uri.parse("demo://trades"), {}), "a demo"),
    ],
    ids=["file", "demo"],
)
async def test_what_is_only_read_says_what_it_lacks(
    connection: Connection, what: str
) -> None:
    async def revoked(_: frozenset[Partition]) -> None: ...

    assert await connection.groups() == []
    for work in (
        connection.committed("g", "trades"),
        connection.commit("g", {}),
        connection.group_consumer(
            ["trades"], group="g", start=Earliest(), revoked=revoked
        ),
    ):
        with pytest.raises(UsageError, match=f"group='g': .* {what} has no groups"):
            await work
    with pytest.raises(UsageError, match=f"is {what}"):
        await connection.trim("trades", keep=1)
    with pytest.raises(UsageError, match=f"is {what}"):
        await connection.transactions("w")
