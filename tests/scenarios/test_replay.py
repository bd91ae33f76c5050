"""Replays: the past at the pace of a clock, several sources in step, and a clock by hand."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import streamlab as sl
from streamlab.backends.inprocess.log_reader import LogConsumer
from streamlab.errors import (
    ModeError,
    PositionError,
    SpanError,
    TimeZoneError,
    UsageError,
    WaitTimeoutError,
)
from streamlab.frames import ahead
from streamlab.frames.replaying import Replay
from streamlab.live.frame import LiveFrame
from streamlab.records import Records
from streamlab.replay import recording
from streamlab.runtime.loop import io
from streamlab.views.status import status_line
from tests.scenarios.lab import EPOCH_MS, TYPES, moment, put, row, topic

numbers = itertools.count()
START = "2026-01-01 00:00Z"


def at(name: str, partition: int, *seconds: float, late: float = 0.0) -> None:
    """Records that came to the broker at these seconds, and happened `late` before."""
    payloads = [json.dumps(row(second - late)).encode() for second in seconds]
    put(name, partition, payloads, [EPOCH_MS + round(s * 1000) for s in seconds])


def seconds(live: LiveFrame) -> list[float]:
    epoch = moment(0)
    return [(each - epoch).total_seconds() for each in live.df["time"]]


def test_a_step_hands_over_what_has_become_due_and_no_more(name: str):
    source = topic(name)
    at(name, 0, 1, 2, 3, 3.5, 9)
    day = sl.clock(START, speed=0)
    live = source.live(clock=day)

    assert len(live) == 0
    day.step("2s")
    assert seconds(live) == [1, 2]
    day.step("1s")
    assert seconds(live) == [1, 2, 3]
    assert day.now == moment(3)
    day.step("1m")
    assert seconds(live) == [1, 2, 3, 3.5, 9]
    assert day.now == moment(63)


def test_a_step_without_a_span_goes_to_the_next_record_of_any_source(name: str):
    first, second = topic(name), topic(f"{name}-b")
    at(name, 0, 1, 4)
    at(f"{name}-b", 0, 2, 4, 4)
    day = sl.clock(speed=0)
    a, b = first.live(clock=day), second.live(clock=day)

    seen = []
    for _ in range(3):
        day.step()
        seen.append((day.now, seconds(a), seconds(b)))

    assert seen == [
        (moment(1), [1], []),
        (moment(2), [1], [2]),
        (moment(4), [1, 4], [2, 4, 4]),
    ]
    day.step()
    assert day.now == moment(4), "there is no next record"


def test_a_clock_without_a_start_begins_at_the_first_record(name: str):
    source = topic(name)
    at(name, 0, 7, 8, 9)
    day = sl.clock(speed=0)
    live = source.live(clock=day)

    assert day.now is None
    assert repr(day) == "<clock by hand, not begun>"
    day.step("1s")

    assert day.now == moment(8)
    assert seconds(live) == [7, 8]
    assert repr(day) == "<clock by hand, at 2026-01-01 00:00:08>"


def test_a_source_begins_where_its_clock_is(name: str):
    first, second = topic(name), topic(f"{name}-b")
    at(name, 0, 1, 2, 3)
    at(f"{name}-b", 0, 1, 2, 3)
    day = sl.clock("2026-01-01 00:00:02Z", speed=0)

    a = first.live(clock=day)
    day.step("500ms")
    b = second.live(clock=day)
    day.step("1m")

    assert seconds(a) == [2, 3]
    assert seconds(b) == [3]


def test_what_lies_before_the_clock_is_due_at_once(name: str):
    first, second = topic(name), topic(f"{name}-b")
    at(name, 0, *range(10))
    at(f"{name}-b", 0, *range(10))
    day = sl.clock("2026-01-01 00:00:05Z", speed=0)
    a = first.live(clock=day)
    day.step("1s")

    b = second.live("earliest", clock=day, idle="2s")
    day.step("1ms")

    assert seconds(a) == [5, 6]
    assert seconds(b) == [0, 1, 2, 3, 4, 5, 6]


def test_records_of_several_partitions_come_in_the_order_of_their_times(name: str):
    source = topic(name, 3)
    at(name, 0, 1, 4, 7, 7)
    at(name, 1, 2, 5, 7)
    at(name, 2, 3, 3, 6)
    day = sl.clock(speed=0)
    live = source.live(clock=day)

    day.step("1m")

    assert seconds(live) == [1, 2, 3, 3, 4, 5, 6, 7, 7, 7]


def test_records_that_can_not_be_decoded_do_not_disturb_the_order(name: str):
    source = topic(name, 2, schema=TYPES, format="json")
    at(name, 0, 1, 4)
    put(name, 0, [b"{"], [EPOCH_MS + 6_000])
    at(name, 0, 5)
    at(name, 1, 2, 5.5, 6, 7)
    day = sl.clock(speed=0)
    live = source.live(clock=day)

    day.step("1m")

    assert seconds(live) == [1, 2, 4, 5.5, 5, 6, 7]
    assert live.errors.df["_offset"].to_list() == [2]


def test_a_record_never_overtakes_one_before_it_in_its_partition(name: str):
    source = topic(name, 2)
    at(name, 0, 5, 1, 6)
    at(name, 1, 2)
    day = sl.clock(speed=0)
    live = source.live(clock=day)

    day.step()
    assert seconds(live) == [2]
    day.step()
    assert seconds(live) == [2, 5, 1]


def test_what_is_sent_later_comes_with_the_next_step(name: str):
    source = topic(name)
    at(name, 0, 1)
    day = sl.clock(speed=0)
    live = source.live(clock=day)
    day.step("5s")

    at(name, 0, 3, 7)
    day.step("1ms")
    assert seconds(live) == [1, 3]
    day.step()
    assert seconds(live) == [1, 3, 7]


def windows(live: LiveFrame) -> LiveFrame:
    return live.window("2s", lateness="1s").agg(n=pl.len())


Cuts = st.lists(st.integers(1, 4_000), max_size=12)
Times = st.lists(st.integers(0, 12_000), max_size=25)


@settings(max_examples=50, deadline=None)
@given(
    times=st.tuples(Times, Times, Times),
    cuts=Cuts,
    idle=st.sampled_from(["700ms", "3s", None]),
)
def test_how_a_replay_is_stepped_changes_nothing(
    times: tuple[list[int], ...], cuts: list[int], idle: Any
):
    name = f"cut-{next(numbers)}"
    source = topic(name, 3)
    for partition, line in enumerate(times):
        for ms in sorted(line):
            at(name, partition, ms / 1000, late=(ms * 7 % 3000) / 1000)
    answers = []
    for steps in (cuts, []):
        day = sl.clock(START, speed=0)
        live = source.live(clock=day, idle=idle, until="latest")
        counts = windows(live)
        closed, late = counts.closed, counts.late
        for cut in steps:
            day.step(timedelta(milliseconds=cut))
            if live.status().state == "ended":
                break
        else:
            day.step("2m")
        answers.append((live.df, counts.df, closed.df, late.df))
        live.stop()

    for one, other in zip(*answers, strict=True):
        assert_frame_equal(one, other)


def test_idleness_goes_by_the_clock(name: str):
    source = topic(name, 2)
    at(name, 0, 0, 1, 2, 3, 4, 5, 6, 20)
    at(name, 1, 0, 20)
    day = sl.clock(speed=0)
    live = source.live(clock=day, idle="4s")
    counts = windows(live)

    day.step("3s")
    assert counts.df["_closed"].to_list() == [False, False]
    assert "p1 idle" not in live.status().notes

    day.step("2s")
    assert "p1 idle" in live.status().notes
    assert counts.df["_closed"].to_list() == [True, True, False]


def test_a_partition_turns_idle_within_a_step_as_it_would_between_two(name: str):
    source = topic(name, 2)
    at(name, 0, 0, 1, 2, 3, 4, 4.2)
    at(name, 0, 4.5, late=3.5)
    at(name, 1, 0)
    day = sl.clock(speed=0)
    counts = windows(source.live(clock=day, idle="4s"))

    day.step("10s")

    assert counts.late.df["time"].to_list() == [moment(1)]


def test_an_idle_partition_comes_back_within_a_step_as_it_would_between_two(name: str):
    source = topic(name, 2)
    at(name, 0, *range(8))
    at(name, 0, 7.5, late=3.5)
    at(name, 1, 0, 8)
    day = sl.clock(speed=0)
    counts = windows(source.live(clock=day, idle="4s"))

    day.step("10s")

    assert counts.late.df["time"].to_list() == [moment(4)]


def test_a_bounded_replay_ends_and_closes_its_windows(name: str):
    source = topic(name)
    at(name, 0, 1, 2, 3, 8)
    day = sl.clock(START, speed=0)
    live = source.live(clock=day, until="2026-01-01 00:00:08Z")
    counts = windows(live)

    day.step("2s")
    assert live.status().state == "replay"
    day.step("10s")

    assert seconds(live) == [1, 2, 3]
    assert counts.df["_closed"].to_list() == [True, True]
    assert status_line(live.status()).startswith("■ ended at until")
    with pytest.raises(UsageError, match="have ended"):
        day.step("1s")


def test_the_clock_goes_on_for_the_others_when_one_has_ended(name: str):
    first, second = topic(name), topic(f"{name}-b")
    at(name, 0, 1, 2)
    at(f"{name}-b", 0, 1, 9)
    day = sl.clock(START, speed=0)
    a = first.live(clock=day, until="latest")
    b = second.live(clock=day, until="latest")

    day.step("5s")
    assert a.status().state == "ended"
    day.step("5s")
    assert seconds(b) == [1, 9]


def test_a_stopped_source_holds_nobody(name: str):
    first, second = topic(name), topic(f"{name}-b")
    at(name, 0, 1, 2)
    at(f"{name}-b", 0, 1, 9)
    day = sl.clock(START, speed=0)
    a, b = first.live(clock=day), second.live(clock=day)
    day.step("1s")

    a.stop()
    day.step("20s")

    assert seconds(a) == [1]
    assert seconds(b) == [1, 9]


def test_a_paused_source_holds_the_clock(name: str):
    first, second = topic(name), topic(f"{name}-b")
    at(name, 0, 1, 2)
    at(f"{name}-b", 0, 1, 9)
    day = sl.clock(START, speed=0)
    a, b = first.live(clock=day), second.live(clock=day)
    day.step("1s")

    a.pause()
    with pytest.raises(UsageError, match=f"{name} is paused"):
        day.step("1s")
    assert day.now == moment(1)
    assert a.status().state == "paused"

    a.resume()
    day.step("20s")
    assert (seconds(a), seconds(b)) == ([1, 2], [1, 9])


def test_seek_moves_the_source_and_not_the_clock(name: str):
    source = topic(name)
    at(name, 0, *range(10))
    day = sl.clock(START, speed=0)
    live = source.live(clock=day)
    day.step("5s")

    live.seek("2026-01-01 00:00:04Z")
    assert len(live) == 0
    day.step("2s")

    assert day.now == moment(7)
    assert seconds(live) == [4, 5, 6, 7]


def test_only_a_bounded_amount_is_read_ahead(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ahead, "FEWEST", 200)
    monkeypatch.setattr(ahead, "BLOCK", 200)
    source = topic(name, 2)
    at(name, 0, *(n / 100 for n in range(5_000)))
    at(name, 1, 0, 20, 49)
    day = sl.clock(START, speed=0)
    live = source.live(clock=day)
    fetch = live._feed.fetch
    assert isinstance(fetch, Replay)
    held = []

    for _ in range(50):
        day.step("1s")
        held.append(sum(s.count for s in fetch._ahead._shelves.values()))

    assert len(live) == 5_003
    assert seconds(live) == sorted(seconds(live))
    assert max(held) <= 2 * 200


def one_after_the_other(self: LogConsumer, max_records: int) -> list[Records]:
    """All of the first partition before any of the second."""
    blocks = []
    for partition in sorted(self._order):
        if block := self._read(partition, max_records):
            blocks.append(block)
            max_records -= len(block.values)
    return blocks


@pytest.mark.parametrize("until", [None, "latest", {0: 2_950, 1: 250}])
def test_a_partition_far_ahead_is_left_out_until_the_others_have_come(
    name: str, monkeypatch: pytest.MonkeyPatch, until: Any
):
    monkeypatch.setattr(ahead, "FEWEST", 200)
    monkeypatch.setattr(ahead, "BLOCK", 200)
    monkeypatch.setattr(LogConsumer, "_take_fairly", one_after_the_other)
    source = topic(name, 2)
    at(name, 0, *(n / 100 for n in range(3_000)))
    at(name, 1, *(n / 10 for n in range(300)))
    day = sl.clock(START, speed=0)
    live = source.live(clock=day, until=until)
    fetch = live._feed.fetch
    assert isinstance(fetch, Replay)
    held, left_out = [], False

    for _ in range(40):
        if live.status().state == "ended":
            break
        day.step("1s")
        shelves = fetch._ahead._shelves.values()
        held.append(sum(shelf.count for shelf in shelves))
        left_out = left_out or any(shelf.moved for shelf in shelves)

    assert left_out
    assert live.status().state == ("replay" if until is None else "ended")
    assert max(held) <= 600
    assert seconds(live) == sorted(seconds(live))
    assert len(live) == (3_200 if isinstance(until, dict) else 3_300)


def test_many_records_of_one_instant_are_handed_over_in_pieces(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ahead, "FEWEST", 200)
    monkeypatch.setattr(ahead, "BLOCK", 200)
    source = topic(name, 2)
    at(name, 0, *([1] * 1_000), 2)
    at(name, 1, 1, 2)
    day = sl.clock(START, speed=0)
    live = source.live(clock=day)

    day.step("1s")
    assert len(live) == 1_001
    day.step("1s")
    assert len(live) == 1_003


def test_a_bounded_replay_that_leaves_a_partition_out_for_a_while_ends_where_it_should(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ahead, "FEWEST", 200)
    monkeypatch.setattr(ahead, "BLOCK", 200)
    source = topic(name, 2)
    at(name, 0, *(n / 100 for n in range(3_000)))
    at(name, 1, 25, 29, 40)
    day = sl.clock(START, speed=0)
    live = source.live(clock=day, until={0: 2_950, 1: 2})

    day.step("1h")

    assert len(live) == 2_952
    assert live.status().state == "ended"


def test_collect_all_of_sources_in_step_is_of_one_moment(name: str):
    first, second = topic(name), topic(f"{name}-b")
    for each in (name, f"{name}-b"):
        at(each, 0, *(n / 10 for n in range(600)))
    day = sl.clock(START, speed=500)
    a, b = (t.live(clock=day, until="latest", tick="1ms") for t in (first, second))

    sizes = set()
    while a.status().state != "ended" or b.status().state != "ended":
        one, other = sl.collect_all([a, b])
        sizes.add(one.height - other.height)
    a.wait()

    assert sizes == {0}
    assert len(a) == len(b) == 600


def test_a_step_returns_when_joins_have_taken_what_became_due(name: str):
    trades, quotes = topic(name), topic(f"{name}-b")
    for each in (name, f"{name}-b"):
        at(each, 0, *(n / 10 for n in range(600)))
    day = sl.clock(START, speed=0)
    t, q = (source.live(clock=day) for source in (trades, quotes))
    near = t.join_asof(q, by="symbol", tolerance="1s", lateness="1s")
    tape = near.select("time").merge_sorted(q.select("time"), lateness="1s")

    for second in range(5, 55, 5):
        day.step("5s")

        assert len(near) == 10 * (second - 1)
        assert len(tape) == 20 * (second - 1)
        assert len(sl.collect_all([t, near])[1]) == 10 * (second - 1)
    assert near.check_parity().startswith("equal: 490 rows")


def test_collect_all_of_other_sources_says_what_to_do(name: str):
    a, b = topic(name).live(), topic(f"{name}-b").live()

    with pytest.raises(UsageError, match=r"no common version.*sl\.clock"):
        sl.collect_all([a, b])


def test_a_replay_runs_by_itself_and_gives_what_read_gives(name: str):
    source = topic(name, 2)
    at(name, 0, *range(0, 60, 2))
    at(name, 1, *range(1, 60, 2))

    live = source.live("earliest", until="latest", speed=1000)
    words = live.status().detail

    assert live.wait().height == 60
    assert words.startswith("1000×, ")
    assert seconds(live) == list(range(60))
    assert_frame_equal(live.df.sort("time"), source.read().sort("time"))


def test_seek_begins_a_clock_of_its_own_anew(name: str):
    source = topic(name)
    at(name, 0, *range(30))
    live = source.live("earliest", until="latest", speed=1000)
    live.wait()

    live.seek("2026-01-01 00:00:20Z")
    live.wait()

    assert seconds(live) == list(range(20, 30))


def test_a_running_clock_waits_for_a_source_that_is_paused(name: str):
    first, second = topic(name), topic(f"{name}-b")
    at(name, 0, *range(30))
    at(f"{name}-b", 0, *range(30))
    day = sl.clock(speed=1000)
    a = first.live(clock=day, until="latest")
    b = second.live(clock=day, until="latest", paused=True)

    with pytest.raises(WaitTimeoutError):
        a.wait(count=1, timeout="500ms")
    assert f"waits for {name}-b, which is paused" in a.status().notes
    b.resume()

    assert a.wait().height == b.wait().height == 30


def test_a_running_clock_waits_for_a_source_that_is_being_made(name: str):
    source = topic(name)
    at(name, 0, *range(30))
    day = sl.clock(speed=1000)
    io().post(day.expect)
    live = source.live(clock=day, until="latest")

    with pytest.raises(WaitTimeoutError):
        live.wait(count=1, timeout="500ms")
    io().post(day.expect_no_more)

    assert live.wait().height == 30


def test_a_recording_is_replayed():
    source = sl.topic(f"file://{recording()}/trades", time="time")
    whole = source.read()
    day = sl.clock(speed=0)
    live = source.live(clock=day, until="latest")

    day.step("10s")
    some = len(live)
    day.step("1h")

    assert 0 < some < whole.height == len(live)
    assert status_line(live.status()).startswith("■ ended")


async def test_a_step_can_be_awaited(name: str):
    source = topic(name)
    at(name, 0, 1, 2, 3)
    day = sl.clock(START, speed=0)
    live = await source.aio.live(clock=day)
    waiting = asyncio.create_task(live.aio.wait(count=2))

    await day.aio.step("2s")

    assert (await waiting).height == 2


def test_waiting_on_a_clock_that_stands_is_refused(name: str):
    source = topic(name)
    at(name, 0, 1, 2, 3)
    day = sl.clock(START, speed=0)
    live = source.live(clock=day)
    day.step("1s")

    with pytest.raises(UsageError, match="this clock stands"):
        live.wait(count=2)
    assert live.wait(count=1).height == 1


def test_the_status_line_says_how_fast_and_where(name: str):
    source = topic(name)
    at(name, 0, 1)
    day = sl.clock(datetime.fromisoformat("2026-01-01T00:00:00+00:00"), speed=0)
    live = source.live(clock=day)

    day.step("1s")

    line = status_line(live.status())
    assert line.startswith("▶ replay by hand, at 2026-01-01 00:00:01   ")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: sl.clock("2026-01-01 00:00"), TimeZoneError, "has no zone"),
        (lambda: sl.clock("latest"), PositionError, "begins at a time"),
        (lambda: sl.clock(speed=-1), UsageError, "speed=-1"),
        (lambda: sl.clock(speed="10×"), UsageError, "speed='10×'"),  # type: ignore[arg-type]
        (lambda: sl.clock(speed=float("nan")), UsageError, "speed=nan"),
        (lambda: sl.clock(speed=True), UsageError, "speed=True"),
        (lambda: sl.clock(speed=2).step("1s"), UsageError, "runs by itself, 2×"),
        (lambda: sl.clock(speed=0).step("1s"), UsageError, "nothing reads"),
        (lambda: sl.clock(speed=0).step(1), SpanError, "step"),
        (lambda: sl.clock(speed=0).step("1us"), SpanError, "whole milliseconds"),
    ],
)
def test_what_a_clock_refuses(make: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ({"speed": 2, "clock": sl.clock()}, UsageError, "a clock has its own speed"),
        ({"speed": 0}, UsageError, r"sl\.clock\(speed=0\)"),
        ({"speed": 2, "start": "latest"}, UsageError, "nothing lies behind the end"),
        ({"clock": sl.clock(), "group": "g"}, ModeError, "a replay commits nothing"),
    ],
)
def test_what_a_replay_refuses(
    name: str, wish: dict[str, Any], error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        topic(name).live(**wish)
