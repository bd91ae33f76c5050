"""What a plain consumer does when its partitions are changed, as tests to inherit; `backend.py`
explains how.
"""

from __future__ import annotations

import pytest

from streamlab.records import Earliest, Latest, Partition
from tests.contracts.lab import (
    Lab,
    collect,
    drain,
    everything,
    fresh,
    order,
    rows_of,
    some,
)


class AssignContract:
    """Inherit this and give it the fixture `lab`."""

    @pytest.fixture
    async def lab(self) -> Lab:
        raise NotImplementedError("a backend's test brings its own lab")

    async def test_a_partition_that_is_read_moves_back_and_on(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(10)})
        place = Partition(topic, 0)
        offsets = [row.offset for row in (await everything(lab, topic))[place]]
        consumer = await lab.connection.consumer({place: offsets[0]})
        await drain(consumer, 5, max_records=5)

        await consumer.assign({place: offsets[2]})
        back = await drain(consumer, 8)
        await consumer.assign({place: offsets[8]})
        on = await drain(consumer, 2)

        assert [row.offset for row in back[place]] == offsets[2:]
        assert [row.offset for row in on[place]] == offsets[8:]
        await consumer.aclose()

    async def test_what_was_fetched_and_not_handed_out_is_dropped(
        self, lab: Lab
    ) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(20)})
        place = Partition(topic, 0)
        offsets = [row.offset for row in (await everything(lab, topic))[place]]
        consumer = await lab.connection.consumer({place: offsets[0]})
        await drain(consumer, 1, max_records=1)

        await consumer.assign({place: offsets[15]})
        seen = await drain(consumer, 5)

        assert [row.offset for row in seen[place]] == offsets[15:]
        await consumer.aclose()

    async def test_another_topic_is_read_too(self, lab: Lab) -> None:
        one, two = fresh(), fresh()
        await lab.fill(one, {0: some(3)})
        await lab.fill(two, {0: some(4, partition=7)})
        start = await lab.connection.resolve(one, Earliest())
        consumer = await lab.connection.consumer(start)
        seen = await drain(consumer, 3)

        await consumer.assign(await lab.connection.resolve(two, Earliest()))
        seen |= await drain(consumer, 4)

        assert rows_of(seen)[0] == [b"7:0", b"7:1", b"7:2", b"7:3"]
        assert {p.topic for p in consumer.state()} == {one, two}
        await consumer.aclose()

    async def test_what_is_not_assigned_any_more_is_not_read(self, lab: Lab) -> None:
        if not lab.can.partitions:
            pytest.skip("topics have one partition here")
        topic = fresh()
        await lab.fill(topic, {0: some(5), 1: some(5, partition=1)})
        start = await lab.connection.resolve(topic, Earliest())
        consumer = await lab.connection.consumer(start)
        await drain(consumer, 2, max_records=2)

        await consumer.unassign([Partition(topic, 0)])
        state = consumer.state()
        await consumer.assign({Partition(topic, 1): start[Partition(topic, 1)]})
        seen = await drain(consumer, 5)

        assert {*state} == {Partition(topic, 1)}
        assert rows_of(seen) == {1: [f"1:{i}".encode() for i in range(5)]}
        await consumer.aclose()

    async def test_with_nothing_assigned_there_is_silence(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(5)})
        start = await lab.connection.resolve(topic, Earliest())
        consumer = await lab.connection.consumer(start)

        await consumer.unassign(start)
        silence = await consumer.receive(10, 0.01)
        state = dict(consumer.state())
        ended = consumer.ended
        await consumer.assign(start)

        assert (len(silence), state, ended) == (0, {}, False)
        assert len((await drain(consumer, 5))[Partition(topic, 0)]) == 5
        await consumer.aclose()

    async def test_a_move_within_bounds_keeps_the_end(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(6)})
        start = await lab.connection.resolve(topic, Earliest())
        stop = await lab.connection.resolve(topic, Latest())
        consumer = await lab.connection.consumer(start, stop)
        seen = collect(await consumer.receive(4, 10), {})

        await consumer.assign(start)
        again = await drain(consumer)

        assert len(seen[Partition(topic, 0)]) == 4
        assert len(again[Partition(topic, 0)]) == 6
        assert order(consumer.state()[Partition(topic, 0)].next)
        await consumer.aclose()

    async def test_partitions_are_told_and_none_of_a_missing_topic(
        self, lab: Lab
    ) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(1)})

        assert await lab.connection.partitions(topic) == {Partition(topic, 0)}
        assert await lab.connection.partitions("no-such-topic") == frozenset()
