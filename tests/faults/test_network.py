"""A network that breaks in every way between live frames and their broker, under load."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import streamlab as sl
from streamlab.records import offset_rank
from tests.faults.lab import (
    KINDS,
    Producing,
    Reader,
    Record,
    Where,
    everything,
    make,
    reading,
    until,
)
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(200)]
BREAKS = ("cut", "cut within", "refuse", "swallow", "delay")
ROUNDS, SEED = 2, 11
PARTITIONS = {"redis": 1, "kafka": 4}
# How long silence is borne: by clients of Redis, and by groups of their members. Whoever has been
# cut off for long enough to notice is no member any more, and joins again.
OPTIONS: dict[str, dict[str, Any]] = {
    "redis": {
        "socket_timeout": 2.5,
        "socket_connect_timeout": 1,
        "claim_idle": 2,
        "claim_interval": 0.5,
    },
    "kafka": {"session.timeout.ms": 1_000, "heartbeat.interval.ms": 300},
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue({"redis": "valkey", "kafka": "kafka"}[kind])


@pytest.fixture
def proxy(kind: str, server: Any) -> Iterator[Proxy]:
    if kind == "redis":
        proxy = Proxy(server.port)
    else:
        proxy = Proxy(server.listeners.behind, listen=server.listeners.proxied)
    with proxy:
        yield proxy


def break_it(
    how: str, proxy: Proxy, readers: Sequence[Reader], chance: random.Random
) -> None:
    """Break the network, see what the readers say of it, and mend it."""
    if how == "cut":
        proxy.cut()
    elif how == "cut within":
        proxy.cut(after=chance.randrange(1, 3_000))
    elif how == "delay":
        proxy.delay(chance.uniform(0.05, 0.3))
    else:
        getattr(proxy, how)()
        for reader in readers:
            reader.comes_to_be("reconnecting")
        proxy.mend()


def test_nothing_is_lost_over_a_network_that_breaks(
    kind: str, server: Any, proxy: Proxy, tmp_path: Path, name: str
) -> None:
    chance = random.Random(SEED)  # noqa: S311 (no secret)
    breaks = [*BREAKS] * ROUNDS
    chance.shuffle(breaks)
    where = Where(kind, server.port, name, PARTITIONS[kind])
    make(where)
    with Producing(where, tmp_path / "acknowledged") as producing:
        producing.goes_on(100)
        near, _ = near_and_far(kind, server, proxy, name)
        with reading(near, tmp_path) as readers:
            for how in breaks:
                for reader in readers:
                    reader.catches_up(producing.acknowledged, PARTITIONS[kind])
                    reader.commit()
                producing.goes_on(chance.randrange(1, 150))
                break_it(how, proxy, readers, chance)
                producing.goes_on(chance.randrange(1, 150))
                proxy.mend()
            acknowledged = producing.finish()
            for reader in readers:
                reader.catches_up(acknowledged, PARTITIONS[kind])
    kept = everything(where)

    assert {*range(acknowledged)} <= {record.id for record in kept}
    for reader in readers:
        reader.check(kept)


def near_and_far(kind: str, server: Any, proxy: Proxy, name: str) -> Sequence[sl.Topic]:
    """A topic by way of the proxy, and by the straight way."""
    scheme = server.url.partition(":")[0]
    urls = f"{scheme}://127.0.0.1:{proxy.port}", server.url
    return [sl.topic(f"{url}/{name}", meta=True, options=OPTIONS[kind]) for url in urls]


def written(readers: Sequence[Reader]) -> set[Record]:
    return {record for reader in readers for record in reader.sink.records}


def test_a_member_that_is_cut_off_is_stood_in_for_and_comes_back(
    kind: str, server: Any, proxy: Proxy, tmp_path: Path, name: str
) -> None:
    where = Where(kind, server.port, name, PARTITIONS[kind])
    make(where)
    with Producing(where, tmp_path / "acknowledged") as producing, ExitStack() as stack:
        producing.goes_on(100)
        members = [
            stack.enter_context(Reader(source, "load-balanced", tmp_path, f"m{number}"))
            for number, source in enumerate(near_and_far(kind, server, proxy, name))
        ]

        def catch_up() -> None:
            wanted = {*range(producing.acknowledged)}
            until(
                lambda: wanted <= {record.id for record in written(members)},
                lambda: [(m.sink.count, m.live.status()) for m in members],
            )

        for _ in range(3):
            for member in members:
                member.comes_to_be("live")
            catch_up()
            for member in members:
                member.commit()
            producing.goes_on(100)
            proxy.swallow()
            producing.goes_on(200)
            catch_up()
            proxy.mend()
        producing.finish()
        catch_up()
    kept = everything(where)

    assert written(members) == {*kept}
    assert all(member.sink.count for member in members)
    check_twice(members)


def check_twice(members: Sequence[Reader]) -> None:
    """Assert that members have written the same record only if it was not committed.

    Who was cut off writes for a moment what is somebody else's by then, so what counts is the
    commit before the last one.
    """
    turns: dict[Record, list[int]] = {}
    for member in members:
        counts = [mark.written for mark in member.marks]
        for at, record in enumerate(member.sink.records):
            turns.setdefault(record, []).append(bisect_right(counts, at))
    for record, mine in turns.items():
        if len(mine) > 1 and max(mine) > 1:
            before = members[0].marks[max(mine) - 2].committed[record.partition]
            assert offset_rank(record.offset) >= offset_rank(before), mine
