"""Groups in memory: the contract, and what a class can watch there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from streamlab import uri
from streamlab.backends.base import Connection
from streamlab.backends.memory import broker as memory
from streamlab.backends.memory.shares import moves, shares
from streamlab.clocks import HandClock
from streamlab.records import Earliest, Partition
from tests.backends.test_memory import MemoryLab
from tests.contracts.groups import Company, GroupContract, numbered, values

SESSION_S = 3.0


class MemoryGroupLab(MemoryLab):
    """A broker whose time stands still but for `wait_dead`."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = self.broker.clock = HandClock()
        self.connection = connect(f"memory://lab?session={SESSION_S:g}s")

    async def wait_dead(self) -> None:
        self.clock.advance(SESSION_S)


def connect(text: str) -> Connection:
    return memory.connect(uri.parse(text), {})


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    memory.reset()
    yield
    memory.reset()


class PlainLab(MemoryLab):
    """A broker in the machine's own time."""

    async def wait_dead(self) -> None:
        raise NotImplementedError


@pytest.fixture
async def lab() -> AsyncIterator[MemoryGroupLab]:
    lab = MemoryGroupLab()
    yield lab
    await lab.connection.aclose()


class TestMemoryGroups(GroupContract):
    @pytest.fixture
    async def lab(self, lab: MemoryGroupLab) -> MemoryGroupLab:
        return lab


def parts(*numbers: int) -> set[Partition]:
    return {Partition("t", number) for number in numbers}


async def company(lab: MemoryGroupLab, partitions: int = 4) -> Company:
    await lab.fill("t", numbered(0, 2, partitions=partitions))
    return Company(lab, "t")


# ---- who reads what -------------------------------------------------------------------


def test_shares_are_even_and_move_as_little_as_they_can():
    one = shares({"a": ["t"]}, {"t": 5}, {})
    two = shares({"a": ["t"], "b": ["t"]}, {"t": 5}, one)
    three = shares({"a": ["t"], "b": ["t"], "c": ["t"]}, {"t": 5}, two)
    left = shares({"a": ["t"], "c": ["t"]}, {"t": 5}, three)

    def numbers(found: dict[Partition, str]) -> str:
        return "".join(name for _, name in sorted(found.items()))

    assert [*map(numbers, (one, two, three, left))] == [
        "aaaaa",
        "aaabb",
        "aacbb",
        "aacac",
    ]
    assert moves(three, left) == "partition 3 → a, partition 4 → c"


def test_members_share_only_the_topics_they_read():
    found = shares({"a": ["t", "u"], "b": ["u"]}, {"t": 2, "u": 2}, {})

    assert {p: found[p] for p in parts(0, 1)} == dict.fromkeys(parts(0, 1), "a")
    assert sorted(found[Partition("u", n)] for n in (0, 1)) == ["a", "b"]


# ---- watching it ------------------------------------------------------------------------


async def test_every_change_of_hands_is_told_in_words(lab: MemoryGroupLab) -> None:
    group = await company(lab)
    a = await group.join("a")
    await group.settled(a)
    told = [a.member.news]
    b = await group.join("b")
    await group.settled(a, b)
    told.append(a.member.news)
    c = await group.join("c")
    await group.settled(a, b, c)
    told.append(b.member.news)
    await b.member.aclose()
    await group.settled(a, c)
    told.append(a.member.news)
    await c.member.abandon()
    await lab.wait_dead()
    await group.settled(a)
    told.append(a.member.news)

    assert told == [
        "a joined: partitions 0 1 2 3 → a",
        "b joined: partitions 2 3 → b",
        "c joined: partition 3 → c",
        "b left: partition 2 → c",
        "c was silent for 3 s: partitions 2 3 → a",
    ]
    assert (a.member.rebalances, b.member.rebalances) == (2, 1)
    await group.close()


