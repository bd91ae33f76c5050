"""Any query over what is kept, and reading on from another place."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.errors import (
    StreamFailedError,
    StreamStoppedError,
    UsageError,
    WrongLoopError,
)
from tests.scenarios.lab import SEVERAL, moment, row, topic


def total(lf: pl.LazyFrame) -> pl.LazyFrame:
    return lf.select(pl.col("price").sum(), n=pl.len())


def test_a_query_is_run_again_whenever_something_came(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    sums = live.recompute(total)

    assert sums.wait().rows() == [(4950.0, 100)]
    source.send([row(100, 50.0)])
    assert sums.wait(count=101).rows() == [(5000.0, 101)]
    assert sums.columns == ["price", "n"]


def test_a_query_over_a_keyed_frame_sees_its_rows_without_hidden_columns(name: str):
    source = topic(name)
    source.send(SEVERAL)
    counts = source.live(start="earliest").window("10s", by="symbol").agg(n=pl.len())
    best = counts.recompute(lambda lf: lf.sort("n", "symbol").tail(1))

    assert best.wait().select("symbol", "n").rows() == [("B", 5)]
    assert not [column for column in best.columns if column.startswith("__")]


def test_a_slow_query_does_not_hold_the_stream_back(name: str):
    source = topic(name)
    live = source.live()
    entered, leave, seen = threading.Event(), threading.Event(), list[int]()

    def slow(lf: pl.LazyFrame) -> pl.LazyFrame:
        seen.append(lf.select(pl.len()).collect().item())
        entered.set()
        leave.wait(10)
        return total(lf)

    source.send([row(0)])
    live.wait(count=1)
    sums = live.recompute(slow)
    assert entered.wait(5)
    for _ in range(20):
        source.send(SEVERAL)
    assert live.wait(count=2001).height == 2001
    leave.set()
    sums.wait(count=2001)

    assert sums.df["n"].item() == 2001
    assert seen == [1, 2001]  # one at a time, on the newest version


def test_a_query_that_fails_fails_its_frame_alone(name: str):
    source = topic(name)
    live = source.live()
    limit = 50

    def moody(lf: pl.LazyFrame) -> pl.LazyFrame:
        if lf.select(pl.len()).collect().item() > limit:
            raise ValueError("too many")
        return total(lf)

    sums = live.recompute(moody)
    source.send(SEVERAL[:10])
    sums.wait(count=10)
    source.send(SEVERAL[10:])
    with pytest.raises(StreamFailedError, match="too many"):
        sums.wait(count=100)

    failure = sums.failure()
    assert failure is not None
    assert (failure.error, failure.step) == ("ValueError: too many", "recompute")
    assert sums.df["n"].item() == 10
    assert live.wait(count=100).height == 100
    assert live.failure() is None


def test_a_bounded_stream_ends_with_the_query_over_all_of_it(name: str):
    source = topic(name)
    source.send(SEVERAL)
    for _ in range(20):
        live = source.live(start="earliest", until={0: 100})
        sums = live.recompute(total)

        assert sums.wait(lambda df: df.height and df["n"].item() == 100).height == 1
        live.stop()


def test_several_frames_at_one_version_take_their_queries_along(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    few = live.keep(7)
    sums, less = live.recompute(total), few.recompute(total)
    live.wait()

    rows, whole, part = sl.collect_all([live, sums, less])

    assert rows.height == whole["n"].item() == 100
    assert part["n"].item() == 7
    assert less.wait()["n"].item() == 7


def test_steps_after_a_query_belong_into_the_query(name: str):
    sums = topic(name).live().recompute(total)

    with pytest.raises(UsageError, match="into the query"):
        sums.filter(pl.col("n") > 1)
    with pytest.raises(UsageError, match="into the query"):
        sums.window("10s").agg(pl.len())
    with pytest.raises(UsageError, match="into the query"):
        sums.recompute(total)


def test_what_reads_a_stopped_frame_says_so(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    few = live.filter(pl.col("price") > 50)
    sums = few.recompute(total)
    sums.wait()

    few.stop()
    source.send(SEVERAL)
    with pytest.raises(StreamFailedError, match="computed from was stopped"):
        sums.wait(count=200)
    assert sums.df["n"].item() == 49


# -- seek ----------------------------------------------------------------------------------


def everything(live: sl.LiveFrame) -> dict[str, Any]:
    few = live.filter(pl.col("symbol") == "A")
    counts = live.window("10s", by="symbol", lateness="5s").agg(
        n=pl.len(), total=pl.col("price").sum()
    )
    return {
        "live": live,
        "few": few,
        "counts": counts,
        "large": counts.filter(pl.col("total") > 100),
        "closed": counts.closed,
        "late": counts.late,
        "errors": live.errors,
        "sums": live.recompute(total),
    }


def test_after_a_seek_all_frames_are_those_of_a_fresh_start_there(name: str):
    source = topic(name)
    mixed = [*SEVERAL[:50], *SEVERAL[10:60], *SEVERAL[50:]]
    source.send(mixed)
    moved = everything(source.live(start="earliest"))
    for frame in moved.values():
        frame.wait()
    told: list[Any] = []
    moved["live"].subscribe(told.append)
    moved["counts"].subscribe(told.append)

    moved["live"].seek({0: 70})
    fresh = everything(source.live(start={0: 70}))
    source.send(SEVERAL[:20])

    for key, frame in moved.items():
        frame.wait(count=100)
        fresh[key].wait(count=100)
        assert frame.df.equals(fresh[key].df), key
        assert frame.began == fresh[key].began, key
        assert frame.stats.source == fresh[key].stats.source, key
        if key not in {"closed", "late"}:  # those count from when they were made
            assert frame.stats.operator == fresh[key].stats.operator, key
        if key != "sums":  # how often a query ran is nobody's business
            assert frame.stats.store == fresh[key].stats.store, key
    assert moved["late"].df.height
    assert moved["counts"].check_parity().startswith("equal")
    assert {t.forgotten for t in told} >= {150, 20}
    assert any(t.removed.height == 20 for t in told)


def test_an_ended_stream_reads_on_after_a_seek(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start={0: 90}, until={0: 100})
    assert live.wait().height == 10

    live.seek("earliest")

    assert live.wait().height == 100
    live.wait(lambda _: live.status().state == "ended")


def test_a_failed_stream_starts_afresh_with_a_seek(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    live.wait()
    with monkeypatch.context() as patch:
        patch.setattr(live._feed.pipeline, "step", lambda *_, **__: 1 / 0)
        source.send(SEVERAL)
        with pytest.raises(StreamFailedError):
            live.wait(count=200)

    live.seek(-5)

    assert live.wait().height == 5
    assert live.error is None
    assert live.status().state == "live"


def test_a_stopped_stream_can_not_be_moved(name: str):
    live = topic(name).live()
    live.stop()

    with pytest.raises(StreamStoppedError, match=r"start anew: topic\.live\(start=…\)"):
        live.seek("earliest")


def test_a_pause_outlives_a_seek(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest", paused=True)

    live.seek({0: 50})
    live.resume()

    assert live.wait()["price"].to_list() == [float(n) for n in range(50, 100)]


async def test_a_seek_has_an_async_twin(name: str):
    source = topic(name)
    await source.aio.send(SEVERAL)
    live = await source.aio.live(start="earliest")
    await live.aio.wait()

    await live.aio.seek({0: 99})

    assert (await live.aio.wait()).height == 1
    with pytest.raises(WrongLoopError):
        live.seek("earliest")
    with pytest.raises(UsageError):
        await live.filter(pl.col("price") > 1).aio.seek("earliest")


def test_records_from_before_a_seek_never_reach_the_frames_after_it(name: str):
    source = topic(name)
    live = source.live()
    for _ in range(10):
        source.send(SEVERAL)
        live.seek("latest")
        source.send([row(1, -1.0)])
        assert live.wait(count=1)["price"].to_list() == [-1.0]


# -- teaching ------------------------------------------------------------------------------


def test_the_lesson_of_the_manual_works_as_it_stands():
    sl.reset()
    sensors = sl.demo(
        "sensors", rate=20_000, count=2_000, late=0.1, delay="5s", poison=0.005
    )
    live = sensors.live(start="earliest")
    answer = live.window("10s", by="sensor").agg(n=pl.len())
    answer.wait(count=2_000)
    right = sensors.truth.group_by_dynamic("time", every="10s", group_by="sensor").agg(
        n=pl.len()
    )

    verdict = sl.check(
        answer,
        right,
        on=["time", "sensor"],
        hint="a row that came late still belongs to its window",
    )

    assert verdict, verdict
    assert repr(verdict).startswith("✔ right: ")
    assert live.stats.rejected > 0
    assert live.stats.received == 2_000
    assert answer.check_parity().startswith("equal")


def test_a_wrong_answer_is_told_with_the_first_wrong_row_and_the_hint():
    right = pl.DataFrame({"time": [moment(0), moment(10)], "n": [2, 3]})

    wrong = sl.check(
        right.with_columns(n=pl.lit(2)), right, on="time", hint="count all"
    )
    short = sl.check(right.head(1), right, on="time")
    more = sl.check(right, right.head(1), on="time")
    twice = sl.check(pl.concat([right, right]), right, on="time")

    assert not wrong
    assert "n is wrong in 1 of 2 rows" in repr(wrong)
    assert repr(wrong).endswith("2, expected 3. Hint: count all.")
    assert "1 rows are missing" in repr(short)
    assert "1 rows too many" in repr(more)
    assert "some keys come twice" in repr(twice)
    assert sl.check(right, right)
    assert not sl.check(right, right.head(1))


def test_only_a_demo_knows_the_truth(name: str):
    with pytest.raises(UsageError, match=r"only sl\.demo"):
        _ = topic(name).truth


def test_reset_forgets_what_is_in_memory(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    live.wait()

    sl.reset()

    assert live.status().state == "stopped"
    assert live.df.height == 100
    assert sl.connect("memory://lab").topics() == []
