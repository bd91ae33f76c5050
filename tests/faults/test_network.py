"""A network that breaks in every way between live frames and their broker, under load."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import streamlab as sl
from tests.faults.lab import KINDS, Producing, Reader, Where, everything, make, reading
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(200)]
BREAKS = ("cut", "cut within", "refuse", "swallow", "delay")
ROUNDS, SEED = 2, 11
PARTITIONS = {"redis": 1, "kafka": 4}
# How long silence is borne, where that can be said; Kafka's reader bears it for 2.5 s.
OPTIONS: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": 2.5, "socket_connect_timeout": 1},
    "kafka": {},
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
    scheme = server.url.partition(":")[0]
    near = f"{scheme}://127.0.0.1:{proxy.port}/{name}"
    with Producing(where, tmp_path / "acknowledged") as producing:
        producing.goes_on(100)
        source = sl.topic(near, meta=True, options=OPTIONS[kind])
        with reading(source, tmp_path) as readers:
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
