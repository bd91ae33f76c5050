"""The same live frame on every kind of broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.records import META
from streamlab.topics.desk import Desk
from tests.scenarios.lab import SEVERAL, moment, topic

TRADES = Path(sl.__file__).parent / "data" / "trades.ss"


@pytest.fixture(params=["memory", "redis"])
def source(request: pytest.FixtureRequest, name: str) -> sl.Topic:
    if request.param == "memory":
        return topic(name)
    server = request.getfixturevalue("valkey")
    return sl.topic(f"{server.url}/{name}", time="time")


pytestmark = pytest.mark.broker


def test_rows_windows_and_parity(source: sl.Topic):
    source.send(SEVERAL[:60])
    live = source.live(start="earliest")
    few = live.filter(pl.col("symbol") == "A")
    counts = live.window("10s", by="symbol", lateness="0s").agg(
        n=pl.len(), last=pl.col("price").last()
    )
    source.send(SEVERAL[60:])

    assert counts.wait(count=100)["n"].to_list() == [5] * 20
    assert counts.df["last"].to_list()[:2] == [8.0, 9.0]
    for frame in (live, few, counts, counts.closed):
        frame.wait()
        assert frame.check_parity().startswith("equal")


def test_starts_and_ends(source: sl.Topic):
    source.send(SEVERAL)

    newest = source.live(start=-10)
    assert newest.wait()["price"].to_list() == [float(n) for n in range(90, 100)]
    assert newest.began == moment(90)
    bounded = source.live(start=-10, until="latest")
    source.send(SEVERAL)

    assert bounded.wait().height == 10
    bounded.wait(lambda df: bounded.status().state == "ended")
    assert newest.wait(count=110).height == 110


def test_a_seek_reads_the_same_again(source: sl.Topic):
    source.send(SEVERAL)
    live = source.live(start="earliest")
    counts = live.window("10s").agg(n=pl.len())
    live.wait()

    live.seek(-25)

    assert live.wait().height == 25
    assert counts.df["n"].to_list() == [5, 10, 10]
    assert counts.check_parity().startswith("equal: 3 rows")


def test_metadata_columns_travel_along(source: sl.Topic):
    place, kind = source.place, source._connection.live_source
    source.send(SEVERAL, key="symbol")
    with_meta = sl.topic(f"{place}/{source.name}", time="time", meta=True)

    live = with_meta.live(start="earliest")

    assert set(META) <= set(live.wait().columns)
    assert live.df["_topic"].unique().to_list() == [source.name]
    assert live.df["_offset"].n_unique() == 100
    if kind == "memory":
        assert live.df["_key"].to_list()[:2] == ["A", "B"]
    assert live.check_parity().startswith("equal: 100 rows")


def test_the_sample_recording_is_read_to_its_end():
    live = sl.topic(f"file://{TRADES}/trades", time="time").live(start="earliest")
    vwap = live.window("10s", by="symbol", lateness="5s").agg(n=pl.len())

    vwap.wait(count=10_000)

    assert vwap.df["n"].sum() + vwap.stats.late == 10_000
    assert vwap.check_parity() == "equal: 60 rows of trades, from 10 000 records."


def test_a_demo_sends_from_the_first_reader_on():
    demo = sl.demo("trades", rate=5_000, count=500, poison=0.02, seed=3)

    live = demo.live(start="earliest")

    live.wait(count=500)
    assert live.stats.decoded + live.stats.rejected == 500
    assert live.stats.rejected == len(live.errors.df) > 0
    assert demo.truth.height == live.stats.decoded
    assert live.check_parity().startswith("equal")


async def test_peek_on_a_busy_topic_gives_the_newest_records_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = sl.connect("memory://busy").topic("rows")
    await topic.aio.send([{"n": n} for n in range(20)])
    resolve = Desk.resolve

    async def slowly(desk: Desk, value: Any, what: str, *rest: Any) -> Any:
        found = await resolve(desk, value, what, *rest)
        if value == -5:  # records come between the two positions that peek asks for
            await desk.send([{"n": n} for n in range(20, 30)], None, None)
        return found

    monkeypatch.setattr(Desk, "resolve", slowly)
    rows = await topic.aio.peek(5)

    assert rows["n"].to_list() == [25, 26, 27, 28, 29]
