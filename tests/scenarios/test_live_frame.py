"""A live frame as somebody in a notebook uses it: looking, waiting, following."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import streamlab as sl
from streamlab.errors import (
    ColumnNotFoundError,
    StreamStoppedError,
    UsageError,
    WaitTimeoutError,
    WrongLoopError,
)
from tests.scenarios.lab import SEVERAL, TYPES, broker, moment, row, topic


def test_a_frame_is_there_at_once_and_grows(name: str):
    source = topic(name)
    source.send(SEVERAL)

    live = source.live(start="earliest")
    first = live.wait()
    source.send([row(100, 100.0)])
    second = live.wait(count=101)

    assert first.height == 100
    assert second["price"].to_list() == [float(n) for n in range(101)]
    assert first.height == 100
    assert live.df is live.df or live.df.equals(live.df)
    assert live.columns == ["time", "symbol", "price"]
    assert live.schema == second.schema
    assert len(live) == 101
    assert live["price"].sum() == 5050.0
    assert live.tail(1).equals(second.tail(1))
    assert live.head(1).equals(second.head(1))


def test_it_goes_into_polars_pandas_and_arrow(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    live.wait()

    assert live.lazy().select(pl.len()).collect().item() == 100
    assert live.to_pandas().shape == (100, 3)
    assert live.to_arrow().num_rows == 100
    assert pa.table(live).num_rows == 100
    assert pl.DataFrame(live).height == 100


def test_without_a_start_it_begins_with_what_comes_next(name: str):
    source = topic(name)
    source.send(SEVERAL)

    live = source.live()
    source.send([row(200, 7.0)])

    assert live.wait(count=1)["price"].to_list() == [7.0]
    assert live.began == moment(200)


def test_a_wait_ends_when_its_function_is_true_of_the_frame(name: str):
    source = topic(name)
    live = source.live()
    later = threading.Timer(0.05, lambda: source.send(SEVERAL))
    later.start()

    found = live.wait(lambda df: df.height and df["price"].max() >= 99)

    assert found["price"].max() == 99
    later.join()


def test_a_wait_for_a_position_ends_when_all_before_it_is_there(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")

    assert live.wait({0: 50}).height >= 50
    assert live.wait("latest").height == 100


def test_a_wait_on_an_empty_topic_returns_at_once(name: str):
    live = topic(name, schema=TYPES, format="json").live(start="earliest")

    assert live.wait(timeout="5s").schema == {
        "time": pl.Datetime("us", "UTC"),
        "symbol": pl.String,
        "price": pl.Float64,
    }


def test_a_wait_that_runs_out_says_how_far_it_came(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    live.wait()

    with pytest.raises(WaitTimeoutError) as caught:
        live.wait(count=2_000, timeout=0.05)
    assert str(caught.value).startswith(
        "after 0.05 s 100 of 2 000 records. The source is quiet: newest record "
    )
    assert str(caught.value).endswith(
        "none waiting. The frame goes on; wait again, or raise timeout=."
    )

    with pytest.raises(
        WaitTimeoutError, match="100 records, and not yet what was waited"
    ):
        live.wait(lambda df: False, timeout=0.01)


def test_a_wait_on_a_quiet_topic_says_that_nothing_came(name: str):
    with pytest.raises(WaitTimeoutError, match="no record has come yet"):
        topic(name).live().wait(count=1, timeout=0.01)


def test_a_wait_says_that_the_source_is_paused_or_out_of_reach(name: str):
    source = topic(name)
    live = source.live(paused=True)
    with pytest.raises(WaitTimeoutError, match=r"The source is paused: resume\(\)"):
        live.wait(count=1, timeout=0.01)

    live.resume()
    broker().cut("connection refused")
    try:
        with pytest.raises(WaitTimeoutError, match=r"can't be reached: .*refused"):
            live.wait(lambda _: False, timeout=0.6)
    finally:
        broker().mend()


def test_a_stopped_stream_ends_every_wait(name: str):
    source = topic(name)
    live = source.live()
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            live.wait(count=5)
        except StreamStoppedError as error:
            ended.append(error)

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    live.stop()
    for thread in waiting:
        thread.join(5)

    assert [str(e) for e in ended] == [
        f"{name} was stopped after 0 records, before 5 records."
    ] * 3


def test_an_ended_stream_has_all_up_to_until(name: str):
    source = topic(name)
    source.send(SEVERAL)

    live = source.live(start="earliest", until={0: 60})

    assert live.wait().height == 60
    with pytest.raises(StreamStoppedError, match="ended after 60 records, before 61"):
        live.wait(count=61)
    assert live.status().state == "ended"


def test_iterating_ends_at_until_and_hands_over_every_row(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest", until={0: 100}, paused=True)
    batches = iter(live)
    live.resume()

    assert pl.concat(batches)["price"].to_list() == [float(n) for n in range(100)]


async def test_the_async_twins_work_on_the_callers_own_loop(name: str):
    source = topic(name)
    assert await source.aio.send(SEVERAL) == 100
    live = await source.aio.live(start="earliest", until={0: 100}, paused=True)
    batches = aiter(live)
    live.resume()

    assert (await live.aio.wait()).height == 100
    assert sum([batch.height async for batch in batches]) == 100
    assert (await source.aio.read()).height == 100
    assert (await source.aio.peek(3)).height == 3
    assert (await source.aio.info())["records"].item() == 100
    with pytest.raises(StreamStoppedError):
        await live.aio.wait(count=101)
    await live.aio.stop()


async def test_an_async_wait_runs_out_like_the_plain_one(name: str):
    live = await topic(name).aio.live()

    with pytest.raises(WaitTimeoutError, match=r"after 0\.01 s 0 of 1 records"):
        await live.aio.wait(count=1, timeout=0.01)


async def test_a_plain_call_inside_a_foreign_loop_names_its_twin(name: str):
    source = topic(name)
    for call, twin in (
        (source.read, r"await topic\.aio\.read\(…\)"),
        (source.info, r"await topic\.aio\.info\(\)"),
        (source.live, r"await topic\.aio\.live\(…\)"),
        (lambda: source.send([row(1)]), r"await topic\.aio\.send\(…\)"),
    ):
        with pytest.raises(WrongLoopError, match=twin):
            call()
    live = await source.aio.live()
    with pytest.raises(WrongLoopError, match=r"await live\.aio\.wait\(…\)"):
        live.wait(count=1)
    with pytest.raises(WrongLoopError, match=r"await live\.aio\.seek\(…\)"):
        live.seek("earliest")
    with pytest.raises(WrongLoopError, match="async for"):
        list(live)


def test_callbacks_run_inside_waiting_calls_on_the_callers_thread(name: str):
    source = topic(name)
    live = source.live()
    seen: list[tuple[int, threading.Thread]] = []
    stop = live.on_batch(
        lambda df: seen.append((df.height, threading.current_thread()))
    )

    source.send(SEVERAL)
    live.wait(count=100)
    live.wait(lambda _: sum(n for n, _ in seen) == 100)
    stop()
    source.send(SEVERAL)
    live.wait(count=200)

    assert sum(n for n, _ in seen) == 100
    assert {thread for _, thread in seen} == {threading.main_thread()}


def test_a_keyed_frames_callback_gets_changes(name: str):
    source = topic(name)
    live = source.live()
    counts = live.window("10s", by="symbol").agg(n=pl.len())
    last: dict[Any, int] = {}

    def note(change: Any) -> None:
        last.update(
            {
                row[:2]: row[2]
                for row in change.added.select(
                    "window_start", "symbol", "n"
                ).iter_rows()
            }
        )

    counts.on_batch(note)
    source.send(SEVERAL[:50])
    counts.wait(count=50)
    source.send(SEVERAL[50:])
    counts.wait(lambda _: sum(last.values()) == 100)

    assert counts.df.height == len(last) == 20


def test_a_paused_frame_stands_still(name: str):
    source = topic(name)
    live = source.live()
    source.send(SEVERAL)
    live.wait(count=100)

    live.pause()
    source.send(SEVERAL)
    with pytest.raises(WaitTimeoutError):
        live.wait(count=200, timeout=0.6)
    assert (live.df.height, live.status().state) == (100, "paused")

    live.resume()
    assert live.wait(count=200).height == 200


def test_what_belongs_to_the_source_is_refused_elsewhere(name: str):
    live = topic(name).live()
    child = live.filter(pl.col("price") > 1)
    for call in (child.pause, child.resume, lambda: child.seek("earliest")):
        with pytest.raises(UsageError, match=rf"belongs to the source: {name}\."):
            call()


def test_with_ends_the_stream_and_keeps_its_rows(name: str):
    source = topic(name)
    source.send(SEVERAL)
    with source.live(start="earliest") as live:
        counts = live.window("10s").agg(n=pl.len())
        late_reader = live.filter(pl.col("symbol") == "A")
        live.wait()

    assert live.status().state == counts.status().state == "stopped"
    assert live.df.height == 100
    assert counts.df["n"].to_list() == [10] * 10
    assert late_reader.df.height == 50
    assert live.select("price").df.columns == ["price"]
    assert live.window("50s").agg(n=pl.len()).df["n"].to_list() == [50, 50]
    assert (
        live.recompute(lambda lf: lf.select(pl.col("price").sum())).wait().item()
        == 4950
    )
    feed = live._feed
    assert feed.pipeline.budget.held == 0
    assert feed.pipeline._wiring.graph is None


def test_stopping_one_frame_leaves_the_others(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    child = live.filter(pl.col("symbol") == "A")
    counts = live.window("10s", lateness="1s").agg(n=pl.len())
    late = counts.late
    child.wait()

    child.stop()
    counts.stop()
    source.send(SEVERAL)
    live.wait(count=200)

    assert (child.df.height, child.status().state) == (50, "stopped")
    assert (late.status().state, counts.status().state) == ("stopped", "stopped")
    assert live.df.height == 200
    assert live.siblings() == 1
    with pytest.raises(StreamStoppedError, match="was stopped"):
        child.wait(lambda df: df.height > 50)


def test_a_misspelt_column_is_said_at_the_call(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")

    for call in (
        lambda: live.filter(pl.col("prise") > 1),
        lambda: live.select("prise"),
        lambda: live.window("10s", by="prise"),
        lambda: live.window("10s").agg(pl.col("prise").mean()),
        lambda: live.drop("prise"),
    ):
        with pytest.raises(ColumnNotFoundError, match=r"'prise' in .*Nearest: 'price'"):
            call()


def test_a_topic_without_records_learns_its_columns_from_the_first(name: str):
    source = topic(name)
    live = source.live()
    child = live.filter(pl.col("price") > 10)
    wrong = live.filter(pl.col("prise") > 10)
    assert live.schema is None
    assert live.columns == []
    assert child.df.width == wrong.df.width == 0
    assert live.status().state == "waiting"
    assert live.status().detail == "no record yet"

    source.send(SEVERAL)
    live.wait(count=100)

    assert live.df.columns == ["time", "symbol", "price"]
    assert child.df.height == 89
    assert wrong.failure() is not None
    assert "prise" in str(wrong.error)
    assert live.error is None


def test_waiting_says_how_old_the_newest_record_is(name: str):
    source = topic(name)
    source.send(SEVERAL, timestamp=[row(0)["time"]] * 100)

    status = source.live().status()

    assert status.state == "waiting"
    assert status.detail.startswith("no record yet; newest is ")
    assert status.detail.endswith("live(start=-1000)")


def test_two_frames_of_different_sources_have_no_common_version(name: str):
    one, other = topic(name).live(), topic(name + "-b").live()

    with pytest.raises(UsageError, match="different sources"):
        sl.collect_all([one, other])
    assert sl.collect_all([]) == []


def test_asking_for_what_there_is_not_names_both_ways_out(name: str):
    live = topic(name).live()

    with pytest.raises(AttributeError) as caught:
        live.sort("price")
    assert str(caught.value) == (
        "a live frame has no sort(): its last row has not arrived yet. For a look now: "
        "live.df.sort(…). Kept up to date at every tick: "
        "live.recompute(lambda lf: lf.sort(…))."
    )
    with pytest.raises(AttributeError, match="no attribute 'sorted'"):
        _ = live.sorted


async def test_many_waiters_all_wake(name: str):
    source = topic(name)
    live = await source.aio.live()
    waits = [asyncio.create_task(live.aio.wait(count=n)) for n in range(1, 101)]

    for record in SEVERAL:
        await source.aio.send([record])

    heights = [frame.height for frame in await asyncio.gather(*waits)]
    assert all(there >= n for n, there in enumerate(heights, start=1))
    assert not live._feed._waiters
