"""What every backend must do, as tests to inherit.

A backend's test file brings one fixture, `lab`, and inherits the class:

    class TestMemory(BackendContract):
        @pytest.fixture
        async def lab(self): ...            # yields a `Lab`, closes its connection after

A `Lab` (contracts/lab.py) is an open connection plus ways to fill its broker behind the
backend's back. What a broker can't do is said in `lab.can`, and the tests that need it are
skipped: say False only for what the broker itself lacks. A lab lives for one test; each
hypothesis example takes a topic of its own from `fresh()`, so a lab must bear many topics.

Offsets are compared in the form users see: integers, or Redis entry ids as text.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlab.errors import PositionLost
from streamlab.records import (
    AtOffsets,
    AtTime,
    Earliest,
    Latest,
    Newest,
    Partition,
)
from tests.contracts.facts import FactsContract
from tests.contracts.lab import (
    T0,
    Lab,
    Seen,
    between,
    collect,
    contents,
    drain,
    everything,
    examples,
    fresh,
    newest_of,
    order,
    rows_of,
    second,
    since,
    some,
)


class BackendContract(FactsContract):
    """Inherit this and give it the fixture `lab`."""

    # ---- reading ------------------------------------------------------------

    async def test_silence_is_an_empty_batch_and_not_the_end(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(3)})
        latest = await lab.connection.resolve(topic, Latest())
        consumer = await lab.connection.consumer(latest)

        first = await consumer.receive(10, 0.01)
        again = await consumer.receive(10, 0.01)

        assert len(first) == len(again) == 0
        assert not consumer.ended
        assert consumer.trouble is None
        await consumer.aclose()

    async def test_earliest_delivers_everything_in_offset_order(self, lab: Lab) -> None:
        topic = fresh()
        numbers = [0, 1, 2] if lab.can.partitions else [0]
        rows = {n: some(25, partition=n) for n in numbers}
        await lab.fill(topic, rows)

        seen = await everything(lab, topic)

        assert rows_of(seen) == {n: [r.value for r in rows[n]] for n in numbers}
        for partition, got in seen.items():
            assert partition.topic == topic
            assert [r.ms for r in got] == [r.ms for r in rows[partition.number]]
            places = [order(r.offset) for r in got]
            assert all(a < b for a, b in itertools.pairwise(places))

    async def test_a_waiting_consumer_is_handed_what_comes_then(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(2)})
        latest = await lab.connection.resolve(topic, Latest())
        consumer = await lab.connection.consumer(latest)

        waiting = asyncio.create_task(consumer.receive(10, 50))
        await asyncio.sleep(0)
        await lab.fill(topic, {0: some(1, ms=T0 + 1000)})
        async with asyncio.timeout(20):
            blocks = await waiting

        assert rows_of(collect(blocks, {})) == {0: [b"0:0"]}
        await consumer.aclose()

    async def test_no_batch_holds_more_than_it_may(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(20), **second(lab, 20)})
        start = await lab.connection.resolve(topic, Earliest())
        stop = await lab.connection.resolve(topic, Latest())
        consumer = await lab.connection.consumer(start, stop)

        sizes: list[int] = []
        seen: dict[Partition, list[Seen]] = {}
        while not consumer.ended:
            blocks = await consumer.receive(7, 1.0)
            sizes.append(sum(len(b.values) for b in blocks))
            collect(blocks, seen)
            assert len(sizes) < 100

        assert max(sizes) <= 7
        assert sum(sizes) == 20 * len(start)
        assert seen == await everything(lab, topic)
        await consumer.aclose()

    async def test_two_consumers_do_not_take_from_each_other(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(10)})
        start = await lab.connection.resolve(topic, Earliest())
        one = await lab.connection.consumer(start)
        two = await lab.connection.consumer(start)

        first, other = await asyncio.gather(
            drain(one, 10, max_records=3), drain(two, 10, max_records=4)
        )

        assert first == other == await everything(lab, topic)
        await one.aclose()
        await two.aclose()

    async def test_closing_twice_is_harmless(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(1)})
        start = await lab.connection.resolve(topic, Earliest())
        consumer = await lab.connection.consumer(start)
        await consumer.receive(1, 1.0)

        await consumer.aclose()
        await consumer.aclose()
        await lab.connection.aclose()
        await lab.connection.aclose()

    async def test_state_says_how_far_it_is_and_whether_more_is_there(
        self, lab: Lab
    ) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(10)})
        start = await lab.connection.resolve(topic, Earliest())
        held = (await everything(lab, topic))[Partition(topic, 0)]
        consumer = await lab.connection.consumer(start)

        got = await drain(consumer, 4, max_records=4)
        half = consumer.state()[Partition(topic, 0)]
        await drain(consumer, 6)
        await consumer.receive(10, 0.01)
        done = consumer.state()[Partition(topic, 0)]

        assert len(got[Partition(topic, 0)]) == 4
        assert order(held[3].offset) < order(half.next) <= order(held[4].offset)
        assert not half.caught_up
        assert half.behind in (6, None)
        assert done.caught_up
        assert not done.ended
        assert done.behind in (0, None)
        assert order(done.next) > order(held[9].offset)
        await consumer.aclose()

    # ---- where reading starts and stops -------------------------------------

    @examples
    @given(st.data())
    async def test_a_start_names_the_first_record_delivered_an_end_the_first_not(
        self, lab: Lab, data: st.DataObject
    ) -> None:
        topic = fresh()
        await lab.fill(topic, *data.draw(contents(lab.can)))
        held = await everything(lab, topic)
        cuts = {
            p: sorted(
                data.draw(st.tuples(*[st.integers(0, len(rows))] * 2), label=str(p))
            )
            for p, rows in held.items()
        }
        end = await lab.connection.resolve(topic, Latest())
        at = [
            {
                p: held[p][c[i]].offset if c[i] < len(held[p]) else end[p]
                for p, c in cuts.items()
            }
            for i in (0, 1)
        ]
        earliest = await lab.connection.resolve(topic, Earliest())

        parts = [
            await between(lab, a, b, max_records=data.draw(st.integers(1, 9)))
            for a, b in itertools.pairwise([earliest, *at, end])
        ]

        for p, (a, b) in cuts.items():
            assert [part[p] for part in parts] == [
                held[p][:a],
                held[p][a:b],
                held[p][b:],
            ]

    @examples
    @given(st.data())
    async def test_positions_mean_what_the_list_model_says(
        self, lab: Lab, data: st.DataObject
    ) -> None:
        topic = fresh()
        await lab.fill(topic, *data.draw(contents(lab.can)))
        held = await everything(lab, topic)
        end = await lab.connection.resolve(topic, Latest())
        every: list[Seen | None] = [r for p in held for r in held[p]]
        times = sorted({r.ms for p in held for r in held[p]}) or [T0]
        ms = data.draw(st.sampled_from(times)) + data.draw(
            st.integers(-1, 1), label="ms"
        )
        count = data.draw(st.integers(1, 30), label="count")
        chosen = data.draw(st.sampled_from(every or [None]), label="chosen")

        at_time = await lab.connection.resolve(topic, AtTime(ms))
        newest = await lab.connection.resolve(topic, Newest(count))

        assert await between(lab, at_time, end) == {
            p: since(ms, rows) for p, rows in held.items()
        }
        assert await between(lab, newest, end) == newest_of(count, held)
        if chosen is not None:
            own = next(p for p in held if chosen in held[p])
            given_ = AtOffsets({own.number: chosen.offset})
            at = await lab.connection.resolve(topic, given_)
            assert await between(lab, at, end) == {
                p: held[p][held[p].index(chosen) :] if p == own else [] for p in held
            }

    async def test_the_end_is_the_end_at_the_call(self, lab: Lab) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(5)})
        start = await lab.connection.resolve(topic, Earliest())
        stop = await lab.connection.resolve(topic, Latest())
        await lab.fill(topic, {0: some(5, ms=T0 + 1000)})

        seen = await between(lab, start, stop)

        assert len(seen[Partition(topic, 0)]) == 5

    async def test_an_end_in_a_gap_is_reached_without_waiting(self, lab: Lab) -> None:
        if not lab.can.deletes:
            pytest.skip("this broker has no gaps")
        topic = fresh()
        await lab.fill(topic, {0: some(6)}, {0: [4, 5]})
        start = await lab.connection.resolve(topic, Earliest())
        stop = await lab.connection.resolve(topic, Latest())
        consumer = await lab.connection.consumer(start, stop)

        async with asyncio.timeout(5):
            seen = await drain(consumer)

        assert rows_of(seen) == {0: [b"0:0", b"0:1", b"0:2", b"0:3"]}
        assert consumer.state()[Partition(topic, 0)].ended
        await consumer.aclose()

    async def test_an_empty_range_has_ended_before_anything_is_read(
        self, lab: Lab
    ) -> None:
        topic = fresh()
        await lab.fill(topic, {0: some(3)})
        end = await lab.connection.resolve(topic, Latest())

        seen = await between(lab, end, end)

        assert seen == {Partition(topic, 0): []}

    async def test_lost_records_are_counted_and_reading_goes_on(self, lab: Lab) -> None:
        if not lab.can.trims:
            pytest.skip("this broker forgets nothing")
        topic = fresh()
        await lab.fill(topic, {0: some(10)})
        start = await lab.connection.resolve(topic, Earliest())
        stop = await lab.connection.resolve(topic, Latest())
        await lab.trim(topic, 0, keep=3)

        consumer = await lab.connection.consumer(start, stop)
        seen = await drain(consumer)

        assert rows_of(seen) == {0: [b"0:7", b"0:8", b"0:9"]}
        if lab.can.counts_lost:
            assert consumer.lost == 7
        await consumer.aclose()

    async def test_lost_records_raise_if_that_was_asked_for(self, lab: Lab) -> None:
        if not (lab.can.trims and lab.can.counts_lost):
            pytest.skip("this broker can't tell what is lost")
        topic = fresh()
        await lab.fill(topic, {0: some(10)})
        start = await lab.connection.resolve(topic, Earliest())
        await lab.trim(topic, 0, keep=3)
        consumer = await lab.connection.consumer(start, on_lost="error")

        with pytest.raises(PositionLost, match=topic):
            await drain(consumer, 3)

        await consumer.aclose()
