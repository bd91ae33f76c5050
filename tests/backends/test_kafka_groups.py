"""Groups on a real Kafka: the contract, and what is Kafka's own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError

from streamlab import servers, uri
from streamlab.backends.base import GroupInfo
from streamlab.backends.kafka import admin as kafka_admin
from streamlab.backends.kafka.admin import Described
from streamlab.backends.kafka.clerk import Clerk
from streamlab.backends.kafka.client import Client
from streamlab.backends.kafka.group import KafkaGroupConsumer
from streamlab.backends.kafka.options import settings
from streamlab.errors import BrokerError, PermissionDeniedError
from streamlab.records import Committed, Earliest, Latest, Partition
from tests.backends.kafka_lab import KafkaLab, connect, lab_on
from tests.brokers import deny, need
from tests.contracts.groups import (
    PATIENCE_S,
    Company,
    GroupContract,
    numbered,
    values,
)
from tests.contracts.lab import T0, Row

pytestmark = pytest.mark.broker
SESSION_MS = 1_000
ROOT = Path(__file__).parents[2]


class KafkaGroupLab(KafkaLab):
    """A lab whose members are missed after a second."""

    async def wait_dead(self) -> None:
        """Those who still read learn of it from the broker by themselves."""


@pytest.fixture
async def lab(kafka: servers.Kafka) -> AsyncIterator[KafkaGroupLab]:
    address = f"{kafka.host}:{kafka.port}"
    async with lab_on(address) as plain:
        await plain.connection.aclose()
        quick = connect(
            f"kafka://{address}",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=200,
            rebalance_timeout_ms=20_000,
        )
        yield KafkaGroupLab(quick, plain.admin, plain.producer, plain.undone)
        await quick.aclose()


class TestKafkaGroups(GroupContract):
    @pytest.fixture
    async def lab(self, lab: KafkaGroupLab) -> KafkaGroupLab:
        return lab


# ---- coming, going and being missed ---------------------------------------------------


async def test_what_changed_hands_is_told_in_words(lab: KafkaGroupLab) -> None:
    await lab.fill("words", numbered(0, 1))
    company = Company(lab, "words")
    a = await company.join("a")
    await company.settled(a)
    await company.until(lambda: bool(a.member.news), a)
    told = [a.member.news]
    b = await company.join("b")
    await company.settled(a, b)
    await company.until(lambda: a.member.news.startswith("b"), a, b)
    told.append(a.member.news)
    await b.member.aclose()
    await company.settled(a)
    await company.until(lambda: a.member.news.startswith("b left"), a)
    told.append(a.member.news)

    assert told == [
        "a joined: partitions 0 1 2 3 → a",
        "b joined: partitions 1 3 → b",
        "b left: partitions 1 3 → a",
    ]
    assert a.member.rebalances == 2
    await company.close()


async def test_who_is_abandoned_is_missed_only_when_its_session_is_over(
    lab: KafkaGroupLab,
) -> None:
    await lab.fill("missed", numbered(0, 1))
    company = Company(lab, "missed")
    a = await company.join("a")
    await company.settled(a)

    async with asyncio.timeout(2):
        await a.member.abandon()
    right_after = await company.info()
    async with asyncio.timeout(PATIENCE_S):
        while (later := await company.info()).state != "empty":
            pass  # each look is a question to the broker

    assert [member.name for member in right_after.members] == ["a"]
    assert later.members == ()


async def test_who_leaves_is_gone_at_once(lab: KafkaGroupLab) -> None:
    await lab.fill("gone", numbered(0, 1))
    company = Company(lab, "gone")
    a = await company.join("a")
    await company.settled(a)

    async with asyncio.timeout(2):
        await a.member.aclose()

    assert (await company.info()).state == "empty"


async def test_a_member_in_the_middle_of_a_rebalance_can_leave(
    lab: KafkaGroupLab,
) -> None:
    await lab.fill("middle", numbered(0, 1))
    company = Company(lab, "middle")
    a = await company.join("a")
    await company.settled(a)
    a.gate.clear()
    joining = asyncio.create_task(company.join("b"))
    await company.until(lambda: bool(a.revoked), a)

    async with asyncio.timeout(2):
        await a.member.aclose()

    b = await joining
    await company.settled(b)
    await company.close()


async def test_one_who_does_not_finish_is_not_waited_for_for_ever(
    kafka: servers.Kafka, lab: KafkaGroupLab
) -> None:
    await lab.fill("slow", numbered(0, 1))
    impatient = connect(
        f"kafka://{kafka.host}:{kafka.port}",
        session_timeout_ms=SESSION_MS,
        rebalance_timeout_ms=2_000,
    )
    company = Company(
        KafkaGroupLab(impatient, lab.admin, lab.producer, lab.undone), "slow"
    )
    a = await company.join("a")
    await company.settled(a)
    a.gate.clear()

    b = await company.join("b")
    await company.settled(a, b)

    assert a.revoked
    assert a.partitions | b.partitions == await lab.connection.partitions("slow")
    await company.close()
    await impatient.aclose()


async def test_a_latest_of_one_who_crashed_is_where_the_next_one_begins(
    lab: KafkaGroupLab,
) -> None:
    await lab.fill("pinned", numbered(0, 3))
    company = Company(lab, "pinned")
    a = await company.join("a", start=Latest())
    await company.settled(a)
    then = numbered(3, 2)
    await lab.fill("pinned", then)
    await company.until(lambda: len(a.got) >= 8, a)
    await a.member.abandon()

    b = await company.join("b", start=Latest())
    await company.until(lambda: len(b.got) >= 8, b)

    assert Counter(b.got) == values(then)
    await company.close()


async def test_added_partitions_are_shared_and_read_from_their_first_record(
    lab: KafkaGroupLab,
) -> None:
    await lab.fill("grown", numbered(0, 2, partitions=2))
    company = Company(lab, "grown")
    a = await company.join("a", start=Latest())
    await company.settled(a)

    await lab.admin.create_partitions({"grown": NewPartitions(3)})
    lab.made.discard("grown")
    await lab.make("grown", 3)
    await lab.write("grown", 2, [Row(b"new", T0)])
    await company.until(lambda: bool(a.got), a)

    assert a.got == [b"new"]
    assert len(a.partitions) == 3
    await company.until(lambda: "grown" in a.member.news, a)
    assert a.member.news == "grown has 3 partitions now: partition 2 → a"
    await company.close()


async def test_a_topic_that_is_not_there_is_neither_made_nor_missed(
    lab: KafkaGroupLab,
) -> None:
    company = Company(lab, "later")
    a = await company.join("a", start=Latest())
    await a.step()

    before = "later" in await lab.connection.topics()
    await lab.fill("later", numbered(0, 1))
    await company.until(lambda: len(a.got) >= 4, a)

    assert not before
    assert Counter(a.got) == values(numbered(0, 1))
    await company.close()


async def test_a_member_without_a_name_gets_one(lab: KafkaGroupLab) -> None:
    await lab.fill("nameless", numbered(0, 1))

    member = await lab.connection.group_consumer(
        ["nameless"], group="nameless", start=Earliest(), revoked=idle
    )

    assert f"-{os.getpid()}-" in member.name
    await member.aclose()


# ---- looking ------------------------------------------------------------------------------


async def test_after_all_looking_the_list_of_groups_is_what_it_was(
    lab: KafkaGroupLab,
) -> None:
    await lab.fill("looked-at", numbered(0, 1))
    place = Partition("looked-at", 0)
    await lab.connection.commit("by-hand", {place: Committed(1, "m")})
    before = await lab.admin.list_consumer_groups()

    found = {group.name: group for group in await lab.connection.groups()}
    await lab.connection.committed("by-hand", "looked-at")
    await lab.connection.committed("nobody", "looked-at")
    await lab.connection.committed("nobody", "no-such-topic")

    assert found["by-hand"] == GroupInfo("by-hand", "empty", ("looked-at",), ())
    assert sorted(await lab.admin.list_consumer_groups()) == sorted(before)


async def test_a_memory_that_is_too_long_is_refused_and_nothing_is_committed(
    lab: KafkaGroupLab,
) -> None:
    await lab.fill("long", numbered(0, 1))
    done = {Partition("long", 0): Committed(1, "x" * 5_000)}

    with pytest.raises(BrokerError, match="longer than the broker keeps"):
        await lab.connection.commit("long", done)

    assert await lab.connection.committed("long", "long") == {}


# ---- refusals ------------------------------------------------------------------------------


async def idle(partitions: frozenset[Partition]) -> None:
    """Nothing to finish."""


async def test_a_user_who_may_not_join_is_told_so(
    kafka: servers.Kafka, lab: KafkaGroupLab
) -> None:
    await lab.fill("closed", numbered(0, 1))
    deny(kafka, "bob", "closed-group", kind="GROUP")
    word = kafka.users["bob"]
    connection = connect(kafka.sasl_url.replace("://", f"://bob:{word}@"))

    with pytest.raises(
        PermissionDeniedError, match='bob may not join group "closed-group"'
    ):
        await connection.group_consumer(
            ["closed"], group="closed-group", start=Earliest(), revoked=idle
        )
    await connection.aclose()


async def test_a_session_the_broker_does_not_take_is_named(
    kafka: servers.Kafka, lab: KafkaGroupLab
) -> None:
    await lab.fill("short", numbered(0, 1))
    connection = connect(f"kafka://{kafka.host}:{kafka.port}", session_timeout_ms=10)

    with pytest.raises(BrokerError, match=r"takes no session\.timeout\.ms=10"):
        await connection.group_consumer(
            ["short"], group="short", start=Earliest(), revoked=idle
        )
    await connection.aclose()


# ---- faults ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_cell_that_blocks_for_twice_the_session_causes_no_rebalance(
    kafka: servers.Kafka, lab: KafkaGroupLab
) -> None:
    session_s, group = 6.0, "blocked"
    await lab.fill("blocked", numbered(0, 5))
    words = ["-m", "tests.backends.kafka_blocked", f"kafka://{kafka.host}:{kafka.port}"]
    words += ["blocked", group, f"{session_s * 1000:.0f}", f"{2 * session_s}"]
    child = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    client = Client(settings(uri.parse(f"kafka://{kafka.host}:{kafka.port}"), {}))
    clerk = Clerk(client)

    child.stdin.write(b"block\n")
    answer = asyncio.create_task(child.stdout.readline())
    seen: list[Described] = []
    written = 5
    while not answer.done():
        seen.append(await kafka_admin.describe(clerk, group))
        await lab.fill("blocked", numbered(written, 1))
        written += 1
        await asyncio.wait({answer}, timeout=0.5)
    told = json.loads(await answer)
    await child.wait()
    await client.aclose()

    assert {each.state for each in seen} == {"Stable"}
    assert len({id_ for each in seen for id_ in each.members}) == 1
    assert (told["rebalances"], told["failures"]) == (0, [])
    assert told["got"] > 20


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_group_goes_on_after_its_broker_was_killed_and_nothing_is_lost() -> (
    None
):
    need("kafka")
    with servers.kafka() as server:
        address = f"{server.host}:{server.port}"
        async with lab_on(address) as plain:
            lab = KafkaGroupLab(
                plain.connection, plain.admin, plain.producer, plain.undone
            )
            await lab.fill("killed", numbered(0, 50))
            company = Company(lab, "killed")
            a, b = await company.join("a"), await company.join("b")
            await company.settled(a, b)
            await company.until(lambda: len(a.got + b.got) >= 200, a, b)
            await a.commit()

            server.kill()
            with pytest.raises(BrokerError, match="did not commit"):
                await b.commit()
            troubled = b.member.trouble
            server.restart()
            await lab.fill("killed", numbered(50, 50))
            wanted = set(values(numbered(0, 100)))
            await company.until(lambda: set(a.got + b.got) == wanted, a, b)
            await company.settled(a, b)
            await a.commit()
            await b.commit()

            done = await lab.connection.committed(company.group, "killed")
            end = await lab.connection.resolve("killed", Latest())
            assert troubled
            assert {p: each.next for p, each in done.items()} == end
            await company.close()


@pytest.mark.parametrize("part", ["heartbeat", "coordination"])
async def test_a_membership_that_an_odd_answer_broke_off_is_taken_up_again(
    lab: KafkaGroupLab, part: str
) -> None:
    topic = f"odd-{part}"
    await lab.fill(topic, numbered(0, 1))
    company = Company(lab, topic)
    a = await company.join("a")
    await company.until(lambda: len(a.got) >= 4, a)
    assert isinstance(a.member, KafkaGroupConsumer)
    membership = a.member._membership
    coordinator = membership._coordinator

    async def odd(*_: object) -> None:
        raise (KafkaError if part == "heartbeat" else ValueError)("odd")

    # aiokafka gives up on answers it does not know, and on its own mistakes.
    if part == "heartbeat":
        coordinator._do_heartbeat = odd
        broken = lambda: coordinator._heartbeat_task is None  # noqa: E731 - one line each
    else:
        coordinator.ensure_coordinator_known = odd
        coordinator.coordinator_dead()
        broken = lambda: membership._coordinator is not coordinator  # noqa: E731
    await company.until(broken, a)
    if part == "heartbeat":
        del coordinator._do_heartbeat
    await lab.fill(topic, numbered(1, 1))
    await company.until(lambda: set(a.got) == set(values(numbered(0, 2))), a)
    await company.until(lambda: a.member.trouble is None, a)

    # What it had read was finished and committed before it was given anew.
    assert [len(each) for each in a.revoked] == [4]
    assert Counter(a.got) == values(numbered(0, 2))
    assert [member.name for member in (await company.info()).members] == ["a"]
    await company.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_members_that_come_and_go_and_crash_under_load_miss_nothing(
    lab: KafkaGroupLab,
) -> None:
    await lab.fill("busy", numbered(0, 1))
    company = Company(lab, "busy")
    gone: list[bytes] = []
    stays = await company.join("stays")
    there = [stays]

    for turn in range(8):
        there.append(await company.join(f"m{turn}"))
        await lab.fill("busy", numbered(1 + turn * 20, 20))
        for _ in range(4):
            for reader in there:
                await reader.step(7)
                await reader.commit()
        leaves = there.pop(1) if len(there) > 2 else None
        if leaves is not None:
            await (leaves.member.aclose() if turn % 2 else leaves.member.abandon())
            gone += leaves.got
    wanted = set(values(numbered(0, 161)))
    await company.until(
        lambda: set(gone + [v for r in there for v in r.got]) == wanted, *there
    )

    assert stays.member.rebalances > 0
    await company.close()