async def test_added_partitions_are_shared_and_read_from_their_start(
    lab: MemoryGroupLab,
) -> None:
    group = await company(lab, partitions=2)
    a = await group.join("a")
    b = await group.join("b")
    await group.settled(a, b)

    lab.broker.grow("t", 4)
    await lab.fill("t", numbered(2, 1))
    await group.settled(a, b)
    await group.until(lambda: len(a.got + b.got) >= 8, a, b)

    assert await lab.connection.partitions("t") == parts(0, 1, 2, 3)
    assert a.member.news == "t has 4 partitions now: partition 2 → a, partition 3 → b"
    assert set(a.got + b.got) == set(
        values(numbered(0, 2, partitions=2), numbered(2, 1))
    )
    await group.close()


async def test_a_member_is_not_missed_before_its_session_is_over(
    lab: MemoryGroupLab,
) -> None:
    group = await company(lab)
    a, b = await group.join("a"), await group.join("b")
    await group.settled(a, b)

    await b.member.abandon()
    lab.clock.advance(SESSION_S - 0.1)
    for _ in range(3):
        await a.step()
    members = (await group.info()).members
    lab.clock.advance(0.1)
    await group.settled(a)

    assert [member.name for member in members] == ["a", "b"]
    assert [member.name for member in (await group.info()).members] == ["a"]
    await group.close()


class Blocked(threading.Thread):
    """A member whose loop stands still from when it has joined until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.joined, self.goes_on, self.done = (threading.Event() for _ in range(3))
        self.lost: set[Partition] = set()
        self.rebalances = 0

    def run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        connection = connect("memory://lab?session=200ms")

        async def revoked(partitions: frozenset[Partition]) -> None:
            self.lost |= partitions

        member = await connection.group_consumer(
            ["t"], group="g", start=Earliest(), revoked=revoked, name="b"
        )
        while not member.state():
            await member.receive(1, 0.01)
        self.joined.set()
        self.goes_on.wait()  # as a cell that computes, or a debugger, would
        while not member.state() or not self.lost:
            await member.receive(1, 0.01)
        self.rebalances = member.rebalances
        self.done.set()
        await connection.aclose()


async def test_one_who_was_taken_for_dead_gives_up_what_it_had_and_joins_again() -> (
    None
):
    memory.broker("lab").make("t", 2)
    lab = PlainLab()
    group = Company(lab, "t")
    group.group = "g"
    a = await group.join("a")
    blocked = Blocked()
    blocked.start()
    await group.until(blocked.joined.is_set, a)

    await group.until(lambda: len(a.partitions) == 2, a)
    news = a.member.news
    blocked.goes_on.set()
    await group.until(blocked.done.is_set, a)
    await asyncio.to_thread(blocked.join)

    assert news == "b was silent for 0.2 s: partition 1 → a"
    assert blocked.lost == parts(1)
    assert blocked.rebalances >= 1
    await group.close()
    await lab.connection.aclose()


class Stranger(threading.Thread):
    """A member on a thread and a loop of its own, who comes and goes until told to stay away."""

    def __init__(self, name: str, got: list[bytes], done: threading.Event) -> None:
        super().__init__()
        self.name, self._got, self._done = name, got, done

    def run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        group = Company(PlainLab(), "t")
        group.group = "g"
        while not self._done.is_set():
            reader = await group.join(self.name)
            for _ in range(20):
                await reader.step(20)
            await reader.commit()
            await reader.member.aclose()
            self._got += reader.got
        await group.lab.connection.aclose()


async def test_members_live_on_loops_and_threads_of_their_own() -> None:
    """Two come and go while a third stays and a fourth writes: nothing is missed."""
    lab = PlainLab()
    got: list[bytes] = []
    done = threading.Event()
    memory.broker("lab").make("t", 4)
    strangers = [Stranger(name, got, done) for name in ("b", "c")]
    for stranger in strangers:
        stranger.start()
    group = Company(lab, "t")
    group.group = "g"
    a = await group.join("a")

    for first in range(0, 500, 50):
        await lab.fill("t", numbered(first, 50))
        await a.step(20)
    done.set()
    for stranger in strangers:
        await asyncio.to_thread(stranger.join)
    wanted = values(numbered(0, 500))
    await group.until(lambda: set(a.got + got) == set(wanted), a)

    await group.close()
    await lab.connection.aclose()
