"""Live frames that share a topic: who reads what, what comes again, what is refused."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.errors import ModeError
from tests.scenarios.lab import row, topic

KEYS = [f"k{number}" for number in range(40)]
ROWS = [row(second, float(second)) for second in range(40)]


def shared(source: sl.Topic, member: str, **given: Any) -> Any:
    given = {"start": "earliest", "group": "g", "member": member} | given
    return source.live(**given)


def all_in(*frames: Any) -> list[float]:
    """The prices that all of them hold, sorted."""
    return sorted(p for f in frames if f.df.width for p in f.df["price"].to_list())


def until(what: Any, *frames: Any) -> None:
    """Let the frames go on until `what()` holds."""
    for _ in range(600):
        if what():
            return
        threading.Event().wait(0.05)
    raise AssertionError([(f.df.height, f.status()) for f in frames])


def assigned(frame: Any) -> set[int]:
    return {p.number for p in frame._feed.fetch.states}


def test_two_readers_share_a_topic(name: str):
    source = topic(name, partitions=4)
    a, b = shared(source, "a"), shared(source, "b")
    until(lambda: len(assigned(a)) == len(assigned(b)) == 2, a, b)

    source.send(ROWS, key=KEYS)
    until(lambda: len(all_in(a, b)) == 40, a, b)

    assert all_in(a, b) == [float(second) for second in range(40)]
    assert a.df.height > 0
    assert b.df.height > 0
    assert assigned(a) | assigned(b) == {0, 1, 2, 3}
    assert assigned(a) & assigned(b) == set()


def test_who_leaves_politely_has_committed_and_the_other_goes_on(name: str):
    source = topic(name, partitions=4)
    a, b = shared(source, "a"), shared(source, "b")
    until(lambda: len(assigned(a)) == len(assigned(b)) == 2, a, b)
    source.send(ROWS, key=KEYS)
    until(lambda: len(all_in(a, b)) == 40, a, b)

    b.stop()
    until(lambda: len(assigned(a)) == 4, a)
    source.send([row(100, 100.0)], key=["k1"])
    a.wait(count=a._feed.published.records)
    until(lambda: 100.0 in all_in(a), a)

    assert all_in(a, b) == [*(float(second) for second in range(40)), 100.0]
    assert a.stats.rebalances >= 1
    assert any("b left: partitions" in note for note in a.status().notes)


def test_what_a_crashed_reader_had_not_committed_comes_again(name: str):
    source = sl.topic(f"memory://lab/{name}?partitions=4&session=1s", time="time")
    a, b = shared(source, "a"), shared(source, "b")
    until(lambda: len(assigned(a)) == len(assigned(b)) == 2, a, b)
    source.send(ROWS, key=KEYS)
    until(lambda: len(all_in(a, b)) == 40, a, b)
    a.commit()
    mine = all_in(b)

    b.stop(crash=True)
    until(lambda: len(all_in(a)) == 40, a)

    assert all_in(a) == [float(second) for second in range(40)]
    assert set(mine) <= set(all_in(a))


def test_sinks_are_flushed_and_committed_before_partitions_go(name: str):
    source = topic(name, partitions=4)
    gate = threading.Event()
    taken: list[float] = []

    def slow(frame: pl.DataFrame) -> None:
        gate.wait(30)
        taken.extend(frame["price"])

    a = shared(source, "a")
    a.to(slow)
    until(lambda: len(assigned(a)) == 4, a)
    source.send(ROWS, key=KEYS)
    until(lambda: len(all_in(a)) == 40, a)
    b = shared(source, "b")
    threading.Timer(0.2, gate.set).start()
    until(lambda: len(assigned(b)) == 2, a, b)
    b.wait()

    assert sorted(taken) == [float(second) for second in range(40)]
    assert b.df.height == 0


def test_a_wait_in_a_group_is_for_this_members_share(name: str):
    source = topic(name, partitions=2)
    source.send(ROWS, key=KEYS)
    a = shared(source, "a")

    assert a.wait().height == 40
    with pytest.raises(ModeError, match="may be another member's"):
        a.wait("latest")


def test_what_can_not_be_shared_is_refused_with_the_ways_out(name: str):
    source = topic(name, partitions=2)
    source.send(ROWS, key=KEYS)
    a = shared(source, "a")

    with pytest.raises(ModeError, match="sees a part of each window"):
        a.window("10s", lateness="5s")
    with pytest.raises(ModeError, match="one member can't move for all"):
        a.seek("earliest")
    with pytest.raises(ModeError, match="until='latest'"):
        shared(source, "b", until="latest")


def test_row_wise_work_is_shared_and_errors_too(name: str):
    source = topic(name, partitions=2)
    a = shared(source, "a")
    cheap = a.filter(pl.col("price") < 10)

    source.send(ROWS, key=KEYS)
    a.wait(count=40)

    assert cheap.df.height == 10
    assert a.errors.df.height == 0
