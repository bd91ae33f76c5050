"""Live frames that go on where an earlier one stopped, politely or not."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamlab as sl
from streamlab.errors import (
    ModeError,
    SinkError,
    StreamFailedError,
    UsageError,
    WaitTimeoutError,
)
from streamlab.records import Partition
from tests.scenarios.lab import SEVERAL, broker, moment, row, topic

N = pl.len().alias("n")


def resumable(source: sl.Topic, **given: Any) -> Any:
    return source.live(
        **({"start": "earliest", "group": "g", "mode": "resumable"} | given)
    )


def committed(source: sl.Topic) -> dict[int, Any]:
    """Partition → the next offset the group needs."""
    from streamlab.runtime.loop import io

    found = io().call(
        source._connection.committed("g", source.name), twin="in another thread"
    )
    return {p.number: each.next for p, each in found.items()}


def seconds(frame: pl.DataFrame) -> list[float]:
    return [(time - moment(0)).total_seconds() for time in frame["time"]]


# -- going on ------------------------------------------------------------------------------


def test_a_reader_goes_on_where_the_one_before_it_stopped(name: str):
    source = topic(name)
    source.send(SEVERAL)
    first = resumable(source)
    first.wait(count=100)
    first.stop()
    source.send([row(200), row(201)])

    second = resumable(source)
    rows = second.wait(count=2)

    assert seconds(rows) == [200, 201]
    assert committed(source) == {0: 100}
    assert "resumed at 100 (start='earliest' not used)" in second.status().notes


def test_after_a_crash_what_was_not_committed_comes_again(name: str):
    source = topic(name)
    source.send(SEVERAL[:50])
    first = resumable(source)
    first.wait(count=50)
    first.commit()
    source.send(SEVERAL[50:60])
    first.wait(count=60)
    first.stop(crash=True)

    second = resumable(source)

    assert seconds(second.wait(count=10)) == list(range(50, 60))


def test_a_frame_made_after_its_records_came_holds_the_commit_back_at_once(name: str):
    source = topic(name)
    source.send([row(1), row(2), row(12)])
    live = resumable(source)
    live.wait(count=3)
    live.commit()
    assert committed(source) == {0: 3}

    live.window("10s", lateness="5s").agg(N)
    live.commit()

    assert committed(source) == {0: 0}


def test_a_first_reader_commits_where_it_begins(name: str):
    """Or a crash before the first commit would lose what came meanwhile."""
    source = topic(name)
    source.send(SEVERAL[:50])
    resumable(source, start="latest").stop(crash=True)
    source.send([row(200)])

    second = resumable(source, start="latest")

    assert seconds(second.wait(count=1)) == [200]


def test_a_partition_that_came_while_nobody_read_is_read_from_its_first_record(
    name: str,
):
    source = topic(name)
    source.send(SEVERAL[:10])
    first = resumable(source)
    first.wait(count=10)
    first.stop()
    broker().grow(name, 2)
    source.send([row(200), row(201)], key=["a", "d"])

    second = resumable(source, start="latest")

    assert sorted(seconds(second.wait(count=2))) == [200, 201]


def test_seek_moves_the_reader_and_what_it_commits(name: str):
    source = topic(name)
    source.send(SEVERAL)
    first = resumable(source)
    first.wait(count=100)

    first.seek({0: 20})
    first.wait(count=80)
    first.commit()

    assert first.df.height == 80
    assert committed(source) == {0: 100}


# -- windows -------------------------------------------------------------------------------


def closed(source: sl.Topic) -> tuple[Any, Any]:
    live = resumable(source, paused=True)
    windows = live.window("10s", by="symbol", lateness="5s").agg(
        N, pl.col("price").sum()
    )
    _ = windows.closed
    live.resume()
    return live, windows


def test_a_commit_never_passes_what_an_open_window_needs(name: str):
    source = topic(name)
    source.send([row(second) for second in (1, 2, 9, 11, 12)])
    live, _ = closed(source)
    live.wait(count=5)
    live.commit()
    nothing_closed = committed(source)

    source.send([row(15)])
    live.wait(count=6)
    live.commit()

    assert nothing_closed == {0: 0}
    assert committed(source) == {0: 3}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_of_a_reader_that_crashes_and_goes_on_equal_the_batch_answer(
    data: st.DataObject,
):
    """Each closed window whole, and again with the same values if it comes again."""
    source = topic(f"crash-{next(_numbers)}", partitions=2)
    rows, keys = data.draw(disordered())
    cuts = data.draw(st.lists(st.integers(2, len(rows)), min_size=2, max_size=4))
    seen: list[pl.DataFrame] = []

    source.send(rows[:2], key=keys[:2])  # a partition that is empty holds nothing back
    for start, stop in itertools.pairwise([2, *sorted(cuts), len(rows)]):
        live, windows = closed(source)
        windows.closed.to(seen.append)
        if stop > start:
            source.send(rows[start:stop], key=keys[start:stop])
        live.wait()
        if data.draw(st.booleans(), label=f"commit at {stop}"):
            live.commit()
        assert windows.late.df.height == 0
        live.stop(crash=True)

    right = batch(rows)
    for frame in seen:
        for start, symbol, n, price, partial in frame.select(WINDOW).iter_rows():
            assert right[start, symbol] == (n, price, partial), (start, symbol)


WINDOW = ("window_start", "symbol", "n", "price", "_partial")


@st.composite
def disordered(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows that come up to 4 s late, and keys that spread them over two partitions."""
    count = draw(st.integers(30, 60))
    at, rows = 10, [row(10, 1.0), row(10, 2.0)]
    for step in range(count):
        at += draw(st.integers(0, 3))
        rows.append(row(at - draw(st.integers(0, 4)), float(at), "AB"[step % 2]))
    some = st.lists(st.sampled_from("ad"), min_size=count, max_size=count)
    return rows, ["a", "d", *draw(some)]


