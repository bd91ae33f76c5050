"""What users write, as type checkers see it; never run."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

import polars as pl

import streamlab as sl


def the_five_lines() -> None:
    trades = sl.topic("redis://localhost/trades", time="time")
    live = trades.live(start="15m", keep="5m")
    vwap = live.window("10s", by="symbol").agg(
        vwap=(pl.col("price") * pl.col("size")).sum() / pl.col("size").sum(), n=pl.len()
    )
    vwap.plot.line(y="vwap", color="symbol")

    assert_type(trades, sl.Topic)
    assert_type(live, sl.LiveFrame)
    assert_type(vwap, sl.LiveFrame)
    assert_type(vwap.closed, sl.LiveFrame)
    assert_type(live.filter(pl.col("price") > 1).df, pl.DataFrame)


def by_key(live: sl.LiveFrame) -> None:
    n = live.group_by("symbol", pl.col("venue"), ttl="1h").agg(n=pl.len())

    assert_type(n, sl.LiveFrame)
    assert_type(live.group_by(["symbol"]).last(), sl.LiveFrame)
    assert_type(live.unique("id", within="10m"), sl.LiveFrame)


def in_time(live: sl.LiveFrame, quotes: sl.LiveFrame, table: pl.DataFrame) -> None:
    price = pl.col("price")
    n = pl.len().alias("n")

    assert_type(
        live.window("1d", period="7d", time_zone="Europe/Berlin").agg(n).df,
        pl.DataFrame,
    )
    assert_type(
        live.window(gap="30m", by=["user"], lateness="1m").agg(n).late, sl.LiveFrame
    )
    assert_type(
        live.in_order("2s").filter(price.diff().over("symbol") > 0), sl.LiveFrame
    )
    assert_type(live.join(table, on="symbol", how="left"), sl.LiveFrame)
    asof = live.join_asof(quotes, by="symbol", tolerance="1s", lateness="5s")
    assert_type(asof.other.late, sl.LiveFrame)
    assert_type(
        live.join_within(quotes, by="symbol", tolerance="1s", lateness="5s"),
        sl.LiveFrame,
    )
    assert_type(live.merge_sorted(quotes, lateness="5s"), sl.LiveFrame)
    assert_type(live.lateness(), pl.DataFrame)


def looking() -> None:
    topic = sl.connect("file://./day.ss").topic("trades", time="time")

    assert_type(topic.peek(5), pl.DataFrame)
    assert_type(topic.read(start="1h", max_rows=1_000), pl.DataFrame)
    assert_type(topic.send([{"n": 1}], key="n"), int)


def replaying(topic: sl.Topic) -> None:
    day = sl.clock("2026-11-20 15:30 Europe/Berlin", speed=0)
    live = topic.live(clock=day)
    day.step("1s")

    assert_type(day.now, datetime | None)
    assert_type(sl.collect_all([live]), list[pl.DataFrame])
    assert_type(topic.live("15m", speed=10), sl.LiveFrame)


def sharing(topic: sl.Topic, rows: list[pl.DataFrame]) -> None:
    live = topic.live(group="g", mode="resumable")
    sink = live.window("10s", lateness="5s").agg(n=pl.len()).closed.to(rows.append)
    sink.flush(timeout="10s")
    live.commit()
    live.stop(crash=True)

    assert_type(sink.error, BaseException | None)
    assert_type(live.stats.rebalances, int)


async def in_an_async_program(topic: sl.Topic) -> None:
    live = await topic.aio.live(start="earliest")
    rows = await live.aio.wait(count=10, timeout=5)

    assert_type(live, sl.LiveFrame)
    assert_type(rows, pl.DataFrame)
    async for batch in live:
        pl.concat([rows, batch])


async def message_by_message(broker: sl.Broker) -> None:
    async with await broker.aio.producer("orders", partitions=3) as producer:
        receipt = await producer.send({"n": 1}, key="a")
        pending = producer.send_soon(b"later")
        assert_type(receipt, sl.Receipt)
        assert_type(await pending, sl.Receipt)
    async with await broker.aio.consumer("orders", group="billing") as consumer:
        assert_type(consumer, sl.Consumer)
        async for message in consumer:
            assert_type(message, sl.Message)
            consumer.ack(message)
            await consumer.commit()
    assert_type(broker.groups(), pl.DataFrame)
    assert_type(broker.topic("orders").info(group="billing"), pl.DataFrame)
    assert_type(broker.topic("orders").trim(keep=100), int)


def errors(live: sl.LiveFrame) -> str:
    try:
        live.with_columns(change=pl.col("price").diff())
    except sl.errors.NotIncrementalError as error:
        return str(error)
    return ""
