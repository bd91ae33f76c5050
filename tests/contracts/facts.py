"""The part of the backend contract about records, topics and writing; `backend.py` has the rest
and inherits this.
"""

from __future__ import annotations

import pytest

from streamlab.errors import TopicNotFoundError
from streamlab.records import Earliest, Latest, Outgoing, Partition, Records
from tests.contracts.lab import (
    T0,
    Lab,
    Row,
    everything,
    fresh,
    order,
    rows_of,
    second,
    some,
)


class FactsContract:
    """What a backend says of records, partitions and topics, and what it writes."""

    @pytest.fixture
    async def lab(self) -> Lab:
        raise NotImplementedError("a backend's test brings its own lab")

    # ---- what records carry -------------------------------------------------

    async def test_tombstones_keys_and_headers_arrive_as_they_were_sent(
        self, lab: Lab
    ) -> None:
        topic = fresh()
        can = lab.can
        rows = [
            Row(b"plain", T0),
            Row(None if can.tombstones else b"v", T0 + 1, b"k" if can.keys else None),
            Row(b"", T0 + 2, None, [("h", b"\xff")] if can.headers else ()),
        ]
        await lab.fill(topic, {0: rows})
        start = await lab.connection.resolve(topic, Earliest())
        consumer = await lab.connection.consumer(start)

        blocks: list[Records] = []
        while sum(len(b.values) for b in blocks) < 3:
            blocks += await consumer.receive(10, 1.0)

        got = [
            (
                b.values[i],
                b.keys[i] if b.keys is not None else None,
                [*b.headers[i]] if b.headers is not None else [],
            )
            for b in blocks
            for i in range(len(b.values))
        ]
        assert got == [(r.value, r.key, [*r.headers]) for r in rows]
        await consumer.aclose()

    # ---- what the broker says of itself -------------------------------------

    async def test_info_tells_the_truth_of_each_partition(self, lab: Lab) -> None:
        topic = fresh()
        gone = {0: [0, 2]} if lab.can.deletes else {}
        await lab.fill(topic, {0: some(5), **second(lab, 2)}, gone)
        held = await everything(lab, topic)
        end = await lab.connection.resolve(topic, Latest())

        lines = await lab.connection.info(topic)

        assert [line.partition for line in lines] == sorted(held)
        for line in lines:
            rows = held[line.partition]
            assert order(line.first) == order(rows[0].offset)
            assert order(line.next) == order(end[line.partition])
            assert order(line.next) > order(rows[-1].offset)
            assert line.records in (len(rows), None)
            assert line.oldest_ms in (rows[0].ms, None)
            assert line.newest_ms in (rows[-1].ms, None)
            assert line.bytes is None or line.bytes > 0

    async def test_topics_are_listed_in_order(self, lab: Lab) -> None:
        names = sorted([fresh(), fresh()])
        for name in reversed(names):
            await lab.fill(name, {0: some(1)})

        listed = await lab.connection.topics()

        assert listed == sorted(listed)
        assert [n for n in listed if n in names] == names

    async def test_a_missing_topic_is_told_from_an_empty_one(self, lab: Lab) -> None:
        await lab.fill("orders", {0: some(1)})

        with pytest.raises(TopicNotFoundError, match=r"no topic 'oders'.*'orders'"):
            await lab.connection.info("oders")

    # ---- writing ------------------------------------------------------------

    async def test_what_is_sent_can_be_read(self, lab: Lab) -> None:
        if not lab.can.sends:
            pytest.skip("nothing can be sent here")
        topic = fresh()
        producer = await lab.connection.producer(topic)

        first = await producer.send(Outgoing([b"a", b"b"]))
        then = await producer.send(Outgoing([b"c"]))
        await producer.aclose()

        held = await everything(lab, topic)
        assert rows_of(held) == {0: [b"a", b"b", b"c"]}
        if first.offsets[0] != -1:
            sent = [*first.offsets, *then.offsets]
            assert sent == [seen.offset for seen in held[Partition(topic, 0)]]
        assert [*first.partitions, *then.partitions] == [0, 0, 0]
        assert len(first.timestamps_ms) == 2

    async def test_sent_keys_headers_and_tombstones_come_back(self, lab: Lab) -> None:
        if not lab.can.sends:
            pytest.skip("nothing can be sent here")
        topic = fresh()
        can = lab.can
        values = [b"a", None if can.tombstones else b"b"]
        keys = [b"k", None] if can.keys else None
        headers = [[], [("h", b"1")]] if can.headers else None
        producer = await lab.connection.producer(topic)
        await producer.send(Outgoing(values, keys=keys, headers=headers))
        await producer.aclose()
        start = await lab.connection.resolve(topic, Earliest())
        consumer = await lab.connection.consumer(start)

        blocks: list[Records] = []
        while sum(len(b.values) for b in blocks) < 2:
            blocks += await consumer.receive(10, 1.0)

        assert [v for b in blocks for v in b.values] == values
        if keys:
            assert [k for b in blocks for k in b.keys or [None] * len(b.values)] == keys
        if headers:
            sent = [[*h] for b in blocks for h in b.headers or [[]] * len(b.values)]
            assert sent == headers
        await consumer.aclose()
