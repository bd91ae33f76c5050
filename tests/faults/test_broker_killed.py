"""Brokers that are killed again and again under load: nothing they acknowledged is missing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import streamlab as sl
from tests.faults.lab import (
    KINDS,
    Producing,
    Where,
    again,
    everything,
    make,
    reading,
    start,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]
KILLS, SEED = 20, 7
PARTITIONS = {"redis": 1, "kafka": 4}


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_killed_twenty_times_under_load_costs_nothing(
    kind: str, tmp_path: Path, name: str
) -> None:
    partitions, chance = PARTITIONS[kind], random.Random(SEED)  # noqa: S311 (no secret)
    with start(kind) as server:
        where = Where(kind, server.port, name, partitions)
        make(where)
        with Producing(where, tmp_path / "acknowledged") as producing:
            producing.goes_on(100)
            source = sl.topic(f"{server.url}/{name}", meta=True)
            with reading(source, tmp_path) as readers:
                for turn in range(KILLS):
                    # Every other kill meets readers that may not have found back yet.
                    if turn % 2 == 0:
                        for reader in readers:
                            reader.catches_up(producing.acknowledged, partitions)
                            reader.commit()
                    producing.goes_on(chance.randrange(1, 150))
                    server.kill()
                    server.restart()
                acknowledged = producing.finish()
                for reader in readers:
                    reader.catches_up(acknowledged, partitions)
        kept = everything(where)

    # The control, without us: the server has kept what it acknowledged.
    assert {*range(acknowledged)} <= {record.id for record in kept}
    for reader in readers:
        reader.check(kept)
    # Who reads alone was not killed itself, and knew where it was.
    assert not [*again(readers[0].sink.records)]