def batch(rows: list[dict[str, Any]]) -> dict[tuple[Any, str], tuple[Any, ...]]:
    """(window start, symbol) → the aggregates, by plain polars."""
    start = (pl.col("time") // 10_000 * 10_000).cast(pl.Datetime("ms"))
    found = (
        pl.DataFrame(rows)
        .group_by(start.dt.replace_time_zone("UTC").alias("start"), "symbol")
        .agg(N, pl.col("price").sum())
    )
    return {
        (at, symbol): (n, price, False) for at, symbol, n, price in found.iter_rows()
    }


_numbers = iter(range(1_000_000))


def test_a_window_that_was_not_there_before_the_crash_says_that_it_is_partial(
    name: str,
):
    source = topic(name)
    source.send([row(second) for second in (1, 2, 9, 11, 12, 15)])
    live, _ = closed(source)
    live.wait(count=6)
    live.commit()
    live.stop(crash=True)
    source.send([row(36)])

    second = resumable(source, paused=True)
    other = second.window("20s", lateness="5s").agg(N)
    second.resume()
    frame = other.wait(count=4)

    assert frame.select("n", "_partial").rows() == [(3, True), (1, False)]


def test_records_of_windows_closed_before_are_counted_as_expired(name: str):
    source = topic(name)
    source.send([row(second) for second in (1, 2, 11, 9, 12, 15)])
    live, _ = closed(source)
    live.wait(count=6)
    live.commit()
    live.stop(crash=True)

    again, windows = closed(source)
    again.wait(count=4)

    assert windows.stats.operator.expired == 1
    assert windows.late.df.height == 0
    assert windows.check_parity().startswith("equal")


def test_a_window_that_could_never_be_committed_for_is_refused(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = resumable(source)

    with pytest.raises(ModeError, match="Say how late rows may come"):
        live.window("10s")
    with pytest.raises(ModeError, match="hangs on another window"):
        live.window("10s", lateness="5s").agg(N).closed.window("1m", lateness="1s")


# -- sinks and loops -------------------------------------------------------------------------


def test_a_sink_is_given_everything_once_and_in_order(name: str):
    source = topic(name)
    source.send(SEVERAL[:30])
    live = source.live(start="earliest")
    live.wait(count=30)
    rows: list[float] = []

    sink = live.to(lambda frame: rows.extend(seconds(frame)), name="collect")
    source.send(SEVERAL[30:])
    live.wait(count=100)
    sink.flush()

    assert rows == list(range(100))


def test_a_sink_on_revised_rows_is_given_changes(name: str):
    source = topic(name)
    source.send(SEVERAL)
    counts = source.live(start="earliest").window("10s").agg(N)
    changes: list[Any] = []

    sink = counts.to(changes.append)
    counts.wait(count=100)
    source.send([row(0.5)])
    counts.wait(count=101)
    sink.flush()

    last = changes[-1].added
    assert last.select("n").rows() == [(11,)]


def test_a_slow_sink_holds_its_source_back_and_the_status_says_so(name: str):
    source = topic(name)
    gate, begun = threading.Event(), threading.Event()

    def slow(frame: pl.DataFrame) -> None:
        begun.set()
        gate.wait(30)

    live = source.live(start="earliest")
    sink = live.to(slow)
    for second in range(20):
        source.send([row(second)])
        if second == 0:
            assert begun.wait(30)
    while not (notes := live.status().notes):
        begun.wait(0.01)
    held = live._feed.published.records
    source.send([row(20)])
    with pytest.raises(WaitTimeoutError):
        live.wait(count=21, timeout=0.5)
    still = live._feed.published.records
    gate.set()
    live.wait(count=21)
    sink.flush()

    assert "held back by slow" in notes
    assert held == still


def test_a_commit_waits_for_the_slowest_sink(name: str):
    source = topic(name)
    gate = threading.Event()
    live = resumable(source)
    taken: list[int] = []

    def slow(frame: pl.DataFrame) -> None:
        gate.wait(30)
        taken.append(frame.height)

    live.to(slow)
    source.send(SEVERAL[:10])
    live.wait(count=10)
    live.commit()
    before = committed(source)
    gate.set()
    live.stop()

    assert before == {0: 0}
    assert sum(taken) == 10
    assert committed(source) == {0: 10}


def test_a_sink_that_fails_stops_a_source_that_commits_and_nothing_is_lost(name: str):
    source = topic(name)
    live = resumable(source)

    def broken(frame: pl.DataFrame) -> None:
        raise OSError("disk full")

    live.to(broken)
    source.send(SEVERAL[:10])
    with pytest.raises(StreamFailedError, match="broken failed: OSError: disk full"):
        live.wait(lambda frame: False)

    assert isinstance(live.error, SinkError)
    assert live.status().state == "failed"
    assert committed(source) == {0: 0}
    again = resumable(source)
    assert again.wait(count=10).height == 10


def test_a_sink_that_fails_leaves_a_source_without_a_group_alone(name: str):
    source = topic(name)
    live = source.live(start="earliest")

    def broken(frame: pl.DataFrame) -> None:
        raise OSError("disk full")

    sink = live.to(broken)
    source.send(SEVERAL)

    assert live.wait(count=100).height == 100
    with pytest.raises(SinkError, match="disk full"):
        sink.flush()
    assert "failed" in repr(sink)


def test_a_commit_in_a_loop_covers_finished_iterations_only(name: str):
    source = topic(name)
    live = resumable(source)
    loop = iter(live)
    source.send(SEVERAL[:10])
    first = next(loop)
    in_hand = committed(source)
    live.commit()
    still = committed(source)
    source.send(SEVERAL[10:20])
    next(loop)
    live.commit()

    assert first.height == 10
    assert in_hand == still == {0: 0}
    assert committed(source) == {0: 10}
    loop.close()
    live.commit()
    assert committed(source) == {0: 10}


# -- what is refused --------------------------------------------------------------------------


def test_what_does_not_fit_is_said_with_the_ways_out(name: str):
    source = topic(name)
    source.send(SEVERAL)
    plain = source.live(start="earliest")

    with pytest.raises(UsageError, match='Name one: group="g"'):
        source.live(mode="resumable")
    with pytest.raises(UsageError, match="joins no group"):
        source.live(group="g", mode="real-time")
    with pytest.raises(
        UsageError, match="there are real-time, resumable, load-balanced"
    ):
        source.live(group="g", mode="exactly-once")
    with pytest.raises(ModeError, match='mode="resumable"'):
        plain.commit()
    with pytest.raises(UsageError, match="a sink is a function"):
        plain.to("out/")  # type: ignore[arg-type]

    async def later(frame: pl.DataFrame) -> None: ...

    with pytest.raises(UsageError, match="a sink is a plain function"):
        plain.to(later)
    assert Partition(name, 0) in plain._feed.spec.start


def test_the_list_of_streams_names_the_group(name: str):
    source = topic(name)
    source.send(SEVERAL)
    resumable(source)
    source.live(group="billing")
    source.live()

    groups = [row.group for row in sl.streams().info.rows]

    assert groups == ["g, alone", "billing", ""]
    assert "g, alone" in repr(sl.streams())
