"""Running groups, compacted views and `unique` as live frames."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.errors import (
    ColumnNotFoundError,
    ModeError,
    RevisingFrameError,
    SpanError,
    StateLimitError,
    UsageError,
)
from streamlab.live.frame import LiveFrame
from tests.scenarios.lab import SEVERAL, moment, row, topic
from tests.scenarios.test_live_windows import balanced

N = pl.len().alias("n")


def body(value: Any) -> bytes | None:
    return None if value is None else json.dumps(value).encode()


def send(source: sl.Topic, *records: tuple[str | None, Any]) -> None:
    """(key, second), or (key, None): a tombstone."""
    values = [None if at is None else body(row(at, float(at))) for _, at in records]
    source.send(
        values, key=[None if key is None else key.encode() for key, _ in records]
    )


# -- running groups ----------------------------------------------------------------------


def test_a_running_group_has_all_rows_since_the_beginning(name: str):
    source = topic(name)
    source.send(SEVERAL[:60])
    live = source.live(start="earliest", keep=10)
    totals = live.group_by("symbol").agg(
        N, last=pl.col("price").last(), mid=pl.col("price").median()
    )
    source.send(SEVERAL[60:])

    frame = totals.wait(count=100)

    assert totals.key == ("symbol",)
    assert frame.filter(symbol="A")["last"].to_list() == [98.0]
    assert totals.df.columns == ["symbol", "n", "last", "mid"]
    balanced(totals)


def test_parity_holds_for_all_of_it_over_several_partitions(name: str):
    source = topic(name, partitions=3)
    source.send([*SEVERAL, row(20, 5.0, "C"), row(99.5, 6.0, "A")])
    live = source.live(start="earliest")
    some = live.filter(pl.col("price") > 3)
    frames = [
        live.group_by("symbol").agg(N, last=pl.col("price").last()),
        some.group_by("symbol", ttl="30s").agg(N, mean=pl.col("price").mean()),
        live.group_by("symbol", ttl="30s").last(),
        some.unique("symbol"),
        live.unique("symbol", within="10s"),
        live.unique().group_by("symbol").agg(N),
        live.group_by("symbol").agg(N).filter(pl.col("n") > 40).rename({"n": "m"}),
    ]

    for frame in frames:
        frame.wait(count=102)
        assert frame.check_parity().startswith("equal"), frame.steps
        balanced(frame)


def test_keys_leave_after_their_time_to_live_and_rows_that_waited_longer_are_expired(
    name: str,
):
    source = topic(name)
    totals = source.live(start="earliest").group_by("symbol", ttl="10s").agg(N)
    source.send(
        [row(0, 1.0, "A"), row(5, 1.0, "B"), row(12, 1.0, "B"), row(1, 1.0, "A")]
    )

    assert totals.wait(count=4).rows() == [("B", 2)]
    assert totals.stats.operator.expired == 1
    assert totals.stats.store.put >= totals.stats.store.kept
    balanced(totals)


def test_row_wise_steps_on_a_group_work_by_key_and_hide_a_dropped_one(name: str):
    source = topic(name)
    totals = source.live(start="earliest").group_by("symbol").agg(N)
    few = totals.filter(pl.col("n") < 3).drop("symbol")
    source.send(SEVERAL[:3])
    assert sorted(few.wait(count=3)["n"].to_list()) == [1, 2]

    source.send(SEVERAL[3:6])

    assert few.wait(count=6).rows() == []
    assert few.columns == ["n"]
    assert few.key == ("symbol",)


def test_a_source_that_keeps_little_does_not_shrink_its_groups(name: str):
    source = topic(name)
    live = source.live(start="earliest", keep=("5s", 10))
    totals = live.group_by("price").agg(N)
    source.send(SEVERAL)

    assert totals.wait(count=100).height == 100
    assert live.df.height <= 10


def test_a_smaller_keep_shows_the_keys_that_changed_last(name: str):
    source = topic(name)
    totals = source.live(start="earliest").group_by("symbol").agg(N)
    two = totals.keep(2)
    for second, symbol in enumerate("ZYXZ"):
        source.send([row(second, 1.0, symbol)])
        two.wait(count=second + 1)

    assert two.df.rows() == [("X", 1), ("Z", 2)]
    assert totals.df.height == 3
    with pytest.raises(UsageError, match=r'group_by\(…, ttl="5m"\)'):
        totals.keep("5m")


def test_beyond_what_it_keeps_keys_are_given_up_reported_and_begin_anew(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("streamlab.frames.members.KEYED_ROWS", 2)
    source = topic(name)
    totals = source.live(start="earliest").group_by("symbol").agg(N)
    for count, symbol in enumerate("ABCA"):
        source.send([row(count, 1.0, symbol)])
        totals.wait(count=count + 1)

    assert totals.df.rows() == [("A", 1), ("C", 1)]
    assert totals.stats.operator.evicted == 2
    assert "2 keys given up to stay inside keep" in totals.status().notes
    balanced(totals)
    with pytest.raises(UsageError, match="had to give up keys"):
        totals.check_parity()


def test_explain_tells_how_each_aggregate_is_kept(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    live.wait()
    price = pl.col("price")

    totals = live.group_by("symbol").agg(last=price.last(), mid=price.median())

    step, *roads = totals.explain().splitlines()[1:]
    assert re.fullmatch(r"group by symbol    \([\d.]+ k?B of state\)", step)
    assert roads == [
        "    last: partial states: last",
        "    mid: raw rows: median",
    ]
    assert "kept in the frame itself" in live.group_by("symbol").last().explain()


# -- compacted views ---------------------------------------------------------------------


def test_the_compacted_view_has_the_newest_row_of_each_key_whole(name: str):
    source = topic(name)
    source.send(SEVERAL)

    newest = source.live(start="earliest").group_by("symbol").last()

    assert newest.wait().select("symbol", "price").rows() == [("A", 98.0), ("B", 99.0)]
    assert newest.columns == ["symbol", "time", "price"]


def test_a_compacted_view_of_a_topic_without_a_schema_yet(name: str):
    source = topic(name)
    newest = source.live(start="earliest").group_by("symbol").last()
    source.send(SEVERAL)

    assert newest.wait(count=100).height == 2


def test_a_tombstone_deletes_the_row_of_its_key(name: str):
    source = topic(name, meta=["_key"])
    live = source.live(start="earliest")
    newest = live.group_by("_key").last()
    send(source, ("a", 1), ("b", 2), ("a", 3), ("b", None), ("c", None), (None, 4))

    frame = newest.wait(count=6)

    assert frame.select("_key", "price").rows() == [(None, 4.0), ("a", 3.0)]
    stats = newest.stats
    assert (stats.operator.tombstones, stats.operator.passed) == (2, 4)
    assert stats.source.received == stats.source.decoded + stats.source.rejected == 6
    assert live.errors.df["_reason"].to_list() == ["empty payload (tombstone)"] * 2
    assert (newest.status().rejected, live.status().rejected) == (0, 2)
    assert newest.check_parity().startswith("equal: 2 rows")
    balanced(newest)

    send(source, ("b", 7))
    assert newest.wait(count=7)["price"].to_list() == [4.0, 3.0, 7.0]


def test_a_view_that_begins_later_knows_what_was_deleted_before(name: str):
    source = topic(name, meta=True, partitions=2)
    live = source.live(start="earliest")
    send(source, ("a", 1), ("b", 2), ("a", None), ("c", 3), ("b", None), ("b", 4))
    live.wait(count=6)

    newest = live.filter(pl.col("price") < 10).group_by("_key").last()

    assert newest.df["_key"].to_list() == ["b", "c"]
    assert newest.check_parity().startswith("equal: 2 rows")


def test_a_listener_is_told_which_keys_a_tombstone_removed(name: str):
    source = topic(name, meta=["_key"])
    newest = source.live(start="earliest").group_by("_key").last()
    send(source, ("a", 1), ("b", 2))
    newest.wait(count=2)
    changes: list[Any] = []
    newest.subscribe(changes.append)

    send(source, ("a", None))
    newest.wait(count=3)

    assert [change.removed.rows() for change in changes if change.removed.height] == [
        [("a",)]
    ]


def test_steps_that_touch_the_key_are_refused_before_a_view_by_it(name: str):
    live = topic(name, meta=["_key"]).live()
    lower = live.with_columns(pl.col("_key").str.to_lowercase())

    with pytest.raises(UsageError, match="with_columns before it puts something else"):
        lower.group_by("_key").last()
    with pytest.raises(UsageError, match="unique before it hands on no tombstones"):
        live.unique("_key").group_by("_key").last()
    with pytest.raises(UsageError, match="a tombstone has no more than _key"):
        live.group_by("_key", "symbol").last()
    assert live.with_columns(x=pl.col("_key")).select(pl.all()).group_by("_key").last()
    assert lower.group_by("_key").agg(N).key == ("_key",)


@pytest.mark.broker
def test_tombstones_of_a_compacted_kafka_topic(kafka: Any, name: str):
    source = sl.topic(f"{kafka.url}/{name}", time="time", meta=["_key"])
    send(source, ("a", 1), ("b", 2), ("a", 3), ("b", None))
    newest = source.live(start="earliest").group_by("_key").last()
    send(source, ("c", 5), ("a", None))

    assert newest.wait(count=6).select("_key", "price").rows() == [("c", 5.0)]
    assert newest.check_parity().startswith("equal: 1 row")


@pytest.mark.broker
def test_the_newest_row_of_each_key_on_redis(valkey: Any, name: str):
    source = sl.topic(f"{valkey.url}/{name}", time="time", meta=["_key"])
    send(source, ("a", 1), ("b", 2), ("a", 3))
    newest = source.live(start="earliest").group_by("_key").last()

    assert newest.wait(count=3).select("_key", "price").rows() == [
        ("a", 3.0),
        ("b", 2.0),
    ]
    assert newest.check_parity().startswith("equal: 2 rows")


# -- unique ------------------------------------------------------------------------------


def test_the_first_row_of_each_key_comes_once(name: str):
    source = topic(name)
    live = source.live(start="earliest")
    first, within = live.unique("symbol"), live.unique(["symbol"], within="10s")
    source.send(SEVERAL)

    assert first.wait(count=100)["price"].to_list() == [0.0, 1.0]
    assert within.wait(count=100)["time"].to_list()[:3] == [
        moment(0),
        moment(1),
        moment(10),
    ]
    for frame in (first, within):
        balanced(frame)


# -- what is refused -----------------------------------------------------------------------


def test_group_by_says_what_it_needs(name: str):
    source = topic(name)
    source.send(SEVERAL)
    live = source.live(start="earliest")
    live.wait()
    price = pl.col("price")

    calls: list[tuple[Callable[[], object], type[Exception], str]] = [
        (live.group_by, UsageError, 'Name a key column: group_by("symbol")'),
        (lambda: live.group_by("symbl"), ColumnNotFoundError, "Nearest: 'symbol'"),
        (lambda: live.group_by("_key"), ColumnNotFoundError, 'meta=["_key"]'),
        (lambda: live.group_by(price * 2), UsageError, "with_columns(key=…)"),
        (lambda: live.group_by(twice=price * 2), UsageError, 'group_by("twice")'),
        (lambda: live.group_by("symbol", ttl=5), SpanError, 'Write "5s"'),
        (lambda: live.group_by("symbol", ttl="0s"), SpanError, "as soon as it comes"),
        (lambda: live.group_by("symbol").agg(), UsageError, "add .agg(n=pl.len())"),
        (lambda: live.group_by("symbol").mean, AttributeError, "add .agg(n=pl.len())"),
        (lambda: live.group_by("symbol").agg(pl.all().sum()), UsageError, ".last()"),
        (lambda: live.unique("symbl"), ColumnNotFoundError, "Nearest: 'symbol'"),
        (lambda: live.unique(within="0s"), SpanError, "no two rows"),
        (lambda: live.unique("symbol", keep="last"), UsageError, "('symbol').last()"),
        (lambda: live.unique(keep="none"), UsageError, 'lf.unique(keep="none")'),
        (lambda: live.unique(keep="best"), UsageError, 'there is "first"'),
    ]
    for call, error, words in calls:
        with pytest.raises(error) as caught:
            call()
        assert words in str(caught.value)
    assert live.group_by(pl.col("symbol")).last().key == ("symbol",)
    assert live.group_by(["symbol", "price"]).agg(N).key == ("symbol", "price")


def test_revised_rows_are_not_grouped_or_told_apart(name: str):
    live = topic(name).live()
    totals = live.group_by("symbol").agg(N)
    windows = live.window("10s").agg(N)

    verbs: list[Callable[[LiveFrame], object]] = [
        lambda frame: frame.group_by("n"),
        lambda frame: frame.unique("n"),
        lambda frame: frame.window("1m"),
    ]
    for frame, words in ((totals, "Over what is kept"), (windows, ".closed")):
        for verb in verbs:
            with pytest.raises(RevisingFrameError, match="corrects its rows") as caught:
                verb(frame)
            assert words in str(caught.value)


def test_a_group_that_commits_refuses_what_never_lets_go(name: str):
    source = topic(name)
    source.send(SEVERAL)
    alone = source.live(start="earliest", group="g", mode="resumable")
    shared = source.live(start="earliest", group="h")

    with pytest.raises(ModeError, match=r"window\(\"10s\", by=…, lateness"):
        alone.group_by("symbol")
    with pytest.raises(ModeError, match='within="10m"'):
        alone.unique("symbol")
    with pytest.raises(ModeError, match="hangs on unique"):
        alone.unique("symbol", within="5s").window("10s", lateness="1s")
    for verb in (lambda: shared.group_by("symbol"), lambda: shared.unique(within="5s")):
        with pytest.raises(ModeError, match="shares the topic"):
            verb()


def test_after_a_crash_unique_still_knows_what_had_passed(name: str):
    source = topic(name)
    source.send([row(second, 1.0, f"s{second}") for second in range(30)])
    alone: dict[str, Any] = {"group": "g", "mode": "resumable", "paused": True}
    first = source.live(start="earliest", **alone)
    passed = first.unique("symbol", within="5s")
    first.resume()
    passed.wait(count=30)
    first.commit()
    first.stop(crash=True)
    source.send([row(30, 1.0, "s28"), row(31, 1.0, "s31"), row(32, 1.0, "s29")])

    second = source.live(start="earliest", **alone)
    again = second.unique("symbol", within="5s")
    second.resume()
    again.wait(lambda df: "s31" in df["symbol"].to_list())
    second.wait()

    symbols = again.df["symbol"].to_list()
    assert symbols[-1] == "s31"
    assert set(symbols) <= {f"s{second}" for second in range(20, 32)}
    with pytest.raises(UsageError, match="an earlier reading"):
        again.check_parity()


# -- state has limits -------------------------------------------------------------------------


LIMITED: dict[str, tuple[Callable[[LiveFrame], LiveFrame], str]] = {
    "group": (
        lambda live: live.group_by("symbol").agg(N),
        r"group by symbol holds .* of state \([\d,]+ keys\).*ttl=.*keep=\"1GB\"",
    ),
    "raw": (
        lambda live: (
            live.with_columns(k=pl.lit(1))
            .group_by("k", ttl="1d")
            .agg(pl.col("symbol").n_unique())
        ),
        r"group by k holds .* \(1 keys\).*shorter ttl=",
    ),
    "unique": (lambda live: live.unique("symbol"), r"unique holds .*within=\"10m\""),
    "within": (
        lambda live: live.unique("symbol", within="1h"),
        r"unique holds .* keys\).*shorter within=",
    ),
    "window": (
        lambda live: live.window("10s", by="symbol").agg(N),
        r"window 10s by symbol holds .*open windows.*lateness=",
    ),
    "in order": (
        lambda live: live.in_order("1h"),
        r"in order 1h holds .*rows that wait\).*shorter lateness=",
    ),
}


@pytest.mark.parametrize("kind", sorted(LIMITED))
def test_state_beyond_the_budget_stops_the_frame_and_says_what_helps(
    name: str, kind: str
):
    make, words = LIMITED[kind]
    source = topic(name)
    live = source.live(keep="40kB")
    frame = make(live)
    source.send([row(n, 1.0, f"symbol-{n:05}") for n in range(3_000)])

    live.wait(count=3_000)

    assert isinstance(frame.error, StateLimitError)
    assert re.search(words, str(frame.error)), str(frame.error)
    assert live.error is None
    assert live._feed.pipeline.budget.held <= 40_000


def test_state_is_shown_per_step_and_warned_of_before_it_is_too_much(name: str):
    source = topic(name)
    live = source.live(start="earliest", keep="1MB")
    totals = live.unique().group_by("symbol").agg(N)
    few = totals.filter(pl.col("n") > 0)
    seen = None
    for at in range(0, 20_000, 100):
        source.send([row(at + n, 1.0, f"symbol-{at + n:05}") for n in range(100)])
        totals.wait(count=at + 100)
        state = totals.stats.operator.state
        assert sum(state.values()) == totals.stats.operator.state_bytes
        assert set(state) == {"unique", "group by symbol"}
        notes = totals.status().notes
        seen = next((note for note in notes if note.startswith("state takes")), None)
        if seen:
            break

    assert seen is not None
    assert re.fullmatch(r"state takes 8\d% of the budget, most of it unique", seen)
    assert few.stats.operator.state == totals.stats.operator.state
    assert totals.error is None
