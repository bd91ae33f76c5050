"""Parts of the programs' side that need no broker: messages, what is done of them, names."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamlab as sl
from streamlab.backends.inprocess.log import LogTopic
from streamlab.backends.memory import broker as memory
from streamlab.errors import DataError
from streamlab.records import (
    Mark,
    Outgoing,
    Partition,
    PartitionState,
    Records,
    Sent,
)
from streamlab.topics.ledger import Ledger
from streamlab.topics.message import Message, messages
from streamlab.topics.names import matches

ONE, TWO = Partition("t", 0), Partition("t", 1)


def block(partition: Partition, first: int, count: int) -> Records:
    numbers = [*range(first, first + count)]
    return Records(partition, numbers, numbers, [b"%d" % n for n in numbers])


def state(following: int, handed_out: int = 0) -> PartitionState:
    return PartitionState(
        following, caught_up=True, ended=False, behind=0, handed_out=handed_out
    )


# ---- messages ---------------------------------------------------------------------------


def test_a_message_is_its_topic_partition_and_offset():
    one = Message("t", 0, 7, 1_767_225_600_500, b"k", b'{"a": 1}')
    same = one._replace(value=b"other", timestamp_ms=0)

    assert one == same
    assert len({one, same, one._replace(offset=8)}) == 2
    assert one.timestamp == datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)
    assert one.json() == {"a": 1}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "t p0 @ 7: a tombstone has no payload"),
        (b"\xff", "t p0 @ 7: the payload is not text"),
        (b"{", "t p0 @ 7: not JSON"),
    ],
)
def test_a_payload_that_is_not_json_names_its_place(value: bytes | None, said: str):
    with pytest.raises(DataError, match=said):
        Message("t", 0, 7, 0, None, value).json()


def test_entry_ids_bring_their_time_along():
    ids = [b"1767225600000-3", b"1767225600001-0"]
    found = messages(Records(ONE, ids, None, [b"a", b"b"]))

    assert [m.offset for m in found] == ["1767225600000-3", "1767225600001-0"]
    assert [m.timestamp_ms for m in found] == [1_767_225_600_000, 1_767_225_600_001]


# ---- what is done -------------------------------------------------------------------------


@given(st.data())
def test_a_commit_goes_up_to_the_first_message_that_is_not_acked(data: st.DataObject):
    """Against a list: whatever the cuts, the order of acks and the gaps between offsets."""
    ledger = Ledger(tracks=True)
    given_out: list[Message] = []
    acked: set[int] = set()
    fetched: list[int] = []
    following = 0
    for _ in range(data.draw(st.integers(1, 8))):
        gaps = data.draw(st.lists(st.integers(1, 3), max_size=5))
        numbers = [*itertools.accumulate(gaps, initial=following)][1:]
        fetched += numbers
        following = numbers[-1] + 1 if numbers else following
        values: list[bytes | None] = [b"x"] * len(numbers)
        blocks = [Records(ONE, numbers, numbers, values)] if numbers else []
        ledger.put(blocks, {ONE: state(following, len(fetched))})
        given_out += ledger.take(data.draw(st.integers(0, 6)))
        if given_out:
            for message in data.draw(st.lists(st.sampled_from(given_out))):
                ledger.ack(message)
                acked.add(int(message.offset))

    first = next((n for n, o in enumerate(fetched) if o not in acked), len(fetched))
    wanted = Mark(fetched[first] if first < len(fetched) else following, first)
    assert ledger.done() == {ONE: wanted}


def test_what_goes_to_others_is_not_handed_out_and_done_up_to_what_is_in_hand():
    ledger = Ledger(tracks=True)
    states = {ONE: state(5, 5), TWO: state(3, 3)}
    ledger.put([block(ONE, 0, 5), block(TWO, 0, 3)], states)
    first, second, third = ledger.take(3)
    ledger.ack(first)

    reached = ledger.drop([ONE])
    open_before = ledger.is_open([ONE])
    ledger.ack(third)
    low = ledger.low(reached)
    ledger.forget([ONE])
    rest = ledger.take(10)

    assert open_before
    assert second.offset == 1
    assert reached == {ONE: Mark(3, 3)}
    assert low == {ONE: Mark(1, 1)}
    assert [m.partition for m in rest] == [1, 1, 1]
    assert set(ledger.states()) == {TWO}


def test_what_was_taken_away_on_its_way_is_not_handed_out():
    ledger = Ledger(tracks=True)

    ledger.put([block(ONE, 0, 2), block(TWO, 0, 2)], {TWO: state(2, 2)})

    assert [m.partition for m in ledger.take(10)] == [1, 1]


def test_a_message_that_comes_twice_is_open_until_it_is_acked():
    ledger = Ledger(tracks=True)
    ledger.put([block(ONE, 0, 2)], {ONE: state(2, 2)})
    ledger.put([block(ONE, 0, 1)], {ONE: state(2, 3)})
    got = ledger.take(3)

    ledger.ack(got[1])
    assert ledger.done() == {ONE: Mark(0, 0)}
    ledger.ack(got[2])
    assert ledger.done() == {ONE: Mark(2, 3)}


def test_going_elsewhere_voids_what_was_fetched_and_what_is_open():
    ledger = Ledger(tracks=True)
    ledger.put([block(ONE, 0, 5), block(TWO, 0, 1)], {ONE: state(5), TWO: state(1)})
    ledger.take(2)

    ledger.move({ONE: 3})

    assert ledger.done() == {ONE: Mark(3, 0), TWO: Mark(0, -1)}
    assert [m.partition for m in ledger.take(10)] == [1]


def test_the_program_is_behind_by_what_it_has_not_been_handed():
    ledger = Ledger(tracks=False)
    ledger.put([block(ONE, 0, 5)], {ONE: state(5)})
    ledger.take(2)

    found = ledger.states()[ONE]

    assert (found.next, found.behind, found.caught_up) == (2, 3, False)


# ---- sending ------------------------------------------------------------------------------


async def test_messages_that_wait_go_out_together(monkeypatch: pytest.MonkeyPatch):
    broker = sl.connect("memory://programs")
    topic = memory.broker("programs").make("many", 2)
    pieces: list[int] = []

    def append(rows: Outgoing) -> Sent:
        pieces.append(len(rows.values))
        return LogTopic.append(topic, rows)

    monkeypatch.setattr(topic, "append", append)
    async with await broker.aio.producer("many") as producer:
        for number in range(50_000):
            producer.send_soon(b"%d" % number)

    assert sum(pieces) == 50_000
    # As fast as one loop fills it and another empties it: some hundreds at a time at least.
    assert len(pieces) < 5_000


# ---- names --------------------------------------------------------------------------------


def test_a_star_stands_for_any_characters_and_nothing_else_is_special():
    names = ["a.b", "axb", "a.b-1", "sensor-1", "sensor-2-x", "x-sensor-1"]

    assert matches("a.b", names) == ["a.b"]
    assert matches("sensor-*", names) == ["sensor-1", "sensor-2-x"]
    assert matches("*-1", names) == ["a.b-1", "sensor-1", "x-sensor-1"]
    assert matches("*", names) == names
    assert matches("s*r-*x", names) == ["sensor-2-x"]
