"""The same replay on every kind of broker."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

import streamlab as sl
from streamlab.frames import ahead
from streamlab.frames.replaying import Replay
from tests.scenarios.lab import moment
from tests.scenarios.lab import topic as in_memory

pytestmark = pytest.mark.broker
DENSE = [n / 20 for n in range(1_200)]
SPARSE = [0.01, 25.0, 59.0]
KINDS = ["memory", "redis", "kafka"]


@pytest.fixture(params=KINDS)
def topics(
    request: pytest.FixtureRequest, name: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[sl.Topic, sl.Topic]:
    """Two topics; little is read ahead of each."""
    monkeypatch.setattr(ahead, "FEWEST", 200)
    monkeypatch.setattr(ahead, "BLOCK", 200)
    names = (name, f"{name}-b")
    if request.param == "memory":
        made = tuple(in_memory(each) for each in names)
    else:
        kind = {"redis": "valkey"}.get(request.param, request.param)
        server = request.getfixturevalue(kind)
        made = tuple(sl.topic(f"{server.url}/{each}", time="time") for each in names)
    return made[0], made[1]


def send(topic: sl.Topic, seconds: list[float]) -> None:
    times = [moment(second) for second in seconds]
    topic.send(
        [{"time": round(at.timestamp() * 1000), "n": n} for n, at in enumerate(times)],
        timestamp=times,
    )


def test_sources_stay_in_step_and_nothing_is_lost(topics: tuple[sl.Topic, sl.Topic]):
    dense, sparse = topics
    send(dense, DENSE)
    send(sparse, SPARSE)
    day = sl.clock("2026-01-01 00:00Z", speed=0)
    a, b = (topic.live(clock=day, until="latest") for topic in topics)
    counts = a.window("10s", lateness="0s").agg(n=pl.len())

    for second in (10, 20, 30):
        day.step("10s")
        assert day.now == moment(second)
        assert a.df["time"].max() == moment(second)
        assert len(a) == second * 20 + 1
        assert len(b) == sum(s <= second for s in SPARSE)
    day.step(timedelta(hours=1))

    assert a.df["time"].is_sorted()
    assert (len(a), len(b)) == (len(DENSE), len(SPARSE))
    assert counts.df["n"].to_list() == [200] * 6
    assert a.status().state == b.status().state == "ended"


def test_one_source_reads_on_in_a_sparse_partition_and_waits_in_a_dense_one(
    topics: tuple[sl.Topic, sl.Topic],
):
    dense, sparse = topics
    send(dense, DENSE)
    send(sparse, SPARSE)
    both = sl.topic(f"{dense.place}/{dense.name},{sparse.name}", time="time")
    day = sl.clock("2026-01-01 00:00Z", speed=0)
    live = both.live(clock=day, until="latest")
    fetch = live._feed.fetch
    assert isinstance(fetch, Replay)
    held = []

    for second in range(10, 70, 10):
        day.step("10s")
        held.append(sum(shelf.count for shelf in fetch._ahead._shelves.values()))
        assert live.df["time"].is_sorted()
        assert len(live) == sum(s <= second for s in (*DENSE, *SPARSE))

    assert max(held) <= 600
    assert live.status().state == "ended"


def test_what_comes_at_the_end_of_the_topic_is_handed_over_by_the_next_step(
    topics: tuple[sl.Topic, sl.Topic],
):
    live_topic, _ = topics
    send(live_topic, [1, 2])
    day = sl.clock("2026-01-01 00:00Z", speed=0)
    live = live_topic.live(clock=day)
    day.step("5s")
    assert len(live) == 2

    send(live_topic, [7])
    day.step()

    assert len(live) == 3
    assert day.now == moment(7)


def test_a_seek_and_a_running_clock(topics: tuple[sl.Topic, sl.Topic]):
    dense, _ = topics
    send(dense, DENSE)
    live = dense.live("earliest", until="latest", speed=600)
    assert live.wait().height == len(DENSE)

    live.seek("2026-01-01 00:00:50Z")

    assert live.wait().height == 200
