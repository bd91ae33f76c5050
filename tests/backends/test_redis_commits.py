"""Committing by position on a real Valkey: the group's place, its memory, others' groups."""

from __future__ import annotations

from typing import Any

import pytest

from streamlab.backends.base import GroupInfo, GroupMember
from streamlab.errors import GroupBusyError
from streamlab.records import Committed, Partition

pytestmark = pytest.mark.broker
P0, P1 = Partition("t", 0), Partition("t", 1)


async def fill(client: Any, name: str = "t", count: int = 5) -> None:
    for i in range(1, count + 1):
        await client.xadd(name, {"msg": i}, id=f"{i}-0")


async def seastreamer_reads(client: Any, count: int, *, acks: int = 0) -> None:
    """A group as SeaStreamer makes and leaves it: entries delivered, some acknowledged."""
    await client.xgroup_create("t", "g", id="0")
    ((_, entries),) = await client.xreadgroup("g", "host:r", {"t": ">"}, count=count)
    if acks:
        await client.xack("t", "g", *[entry for entry, _ in entries[:acks]])


async def test_what_was_committed_comes_back_with_its_memory(
    client: Any, open_: Any
) -> None:
    await fill(client, "t:0")
    await fill(client, "t:1")
    odd = 'é {"low": [1, 2]}: 100 %\r\n' + "x" * 3_900
    await open_().commit("g", {P0: Committed("3-0", odd), P1: Committed("2-7")})

    assert await open_().committed("g", "t") == {
        P0: Committed("3-0", odd),
        P1: Committed("2-7", ""),
    }
    assert await open_().committed("other", "t") == {}
    assert await open_().committed("g", "absent") == {}
    pending = await client.xpending("t:0", "g")
    assert pending["pending"] == 0


async def test_a_commit_replaces_the_one_before_and_may_go_back(
    client: Any, open_: Any
) -> None:
    await fill(client)
    connection = open_()
    for place, memory in (("3-0", "a"), ("5-1", "b"), ("5-1", "c"), ("2-0", "d")):
        await connection.commit("g", {P0: Committed(place, memory)})
        assert await connection.committed("g", "t") == {P0: Committed(place, memory)}

    assert len(await client.xinfo_consumers("t", "g")) == 1
    assert await client.keys() == [b"t"]


async def test_a_stream_that_is_not_there_is_made(client: Any, open_: Any) -> None:
    connection = open_()

    await connection.commit("g", {P0: Committed("7-0", "m")})

    assert await connection.committed("g", "t") == {P0: Committed("7-0", "m")}
    assert await client.xlen("t") == 0


async def test_a_group_moved_by_hand_has_lost_its_memory(
    client: Any, open_: Any
) -> None:
    await fill(client)
    connection = open_()
    await connection.commit("g", {P0: Committed("3-0", "mine")})

    await client.xgroup_setid("t", "g", "4-0")

    assert await connection.committed("g", "t") == {P0: Committed("4-1", "")}


async def test_the_memory_dies_with_the_group(client: Any, open_: Any) -> None:
    await fill(client)
    connection = open_()
    await connection.commit("g", {P0: Committed("3-0", "mine")})

    await client.xgroup_destroy("t", "g")
    await client.xgroup_create("t", "g", id="2-0")

    assert await connection.committed("g", "t") == {P0: Committed("2-1", "")}


async def test_entries_that_seastreamer_left_pending_are_needed_still(
    client: Any, open_: Any
) -> None:
    await fill(client)
    await seastreamer_reads(client, 4, acks=1)
    connection = open_()

    assert await connection.committed("g", "t") == {P0: Committed("2-0", "")}


async def test_a_commit_acknowledges_what_others_left_before_it(
    client: Any, open_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(client)
    await seastreamer_reads(client, 4)
    connection = open_()
    monkeypatch.setattr("streamlab.backends.redis.commits._SILENT_MS", 0)
    monkeypatch.setattr("streamlab.backends.redis.commits._PAGE", 2)

    await connection.commit("g", {P0: Committed("4-0", "m")})

    left = await client.xpending_range("t", "g", "-", "+", 10)
    assert [each["message_id"] for each in left] == [b"4-0"]
    assert await connection.committed("g", "t") == {P0: Committed("4-0", "m")}


async def test_a_group_that_is_shared_can_not_be_had_alone(
    client: Any, open_: Any
) -> None:
    await fill(client)
    await seastreamer_reads(client, 2)

    with pytest.raises(GroupBusyError, match=r"'g' .* host:r read 't'"):
        await open_().commit("g", {P0: Committed("4-0", "m")})

    assert len(await client.xpending_range("t", "g", "-", "+", 10)) == 2


async def test_groups_are_told_with_their_members_and_without_markers(
    client: Any, open_: Any
) -> None:
    await fill(client)
    await fill(client, "u:1")
    await seastreamer_reads(client, 2)
    connection = open_()
    await connection.commit("a", {Partition("u", 1): Committed("4-0", "m")})
    before = [await client.xinfo_groups(name) for name in ("t", "u:1")]

    one, other = await connection.groups()

    assert one == GroupInfo("a", "empty", ("u",), ())
    (member,) = other.members
    assert other[:3] == ("g", "stable", ("t",))
    assert member._replace(idle_ms=0) == GroupMember("host:r", pending=2, idle_ms=0)
    assert [await client.xinfo_groups(name) for name in ("t", "u:1")] == before
