"""Many threads at once, and endings in the midst of things."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.changes import Change
from streamlab.errors import StreamFailedError, StreamStoppedError
from streamlab.plans import nodes
from tests.scenarios.lab import SEVERAL, put, row, topic


def prices(batch: pl.DataFrame | Change) -> list[float]:
    assert isinstance(batch, pl.DataFrame)
    return batch["price"].to_list()


def test_no_wake_up_is_lost_between_looking_and_waiting(name: str):
    source = topic(name)
    live = source.live(tick="1ms")
    batches = iter(live)
    sums = live.recompute(lambda lf: lf.select(pl.len()))

    for count in range(1, 151):
        source.send([row(count, float(count))])
        assert prices(next(batches)) == [float(count)]
        live.wait(count=count, timeout=10)
        assert sums.wait(count=count, timeout=10).item() == count


def test_frames_come_and_go_while_records_arrive(name: str):
    source = topic(name, partitions=3)
    live = source.live(start="earliest", tick="1ms")
    source.send([row(0)])
    live.wait(count=1)
    going, made = threading.Event(), list[sl.LiveFrame]()

    def send() -> None:
        while not going.is_set():
            source.send(SEVERAL)

    def come_and_go(seed: int) -> None:
        for n in range(12):
            few = live.filter(pl.col("price") >= seed + n)
            counts = few.window("10s", by="symbol").agg(n=pl.len())
            assert counts.df["n"].sum() <= len(live)
            if n % 3:
                counts.stop()
                few.stop()
            else:
                made.extend([few, counts])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(come_and_go, range(0, 40, 10)))
    finally:
        going.set()
        sender.join()
    live.wait()

    all_agree(live, made)
    assert live.siblings() == 1 + len(made)


def all_agree(live: sl.LiveFrame, made: list[sl.LiveFrame]) -> None:
    """Filters and the windows on them, in turn, at one version."""
    rows, *others = sl.collect_all([live, *made])
    for few, counts in zip(others[::2], others[1::2], strict=True):
        assert counts["n"].sum() == few.height
    for frame, seen in zip(made[::2], others[::2], strict=True):
        step = frame.plan
        assert isinstance(step, nodes.Filter)
        assert seen.height == rows.filter(*step.predicates).height


def test_a_stream_is_stopped_while_its_worker_is_busy(name: str):
    for _ in range(10):
        source = topic(name)
        live = source.live(start="earliest")
        counts = live.window("1s", by="symbol").agg(
            n=pl.len(), m=pl.col("price").median()
        )
        source.send(SEVERAL * 20)
        live.stop()

        rows, windows = sl.collect_all([live, counts])
        assert windows.is_empty() or windows["n"].sum() == rows.height
        with pytest.raises(StreamStoppedError):
            live.wait(count=10**9)
        sl.reset()


def test_a_view_that_fails_stops_nothing(name: str, caplog: pytest.LogCaptureFixture):
    source = topic(name)
    live = source.live()
    heard: list[Any] = []

    def broken(change: Any) -> None:
        raise RuntimeError("a view broke")

    live.subscribe(broken)
    leave = live.subscribe(heard.append)
    with caplog.at_level(logging.CRITICAL, "streamlab"):
        source.send(SEVERAL)
        live.wait(count=100)
    leave()
    count = len(heard)
    with caplog.at_level(logging.CRITICAL, "streamlab"):
        source.send(SEVERAL)
        live.wait(count=200)

    assert sum(change.added.height for change in heard) == 100
    assert len(heard) == count
    assert all(not c.startswith("__") for change in heard for c in change.added.columns)


def test_versions_and_records_only_rise(name: str):
    source = topic(name)
    live = source.live(tick="1ms")
    counts = live.window("10s").agg(n=pl.len())
    seen: list[tuple[int, int]] = []
    changes: list[int] = []
    live.subscribe(lambda change: changes.append(change.version))
    going = threading.Event()

    def look() -> None:
        while not going.is_set():
            published = live._feed.published
            seen.append((published.version, published.records))
            assert counts.df.is_empty() or counts.df["n"].sum() <= len(live)

    looker = threading.Thread(target=look)
    looker.start()
    for n in range(50):
        source.send([row(n)])
        live.wait(count=n + 1)
    going.set()
    looker.join()

    assert seen == sorted(seen)
    assert changes == sorted(changes)


def test_a_broker_that_is_closed_ends_what_reads_from_it(name: str):
    broker = sl.connect("memory://other")
    source = broker.topic(name, time="time")
    source.send(SEVERAL)
    live = source.live(start="earliest")
    live.wait()

    broker.close()

    with pytest.raises((StreamStoppedError, StreamFailedError)):
        live.wait(count=1_000, timeout=10)
    assert len(live) == 100
    assert sl.connect("memory://other").topic(name, time="time").read().height == 100


def test_two_stops_at_once_are_one(name: str):
    live = topic(name).live()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: live.stop(), range(4)))

    assert live.status().state == "stopped"


def test_seeking_and_stopping_at_once_ends_stopped(name: str):
    for n in range(10):
        source = topic(f"{name}-{n}")
        source.send(SEVERAL)
        live = source.live(start="earliest")

        def seek(live: sl.LiveFrame = live) -> None:
            try:
                for _ in range(20):
                    live.seek("earliest")
            except StreamStoppedError:
                pass

        seeking = threading.Thread(target=seek)
        seeking.start()
        live.stop()
        seeking.join(10)

        assert not seeking.is_alive()
        assert live.status().state == "stopped"
        assert live._feed._task is not None
        assert live._feed._task.task is not None
        assert live._feed._task.task.done()


def test_what_a_busy_callback_missed_comes_as_one(name: str):
    source = topic(name)
    live = source.live(tick="1ms")
    batches = iter(live)
    for n in range(30):
        source.send([row(n, float(n))])
        live.wait(count=n + 1)

    assert prices(next(batches)) == [float(n) for n in range(30)]


def test_what_the_frame_has_forgotten_a_busy_callback_does_not_get(name: str):
    source = topic(name)
    live = source.live(tick="1ms", keep=5)
    batches = iter(live)
    for n in range(30):
        source.send([row(n, float(n))])
        live.wait(count=n + 1)

    found = prices(next(batches))

    assert found == [float(n) for n in range(30 - len(found), 30)]
    assert 5 <= len(found) < 10


def test_a_keyed_iterator_gathers_the_last_word_on_every_key(name: str):
    source = topic(name)
    live = source.live(tick="1ms")
    counts = live.window("10s", by="symbol").agg(n=pl.len())
    large = counts.filter(pl.col("n") < 4)
    source.send([row(0, 1.0, "A")])
    live.wait(count=1)
    changes = iter(large)
    for n, symbol in itertools.product(range(1, 6), "AB"):
        source.send([row(n, 1.0, symbol)])
        live.wait(count=len(live) + 1)

    change = next(changes)

    assert isinstance(change, Change)
    assert change.added.height == 0
    assert sorted(change.removed["symbol"].to_list()) == ["A", "B"]


def test_a_source_reads_no_further_ahead_than_one_block(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    source = topic(name)
    live = source.live(start="earliest", keep="1MB")
    pipeline, blocked, entered = (
        live._feed.pipeline,
        threading.Event(),
        threading.Event(),
    )
    step = pipeline.step

    def slow(blocks: Any, **given: Any) -> None:
        if blocks:
            entered.set()
            blocked.wait(10)
        step(blocks, **given)

    monkeypatch.setattr(pipeline, "step", slow)
    payloads = [json.dumps(row(n % 60)).encode() for n in range(20_000)]
    put(name, 0, payloads)
    assert entered.wait(5)
    fetched = threading.Event()
    live._feed._io.post(fetched.set, 0.6)
    assert fetched.wait(5)
    offset = next(iter(live._feed.fetch.states.values())).next
    blocked.set()

    assert isinstance(offset, int)
    assert offset < 10_000
    assert live.wait(count=20_000, timeout=30) is not None
