"""What every broker with groups must do, as tests to inherit.

    class TestMemoryGroups(GroupContract):
        @pytest.fixture
        async def lab(self): ...            # yields a `GroupLab`, closes its connections after

Two ways to share a topic are told apart by `lab.can.alone`: each partition is read by one member
alone (Kafka), or all members read all partitions, who asks first (Redis).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import pytest

from streamlab.backends.base import GroupConsumer, GroupInfo
from streamlab.errors import GroupBusyError, ModeError
from streamlab.records import (
    Committed,
    Earliest,
    Latest,
    Mark,
    Partition,
    Position,
)
from tests.contracts.lab import (
    T0,
    Lab,
    Row,
    between,
    collect,
    drain,
    everything,
    fresh,
    rows_of,
    some,
)

PATIENCE_S = 90.0  # a broker's own pace; nothing here is judged by time
STEP_S = 0.2


class GroupLab(Lab, Protocol):
    """A lab whose broker has groups, as quick to notice the dead as it can be made."""

    async def wait_dead(self) -> None:
        """Let the broker notice who was abandoned, as far as it doesn't by itself meanwhile."""
        ...


class Reader:
    """A member of a group, what it was given and how far that is."""

    def __init__(self, *, commits_when_revoked: bool = True) -> None:
        self.member: GroupConsumer
        self.got: list[bytes] = []
        self.marks: dict[Partition, Mark] = {}
        self.revoked: list[frozenset[Partition]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._commits = commits_when_revoked

    async def on_revoked(self, partitions: frozenset[Partition]) -> None:
        self.revoked.append(partitions)
        await self.gate.wait()
        if self._commits:
            await self.member.commit(
                {p: m for p, m in self.marks.items() if p in partitions}
            )
        for partition in partitions:
            self.marks.pop(partition, None)

    @property
    def partitions(self) -> set[Partition]:
        return set(self.member.state())

    async def step(self, most: int = 1000) -> None:
        """One answer; no other task runs between the answer and the note of it."""
        for block in await self.member.receive(most, STEP_S):
            self.got += [value for value in block.values if value is not None]
        self.marks |= {p: state.mark for p, state in self.member.state().items()}

    async def commit(self) -> None:
        await self.member.commit(self.marks)


class Company:
    """Readers of one group, which end with the test."""

    def __init__(self, lab: GroupLab, topic: str) -> None:
        self.lab, self.topic = lab, topic
        self.group = fresh().replace("topic", "group")
        self.readers: list[Reader] = []

    async def join(
        self,
        name: str,
        *,
        start: Position | None = None,
        commits_when_revoked: bool = True,
    ) -> Reader:
        reader = Reader(commits_when_revoked=commits_when_revoked)
        reader.member = await self.lab.connection.group_consumer(
            [self.topic],
            group=self.group,
            start=Earliest() if start is None else start,
            revoked=reader.on_revoked,
            name=name,
        )
        self.readers.append(reader)
        return reader

    async def until(
        self, condition: Callable[[], bool], *who: Reader, most: int = 1000
    ) -> None:
        """Let the readers read, in turn, until something holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                for reader in who:
                    await reader.step(most)

    async def settled(self, *who: Reader) -> None:
        """Until each reads, where partitions are owned alone, its share of them."""
        if not self.lab.can.alone:
            return
        every = await self.lab.connection.partitions(self.topic)

        def shared() -> bool:
            owned = [p for reader in who for p in reader.partitions]
            return sorted(owned) == sorted(every) and all(r.partitions for r in who)

        await self.until(shared, *who)

    async def info(self) -> GroupInfo:
        found = {each.name: each for each in await self.lab.connection.groups()}
        return found[self.group]

    async def close(self) -> None:
        for reader in self.readers:
            reader.gate.set()
            await reader.member.aclose()


def numbered(first: int, count: int, partitions: int = 4) -> dict[int, list[Row]]:
    """So many rows in each of some partitions, each with a value of its own."""
    return {
        p: [Row(b"%d:%d" % (p, i), T0 + 10 * i) for i in range(first, first + count)]
        for p in range(partitions)
    }


def values(*filled: Mapping[int, Sequence[Row]]) -> Counter[bytes]:
    rows = [row for each in filled for part in each.values() for row in part]
    return Counter(row.value for row in rows if row.value is not None)


def names(groups: Sequence[GroupInfo]) -> list[str]:
    return [group.name for group in groups]


class GroupContract:
    """Inherit this and give it the fixture `lab`."""

    @pytest.fixture
    async def lab(self) -> GroupLab:
        raise NotImplementedError("a backend's test brings its own lab")

    @asynccontextmanager
    async def company(
        self, lab: GroupLab, rows: Mapping[int, Sequence[Row]]
    ) -> AsyncIterator[Company]:
        topic = fresh()
        await lab.fill(topic, rows)
        company = Company(lab, topic)
        try:
            yield company
        finally:
            await company.close()

    # ---- commits by hand: resumable readers -----------------------------------

    async def test_a_commit_comes_back_with_its_memory(self, lab: GroupLab) -> None:
        topic, group = fresh(), fresh()
        await lab.fill(topic, {0: some(5), 1: some(5, partition=1), 2: []})
        held = await everything(lab, topic)
        first, other = Partition(topic, 0), Partition(topic, 1)
        done = {
            first: Committed(held[first][2].offset, 'ümlaut {"a": [1, 2]}\n'),
            other: Committed(held[other][4].offset, "x" * 4000),
        }

        await lab.connection.commit(group, done)

        assert await lab.connection.committed(group, topic) == done

    async def test_positions_may_go_back(self, lab: GroupLab) -> None:
        topic, group = fresh(), fresh()
        await lab.fill(topic, {0: some(5)})
        place = Partition(topic, 0)
        offsets = [seen.offset for seen in (await everything(lab, topic))[place]]

        for at in (4, 1):
            await lab.connection.commit(group, {place: Committed(offsets[at], f"{at}")})

        done = await lab.connection.committed(group, topic)
        assert done == {place: Committed(offsets[1], "1")}

    async def test_commits_of_one_partition_leave_the_others(
        self, lab: GroupLab
    ) -> None:
        topic, group = fresh(), fresh()
        await lab.fill(topic, {0: some(3), 1: some(3, partition=1)})
        held = await everything(lab, topic)
        first, other = Partition(topic, 0), Partition(topic, 1)
        one, two = Committed(held[first][1].offset), Committed(held[other][2].offset)

        await lab.connection.commit(group, {first: one})
        await lab.connection.commit(group, {other: two})

        done = await lab.connection.committed(group, topic)
        assert done == {first: one, other: two}

    async def test_a_group_that_never_committed_has_nothing_and_is_not_made(
        self, lab: GroupLab
    ) -> None:
        topic, group = fresh(), fresh()
        await lab.fill(topic, {0: some(1)})

        done = await lab.connection.committed(group, topic)

        assert done == {}
        assert group not in names(await lab.connection.groups())

    async def test_a_resumable_reader_goes_on_where_it_stopped(
        self, lab: GroupLab
    ) -> None:
        topic, group = fresh(), fresh()
        await lab.fill(topic, {0: some(10)})
        start = await lab.connection.resolve(topic, Earliest())
        reader = await lab.connection.consumer(start)
        before = await drain(reader, 4, max_records=4)
        done = {p: Committed(state.next, "m") for p, state in reader.state().items()}
        await lab.connection.commit(group, done)
        await reader.aclose()

        again = await lab.connection.committed(group, topic)
        stop = await lab.connection.resolve(topic, Latest())
        after = await between(lab, {p: c.next for p, c in again.items()}, stop)

        place = Partition(topic, 0)
        assert before[place] + after[place] == (await everything(lab, topic))[place]
        assert len(before[place]) == 4

    async def test_a_commit_at_the_end_waits_for_what_comes(
        self, lab: GroupLab
    ) -> None:
        topic, group = fresh(), fresh()
        await lab.fill(topic, {0: some(3)})
        end = await lab.connection.resolve(topic, Latest())
        await lab.connection.commit(group, {p: Committed(at) for p, at in end.items()})

        done = await lab.connection.committed(group, topic)
        reader = await lab.connection.consumer({p: c.next for p, c in done.items()})
        await lab.fill(topic, {0: some(2, partition=7, ms=T0 + 1000)})

        assert rows_of(await drain(reader, 2)) == {0: [b"7:0", b"7:1"]}
        await reader.aclose()

    # ---- sharing ----------------------------------------------------------------

    async def test_two_members_get_everything_once_and_each_gets_some(
        self, lab: GroupLab
    ) -> None:
        async with self.company(lab, numbered(0, 0)) as company:
            a, b = await company.join("a"), await company.join("b")
            await company.settled(a, b)
            rows = numbered(0, 25)
            await lab.fill(company.topic, rows)

            await company.until(lambda: len(a.got + b.got) >= 100, a, b, most=5)
            await a.commit()
            await b.commit()
            await a.step()
            await b.step()

            assert Counter(a.got + b.got) == values(rows)
            assert a.got
            assert b.got

    async def test_members_begin_where_the_group_was_told_to(
        self, lab: GroupLab
    ) -> None:
        async with self.company(lab, numbered(0, 5)) as company:
            a = await company.join("a", start=Latest())
            await company.settled(a)
            later = numbered(5, 2)
            await lab.fill(company.topic, later)

            await company.until(lambda: len(a.got) >= 8, a)

            assert Counter(a.got) == values(later)

    async def test_a_later_latest_passes_over_nothing_that_the_group_was_given(
        self, lab: GroupLab
    ) -> None:
        async with self.company(lab, numbered(0, 2)) as company:
            a = await company.join("a", start=Latest())
            await company.settled(a)
            later = numbered(2, 2)
            await lab.fill(company.topic, later)
            await company.until(lambda: len(a.got) >= 8, a)
            await a.member.aclose()
            await lab.wait_dead()

            b = await company.join("a", start=Latest())
            await company.until(lambda: len(b.got) >= 8, b)

            assert Counter(b.got) == values(later)

    async def test_a_member_that_comes_back_gets_what_is_not_committed(
        self, lab: GroupLab
    ) -> None:
        async with self.company(lab, numbered(0, 10, partitions=1)) as company:
            a = await company.join("a")
            await company.until(lambda: len(a.got) >= 6, a, most=6)
            await a.commit()
            done = list(a.got)
            await company.until(lambda: len(a.got) >= 10, a)
            await a.member.aclose()
            await lab.wait_dead()

            again = await company.join("a")
            rest = 10 - len(done)
            await company.until(lambda: len(again.got) >= rest, again)

            assert len(done) == 6
            every = numbered(0, 10, partitions=1)
            assert Counter(done + again.got) == values(every)

    @pytest.mark.parametrize("way", ["aclose", "abandon"])
    async def test_of_one_who_goes_what_was_not_committed_comes_again(
        self, lab: GroupLab, way: str
    ) -> None:
        async with self.company(lab, numbered(0, 0)) as company:
            a, b = await company.join("a"), await company.join("b")
            await company.settled(a, b)
            first, then = numbered(0, 10), numbered(10, 10)
            await lab.fill(company.topic, first)
            await company.until(lambda: len(a.got + b.got) >= 40, a, b, most=5)
            await a.commit()
            await b.commit()
            done = len(b.got)
            await lab.fill(company.topic, then)
            await company.until(lambda: len(a.got + b.got) >= 80, a, b, most=5)

            await getattr(b.member, way)()
            await lab.wait_dead()
            left = b.got[done:]
            await company.until(lambda: set(left) <= set(a.got), a)
            await a.commit()

            assert left
            # What b had committed went to a neither before nor after.
            assert not set(b.got[:done]) & set(a.got)
            assert Counter(a.got + b.got[:done]) == values(first, then)

    async def test_the_name_of_one_who_crashed_can_be_used_again(
        self, lab: GroupLab
    ) -> None:
        rows = numbered(0, 4)
        async with self.company(lab, rows) as company:
            a = await company.join("a")
            await company.until(lambda: len(a.got) >= 16, a)
            await a.member.abandon()
            await lab.wait_dead()

            again = await company.join("a")
            await company.until(lambda: len(again.got) >= 16, again)

            assert Counter(again.got) == values(rows)

    async def test_a_closed_member_may_be_closed_again(self, lab: GroupLab) -> None:
        async with self.company(lab, numbered(0, 1)) as company:
            a = await company.join("a")
            await a.member.aclose()
            await a.member.aclose()
            await a.member.abandon()

    async def test_a_member_can_share_other_topics(self, lab: GroupLab) -> None:
        other = fresh()
        await lab.fill(other, numbered(100, 2))
        async with self.company(lab, numbered(0, 2)) as company:
            a = await company.join("a")
            await company.until(lambda: len(a.got) >= 8, a)

            await a.member.subscribe([company.topic, other])
            await company.until(lambda: len(a.got) >= 16, a)

            assert set(a.got) == set(values(numbered(0, 2), numbered(100, 2)))

    async def test_topics_that_come_later_are_read_from_their_first_record(
        self, lab: GroupLab
    ) -> None:
        other = fresh()
        async with self.company(lab, numbered(0, 2)) as company:
            a = await company.join("a", start=Latest())
            await company.settled(a)
            await lab.fill(other, numbered(100, 2))

            await a.member.subscribe([company.topic, other])
            await company.until(lambda: len(a.got) >= 8, a)

            assert set(a.got) == set(values(numbered(100, 2)))

    async def test_who_reads_what_is_the_brokers_to_say(self, lab: GroupLab) -> None:
        async with self.company(lab, numbered(0, 1)) as company:
            a = await company.join("a")

            with pytest.raises(ModeError, match="assign"):
                await a.member.assign({Partition(company.topic, 0): 0})
            with pytest.raises(ModeError, match="unassign"):
                await a.member.unassign([Partition(company.topic, 0)])

    async def test_a_group_that_is_shared_takes_no_commits_by_hand(
        self, lab: GroupLab
    ) -> None:
        async with self.company(lab, numbered(0, 2)) as company:
            a = await company.join("a")
            await company.until(lambda: len(a.got) >= 8, a)
            start = await lab.connection.resolve(company.topic, Earliest())
            done = {p: Committed(at) for p, at in start.items()}

            with pytest.raises(GroupBusyError, match=company.group):
                await lab.connection.commit(company.group, done)

    # ---- partitions that change hands ---------------------------------------------

    async def test_who_joins_gets_a_share_from_where_it_was_committed(
        self, lab: GroupLab
    ) -> None:
        if not lab.can.alone:
            pytest.skip("members share all partitions here")
        first, then = numbered(0, 10), numbered(10, 5)
        async with self.company(lab, first) as company:
            a = await company.join("a", commits_when_revoked=False)
            await company.until(lambda: len(a.got) >= 40, a)
            await a.commit()
            await lab.fill(company.topic, then)
            await company.until(lambda: len(a.got) >= 60, a)

            b = await company.join("b")
            await company.settled(a, b)
            theirs = {p.number for p in b.partitions}
            again = values({n: rows for n, rows in then.items() if n in theirs})
            await company.until(lambda: set(again) <= set(b.got), a, b)

            assert Counter(b.got) == again
            assert Counter(a.got) >= values(first, then)
            assert not Counter(a.got) & values(first) - values(first)
            assert frozenset().union(*a.revoked) >= b.partitions
            assert a.member.rebalances >= 1
            assert a.member.news

    async def test_nobody_reads_what_another_is_still_finishing(
        self, lab: GroupLab
    ) -> None:
        if not lab.can.alone:
            pytest.skip("members share all partitions here")
        rows = numbered(0, 10)
        async with self.company(lab, rows) as company:
            a = await company.join("a")
            await company.until(lambda: len(a.got) >= 40, a)
            a.gate.clear()

            joining = asyncio.create_task(company.join("b"))
            await company.until(lambda: bool(a.revoked), a)
            seen: list[bytes] = []
            for _ in range(5):
                await asyncio.sleep(0.02)
                if joining.done():
                    b = joining.result()
                    seen += unpacked(await b.member.receive(100, 0.02))
            a.gate.set()
            b = await joining
            await company.settled(a, b)
            await b.step()

            assert seen == []
            # All had been read and was committed on the way: nothing comes again.
            assert Counter(a.got + b.got) == values(rows)

    async def test_commits_of_partitions_that_have_gone_are_skipped(
        self, lab: GroupLab
    ) -> None:
        if not lab.can.alone:
            pytest.skip("members share all partitions here")
        async with self.company(lab, numbered(0, 4)) as company:
            a = await company.join("a")
            await company.until(lambda: len(a.got) >= 8, a, most=8)
            old = dict(a.marks)
            b = await company.join("b")
            await company.settled(a, b)
            await company.until(lambda: len(set(a.got + b.got)) == 16, a, b)
            await b.commit()

            await a.member.commit(old)

            done = await lab.connection.committed(company.group, company.topic)
            end = await lab.connection.resolve(company.topic, Latest())
            assert b.partitions
            assert {p: done[p].next for p in b.partitions} == {
                p: end[p] for p in b.partitions
            }

    # ---- looking ----------------------------------------------------------------------

    async def test_groups_tells_who_reads_and_joins_nothing(
        self, lab: GroupLab
    ) -> None:
        async with self.company(lab, numbered(0, 2)) as company:
            a, b = await company.join("a"), await company.join("b")
            await company.settled(a, b)
            await company.until(lambda: len(a.got + b.got) >= 8, a, b, most=1)

            info = await company.info()
            again = await company.info()

            assert info.state == "stable"
            assert company.topic in info.topics
            assert sorted(member.name for member in info.members) == ["a", "b"]
            if lab.can.alone:
                shown = {m.name: set(m.partitions) for m in info.members}
                assert shown == {"a": a.partitions, "b": b.partitions}
            assert names([again]) == names([info])
            assert len(again.members) == 2

    async def test_a_group_that_everybody_left_is_empty_and_keeps_its_commits(
        self, lab: GroupLab
    ) -> None:
        async with self.company(lab, numbered(0, 2)) as company:
            a = await company.join("a")
            await company.until(lambda: len(a.got) >= 8, a)
            await a.commit()

            await a.member.aclose()

            info = await company.info()
            done = await lab.connection.committed(company.group, company.topic)
            end = await lab.connection.resolve(company.topic, Latest())
            assert (info.state, info.members) == ("empty", ())
            assert {p: each.next for p, each in done.items()} == end

    async def test_browsing_joins_no_group(self, lab: GroupLab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(5)})
        before = names(await lab.connection.groups())

        await everything(lab, topic)
        await lab.connection.info(topic)
        await lab.connection.topics()
        end = await lab.connection.resolve(topic, Latest())
        reader = await lab.connection.consumer(end)
        await reader.receive(1, 0.01)
        during = names(await lab.connection.groups())
        await reader.aclose()

        assert before == during == names(await lab.connection.groups())


def unpacked(blocks: Sequence[object]) -> list[bytes]:
    seen = collect(blocks, {})  # type: ignore[arg-type]  # blocks of whoever reads
    return [
        row.value for rows in seen.values() for row in rows if row.value is not None
    ]
