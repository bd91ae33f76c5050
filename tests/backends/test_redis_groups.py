"""What is Redis' own about sharing topics, on a real Valkey: pending entries, taking over from
the dead, groups that vanish. The contract of groups is in test_redis.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from streamlab.backends.redis.connection import RedisConnection
from streamlab.backends.redis.group import RedisGroupConsumer
from streamlab.errors import BrokerError
from streamlab.records import AtTime, Earliest, Latest, Mark, Partition, Position

pytestmark = pytest.mark.broker
P0 = Partition("t", 0)
QUICK = {"claim_idle": 0.8, "claim_interval": 0.1}


async def nobody_minds(partitions: frozenset[Partition]) -> None:
    raise AssertionError(f"{partitions} were taken away, and members share all")


async def join(
    connection: RedisConnection,
    name: str | None,
    start: Position | None = None,
    topics: tuple[str, ...] = ("t",),
) -> RedisGroupConsumer:
    return await connection.group_consumer(
        topics,
        group="g",
        start=Earliest() if start is None else start,
        revoked=nobody_minds,
        name=name,
    )


def marks(member: RedisGroupConsumer) -> dict[Partition, Mark]:
    return {partition: state.mark for partition, state in member.state().items()}


async def until(
    member: RedisGroupConsumer,
    count: int,
    *,
    most: int = 1000,
    also: Callable[[], bool] = lambda: True,
) -> list[bytes | None]:
    """So many records, in the order they were given; fails rather than hang."""
    got: list[bytes | None] = []
    async with asyncio.timeout(20):
        while len(got) < count or not also():
            for block in await member.receive(most, 0.1):
                got += block.values
    return got


async def fill(client: Any, count: int, name: str = "t", first: int = 0) -> None:
    pipe = client.pipeline(transaction=False)
    for i in range(first, first + count):
        pipe.xadd(name, {"msg": i}, id=f"{i + 1}-0")
    await pipe.execute()


def numbers(*spans: range) -> list[bytes]:
    return [b"%d" % i for span in spans for i in span]


async def pending(client: Any, name: str = "t") -> list[tuple[bytes, bytes]]:
    rows = await client.xpending_range(name, "g", "-", "+", 10_000)
    return [(row["consumer"], row["message_id"]) for row in rows]


async def consumers(client: Any) -> list[bytes]:
    return sorted(each["name"] for each in await client.xinfo_consumers("t", "g"))


# ---- taking over ------------------------------------------------------------------


async def test_what_a_dead_member_had_is_taken_over_by_the_caller(
    client: Any, open_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlab.backends.redis.sharer._PAGE", 5)
    await fill(client, 12)
    dead = await join(open_(**QUICK), "b")
    await until(dead, 12)
    await dead.commit({P0: Mark("1-0", 1)})
    await client.xdel("t", "3-0")
    await dead.abandon()

    member = await join(open_(**QUICK), "a")
    got = await until(member, 10)

    assert got == numbers(range(1, 2), range(3, 12))
    assert {owner for owner, _ in await pending(client)} == {b"a"}
    assert member.rebalances == 1
    assert member.news == "took over 10 records of b"
    await member.commit(marks(member))
    assert await pending(client) == []


async def test_records_taken_over_and_new_ones_are_committed_in_the_order_given(
    client: Any, open_: Any
) -> None:
    await fill(client, 12)
    await client.xgroup_create("t", "g", id="0")
    await client.xreadgroup("g", "b", {"t": ">"}, count=6)
    member = await join(open_(**QUICK), "a")
    got = await until(member, 12)
    assert got == numbers(range(6, 12), range(6))

    await member.commit({P0: Mark("12-1", 8)})

    assert [entry for _, entry in await pending(client)] == [
        b"3-0",
        b"4-0",
        b"5-0",
        b"6-0",
    ]


async def test_a_slow_member_that_lives_is_not_robbed(client: Any, open_: Any) -> None:
    await fill(client, 9)
    slow = await join(open_(**QUICK), "slow")
    await until(slow, 9)
    other = await join(open_(**QUICK), "other")

    for _ in range(24):  # three times as long as a silent member lives
        assert not await other.receive(100, 0.1)

    assert other.rebalances == 0
    assert {owner for owner, _ in await pending(client)} == {b"slow"}


async def test_being_heard_of_hands_out_nothing(client: Any, open_: Any) -> None:
    await fill(client, 1)
    member = await join(open_(claim_idle=0.1), "a")
    before = (await client.info("commandstats"))["cmdstat_xreadgroup"]["calls"]

    async with asyncio.timeout(20):
        while True:
            stats = (await client.info("commandstats"))["cmdstat_xreadgroup"]
            if stats["calls"] > before + 3:
                break
            await asyncio.sleep(0.01)

    assert await pending(client) == []
    assert await until(member, 1) == numbers(range(1))


async def test_own_entries_are_not_taken_over_from_oneself(
    client: Any, open_: Any
) -> None:
    await fill(client, 3)
    member = await join(open_(**QUICK), "a")
    await until(member, 3)

    for _ in range(10):
        assert not await member.receive(100, 0.1)

    assert member.rebalances == 0


async def test_a_member_without_a_name_leaves_what_it_had_to_the_others_at_once(
    client: Any, open_: Any
) -> None:
    await fill(client, 5)
    one = await join(open_(), None)
    await until(one, 5)
    await one.commit({P0: Mark("2-1", 2)})
    assert re.fullmatch(r".+-\d+-\d+", one.name)

    await one.aclose()
    two = await join(open_(claim_interval=0.1), None)
    got = await until(two, 3)

    assert got == numbers(range(2, 5))
    assert two.news == "took over 3 records of members that left"
    await two.commit(marks(two))
    await two.aclose()
    assert await consumers(client) == [b"streamlab:left"]
    assert (await open_().groups())[0].members == ()


async def test_a_member_that_comes_back_has_its_own_entries_first(
    client: Any, open_: Any
) -> None:
    await fill(client, 5)
    member = await join(open_(), "a")
    await until(member, 5)
    await member.aclose()
    await fill(client, 2, first=5)
    await client.xdel("t", "2-0")

    again = await join(open_(), "a")

    assert await until(again, 6) == numbers(range(1), range(2, 7))
    await again.commit(marks(again))
    await again.aclose()
    assert await pending(client) == []
    assert await consumers(client) == []


async def test_a_connection_cut_meanwhile_brings_nothing_twice_and_loses_nothing(
    client: Any, open_: Any
) -> None:
    await fill(client, 3_000)
    member = await join(open_(), "a")
    got = await until(member, 500, most=50)

    for kind in ("normal", "normal"):
        await client.execute_command("CLIENT", "KILL", "TYPE", kind)
        got += await until(member, 400, most=50)
    got += await until(member, 3_000 - len(got))

    assert sorted(got, key=lambda v: int(v or b"")) == numbers(range(3_000))
    await member.commit(marks(member))
    assert await pending(client) == []


async def test_entries_given_to_a_connection_that_died_unnoticed_are_found(
    client: Any, open_: Any
) -> None:
    await fill(client, 2)
    member = await join(open_(**QUICK), "a")
    await until(member, 2)

    # As the server does until it notices that the other side of a connection is gone.
    await fill(client, 3, first=2)
    await client.xreadgroup("g", "a", {"t": ">"})
    got = await until(member, 3)

    assert got == numbers(range(2, 5))
    await member.commit(marks(member))
    assert await pending(client) == []


# ---- entries that are no records ----------------------------------------------------


async def test_entries_without_the_payload_are_acknowledged_and_block_nobody(
    client: Any, open_: Any
) -> None:
    for i in range(5):
        await client.xadd("t", {"msg": i})
        await client.xadd("t", {"noise": i})
    member = await join(open_(), "a")

    got = await until(member, 5)
    await member.commit(marks(member))

    assert got == numbers(range(5))
    assert member.skipped == 5
    assert await pending(client) == []


async def test_a_topic_of_nothing_but_such_entries_leaves_nothing_behind(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"noise": 1})
    member = await join(open_(field="msg"), "a")
    assert not await member.receive(10, 0.1)

    await member.aclose()

    assert await pending(client) == []
    assert await consumers(client) == []


# ---- where a group begins, and when it is gone --------------------------------------


async def test_a_group_on_a_topic_that_is_not_there_waits_for_it(
    client: Any, open_: Any
) -> None:
    member = await join(open_(), "a", Latest())
    assert not await member.receive(10, 0.05)

    await fill(client, 2)

    assert await until(member, 2) == numbers(range(2))


async def test_a_new_group_begins_at_a_time_and_an_old_one_where_it_was(
    client: Any, open_: Any
) -> None:
    await fill(client, 6)
    member = await join(open_(), "a", AtTime(4))
    assert await until(member, 3) == numbers(range(3, 6))
    await member.commit(marks(member))
    await member.aclose()

    again = await join(open_(), "b", Earliest())

    assert not await again.receive(10, 0.1)


async def test_a_group_that_seastreamer_made_is_joined(client: Any, open_: Any) -> None:
    await fill(client, 6)
    await client.xgroup_create("t", "g", id="0")
    await client.xreadgroup("g", "host:s", {"t": ">"}, count=3)

    member = await join(open_(**QUICK), "a", Latest())

    assert await until(member, 6) == numbers(range(3, 6), range(3))


async def test_a_group_destroyed_meanwhile_is_made_again_where_nothing_is_lost(
    client: Any, open_: Any
) -> None:
    await fill(client, 5)
    member = await join(open_(), "a")
    await until(member, 5)
    await member.commit({P0: Mark("3-1", 3)})

    await client.xgroup_destroy("t", "g")
    await fill(client, 2, first=5)
    got = await until(member, 2)

    # Those not committed come again: nobody knows any more that they were given.
    assert got == numbers(range(3, 7))
    await member.commit(marks(member))
    assert await pending(client) == []


async def test_a_stream_deleted_meanwhile_is_read_from_its_new_beginning(
    client: Any, open_: Any
) -> None:
    await fill(client, 5)
    member = await join(open_(), "a", Latest())
    await fill(client, 2, first=5)
    await until(member, 2)

    await client.delete("t")
    await client.xadd("t", {"msg": "anew"}, id="2-0")

    assert await until(member, 1) == [b"anew"]


async def test_a_key_that_is_no_stream_any_more_is_an_error(
    client: Any, open_: Any
) -> None:
    await fill(client, 1)
    member = await join(open_(), "a")
    await until(member, 1)

    await client.delete("t")
    await client.set("t", "text")

    with pytest.raises(BrokerError, match=r"'t' on .* is not a stream"):
        await until(member, 1)


async def test_streams_that_come_later_are_shared_too(
    client: Any, open_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlab.backends.redis.group._DISCOVER_S", 0.05)
    await fill(client, 2, "t:0")
    member = await join(open_(), "a", Latest())
    assert not await member.receive(10, 0.05)

    await fill(client, 3, "t:1")

    assert await until(member, 3) == numbers(range(3))
    assert {*member.state()} == {P0, Partition("t", 1)}
    assert member.trouble is None
    await member.commit(marks(member))
    assert await pending(client, "t:1") == []


async def test_to_be_heard_of_takes_no_entries(
    open_: Callable[..., RedisConnection], client: Any
) -> None:
    """A record of each stream went into the member's list at every beat, and to nobody."""
    member = await join(open_(claim_idle=0.05), "a")
    await fill(client, 1)
    got = await until(member, 1)
    # No question is under way now, so that only the beat could take something.
    member._sharers[""]._hang_up(None)
    await fill(client, 20, first=1)
    heard = 0
    async with asyncio.timeout(20):
        while heard < 5:
            (reader,) = await client.xinfo_consumers("t", "g")
            heard += reader["idle"] < 5
            await asyncio.sleep(0.005)
    taken = await pending(client)

    assert len(taken) == 1
    assert got + await until(member, 20) == numbers(range(21))
