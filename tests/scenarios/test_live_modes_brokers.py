"""Modes of live frames on real brokers: the same lines, the same outcome on each."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl
import pytest
import redis

import streamlab as sl
from tests.scenarios.lab import row

pytestmark = pytest.mark.broker
N = pl.len().alias("n")


@pytest.fixture(params=["memory", "redis", "kafka"])
def url(request: pytest.FixtureRequest) -> str:
    """A broker without a topic."""
    if request.param == "memory":
        return "memory://modes"
    server: Any = request.getfixturevalue(
        {"redis": "valkey", "kafka": "kafka"}[request.param]
    )
    return str(server.url)


@pytest.fixture
def source(url: str, name: str) -> sl.Topic:
    """A topic of two partitions, each with a record at second 10."""
    name = f"modes-{url.partition(':')[0]}-{name}"
    broker = sl.connect(url)
    made = _make(broker, name)
    made.send([row(10, 1.0), row(10, 2.0)], key=KEYS[:2])
    return made


KEYS = [f"key-{number}" for number in range(200)]


def _make(broker: sl.Broker, name: str) -> sl.Topic:
    from streamlab.runtime.loop import io

    async def make() -> None:
        producer = await broker.connection.producer(name, partitions=2)
        await producer.aclose()

    io().call(make(), twin="elsewhere")
    return broker.topic(name, time="time")


def until(what: Any) -> None:
    for _ in range(800):
        if what():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it never came true")


def group_of(source: sl.Topic) -> str:
    return f"group-{source.name}"


def resumable(source: sl.Topic, **given: Any) -> Any:
    given = {"start": "earliest", "mode": "resumable"} | given
    return source.live(group=group_of(source), **given)


def prices(*frames: Any) -> list[float]:
    return sorted(p for f in frames if f.df.width for p in f.df["price"].to_list())


def test_a_polite_reader_goes_on_where_it_stopped(source: sl.Topic):
    first = resumable(source)
    first.wait(count=2)
    first.stop()
    source.send([row(20, 3.0)], key=["key-1"])

    second = resumable(source)

    assert second.wait(count=1)["price"].to_list() == [3.0]
    assert any(note.startswith("resumed at") for note in second.status().notes)


def test_after_a_crash_the_records_since_the_last_commit_come_again(source: sl.Topic):
    first = resumable(source)
    first.wait(count=2)
    first.commit()
    source.send([row(20, 3.0), row(21, 4.0)], key=KEYS[:2])
    first.wait(count=4)
    first.stop(crash=True)

    second = resumable(source)

    assert sorted(second.wait(count=2)["price"]) == [3.0, 4.0]


def closed(source: sl.Topic, seen: list[pl.DataFrame]) -> tuple[Any, Any]:
    live = resumable(source, paused=True)
    windows = live.window("10s", by="symbol", lateness="5s").agg(
        N, pl.col("price").sum()
    )
    windows.closed.to(seen.append)
    live.resume()
    return live, windows


def test_open_windows_are_rebuilt_whole_after_a_crash(source: sl.Topic):
    rows = [row(10 + at / 4 - at % 3, float(at)) for at in range(160)]
    seen: list[pl.DataFrame] = []
    for first in range(0, 160, 40):
        live, windows = closed(source, seen)
        part = rows[first : first + 40]
        source.send(part, key=KEYS[first : first + 40])
        live.wait()
        live.commit()
        assert windows.late.df.height == 0
        live.stop(crash=True)

    start = (pl.col("time") // 10_000 * 10_000).cast(pl.Datetime("ms", "UTC"))
    everything = [row(10, 1.0), row(10, 2.0), *rows]
    right = pl.DataFrame(everything).group_by(start).agg(N, pl.col("price").sum())
    expected = {at: (n, price, False) for at, n, price in right.iter_rows()}
    got = pl.concat(seen).select("window_start", "n", "price", "_partial")
    assert got.height >= 3
    for at, *values in got.iter_rows():
        assert tuple(values) == expected[at]


def test_members_of_a_group_get_everything_between_them(source: sl.Topic):
    a = source.live("earliest", group=group_of(source), member="a")
    a.wait(count=2)
    b = source.live("earliest", group=group_of(source), member="b")
    rows = [row(20 + at, float(at + 10)) for at in range(200)]
    if a.source._feed.spec.connection.live_source != "redis":
        until(lambda: len(a._feed.fetch.states) == len(b._feed.fetch.states) == 1)

    source.send(rows, key=KEYS)
    until(lambda: len(prices(a, b)) == 202)

    assert prices(a, b) == [1.0, 2.0, *(float(at + 10) for at in range(200))]
    assert b.stats.received + a.stats.received == 202


def test_a_member_that_leaves_has_committed(source: sl.Topic):
    a = source.live("earliest", group=group_of(source), member="a")
    a.wait(count=2)
    a.stop()
    source.send([row(20, 3.0)], key=["key-1"])

    b = source.live("earliest", group=group_of(source), member="b")
    b.wait(count=1)

    assert prices(b) == [3.0]


def test_browsing_leaves_no_trace(source: sl.Topic, url: str):
    broker = sl.connect(url)
    before = broker.groups()["group"].unique().sort().to_list()

    live = source.live("earliest")
    live.wait()
    source.peek()
    source.info()
    source.read()
    live.stop()

    assert broker.groups()["group"].unique().sort().to_list() == before


def test_a_new_partition_is_noticed_and_read_from_its_first_record(
    source: sl.Topic, url: str
):
    live = source.live("latest")
    broker = sl.connect(url)
    _grow(url, source.name)

    broker.topic(source.name).send(
        [row(30 + at, 5.0) for at in range(60)], key=KEYS[:60]
    )
    until(lambda: live._feed.published.records == 60)

    assert len(live._feed.fetch.states) == 3


def _grow(url: str, name: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    from streamlab.backends.memory import broker as memory
    from streamlab.runtime.loop import io

    async def more_on_kafka() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
        await admin.start()
        await admin.create_partitions({name: NewPartitions(3)})
        await admin.close()

    if url.startswith("memory"):
        memory.broker("modes").grow(name, 3)
    elif url.startswith("kafka"):
        io().call(more_on_kafka(), twin="elsewhere")
    else:
        client = redis.Redis.from_url(url)
        client.xgroup_create(f"{name}:2", "makes", mkstream=True)
        client.xgroup_destroy(f"{name}:2", "makes")
        client.close()
