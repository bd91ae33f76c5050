"""Hopping windows and sessions of live topics, as a user meets them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamlab as sl
from streamlab.changes import Change
from streamlab.errors import LatenessNeededError, SpanError, UsageError
from streamlab.live.frame import LiveFrame
from streamlab.views.chart import RollingChart
from tests.scenarios.lab import SEVERAL, TYPES, moment, row, topic

COUNT = pl.len().alias("n")
NUMBER = itertools.count()


def sent(name: str, records: Sequence[Any], **options: Any) -> sl.Topic:
    made = topic(name, **options)
    made.send([json.dumps(each).encode() for each in records])
    return made


def balanced(frame: LiveFrame) -> None:
    stats = frame.stats
    mine, store = stats.operator, stats.store
    assert mine.received == (
        mine.passed + mine.filtered + mine.rejected + mine.late + mine.expired
    )
    assert store.put == store.kept + store.forgotten + store.replaced + store.removed
    assert store.kept == frame.df.height


def lines(frame: LiveFrame) -> list[tuple[datetime, datetime, int]]:
    return frame.df.select("window_start", "window_end", "n").rows()


def test_windows_overlap(name: str):
    live = sent(name, [row(5), row(15)]).live(start="earliest")

    minute = live.window("10s", period="30s").agg(COUNT)

    assert minute.wait().select("window_start", "n").rows() == [
        *((moment(-20), 1), (moment(-10), 2), (moment(0), 2), (moment(10), 1)),
    ]
    assert minute.steps == f"{name} → window 30s every 10s"
    assert minute.check_parity() == f"equal: 4 rows of {minute.name}, from 2 records."


def test_a_late_record_has_a_line_for_each_window_it_missed(name: str):
    live = sent(name, [row(1), row(25), row(3)]).live(start="earliest")

    minute = live.window("10s", period="30s", lateness="5s").agg(COUNT)
    late, closed = minute.late, minute.closed
    minute.wait()

    assert late.df.select("window_end", "_offset").rows() == [
        (moment(10), 2),
        (moment(20), 2),
    ]
    assert closed.df["window_end"].to_list() == [moment(10), moment(20)]
    assert (minute.stats.late, minute.stats.operator.passed) == (0, 3)
    for frame in (minute, late, closed):
        balanced(frame)
        assert frame is late or frame.check_parity().startswith("equal")


def test_sessions_grow_and_become_one(name: str):
    source = sent(name, [row(0), row(50), row(20, symbol="B")])
    live = source.live(start="earliest")
    visits = live.window(gap="30s", by="symbol").agg(COUNT, last=pl.col("price").last())
    assert visits.wait().height == 3

    source.send([row(25, 7.0)])
    visits.wait(count=4)

    assert visits.df.select("window_start", "window_end", "symbol", "n").rows() == [
        (moment(0), moment(80), "A", 3),
        (moment(20), moment(50), "B", 1),
    ]
    assert visits.stats.store.removed == 1
    assert visits.steps == f"{name} → session 30s by symbol"
    balanced(visits)
    assert visits.check_parity().startswith("equal: 2 rows")


def test_sinks_are_told_which_sessions_are_gone(name: str):
    source = topic(name)
    live = source.live()
    visits = live.window(gap="30s", by="symbol").agg(COUNT)
    busy = visits.filter(pl.col("n") > 1).rename({"symbol": "who"})
    told: list[Change] = []
    busy.to(told.append)

    for second in (0, 1, 50, 51, 25):
        source.send([row(second)])
        live.wait(count=1 + [0, 1, 50, 51, 25].index(second))
    busy.wait()

    assert lines(busy) == [(moment(0), moment(81), 5)]
    removed = [each.removed for each in told if each.removed.height]
    assert pl.concat(removed).rows() == [(moment(50), "A")]
    balanced(busy)
    assert busy.check_parity().startswith("equal: 1 rows")


def test_a_bounded_input_closes_all_sessions(name: str):
    live = sent(name, SEVERAL).live(start="earliest", until="latest")
    visits = live.filter(pl.col("price") % 10 < 4).window(gap="5s").agg(COUNT)
    closed = visits.closed

    assert closed.wait()["n"].to_list() == [4] * 10
    assert visits.df["_closed"].all()
    assert visits.check_parity().startswith("equal")
    assert closed.check_parity().startswith("equal: 10 rows")


def test_windows_over_closed_sessions(name: str):
    live = sent(name, SEVERAL).live(start="earliest", until="latest")
    visits = live.filter(pl.col("price") % 10 < 4).window(gap="5s").agg(COUNT)

    per = visits.closed.window("20s", period="40s").agg(visits=pl.len())

    assert per.wait()["visits"].to_list() == [2, 4, 4, 4, 4, 2]
    assert per.check_parity().startswith("equal")


def test_charts_and_tables_of_both_kinds(name: str):
    live = sent(name, SEVERAL).live(start="earliest")
    minute = live.window("10s", period="1m", by="symbol", lateness="0s").agg(COUNT)
    visits = live.window(gap="30s", by="symbol", lateness="0s").agg(COUNT)
    minute.wait()

    for frame in (minute, visits, minute.closed, visits.closed):
        chart = frame.plot.line(y="n", color="symbol")
        assert isinstance(chart, RollingChart)
        assert chart._compiled is not None
        assert chart._compiled.spec["encoding"]["x"]["field"] == "window_start"
        assert "window_start" in str(frame._repr_mimebundle_())


def test_explain_says_into_how_many_windows_a_record_falls(name: str):
    live = topic(name, schema=TYPES, format="json").live()
    aggs = (COUNT, pl.col("price").median().alias("middle"))

    def told(frame: LiveFrame) -> list[str]:
        return [line.split("    (")[0] for line in frame.explain().splitlines()]

    assert told(live.window("10s", period="1m").agg(*aggs)) == [
        name,
        "window 1m every 10s",
        "    a record falls into 6 windows",
        "    n: partial states: len",
        "    middle: raw rows: median, kept once for each of them",
    ]
    assert told(live.window(gap="10s").agg(*aggs))[2:] == [
        "    n: partial states: len",
        "    middle: raw rows: median",
    ]
    said = [
        live.window(every, period=period).agg(COUNT).explain().splitlines()[2].strip()
        for every, period in [
            ("10s", "3s"),
            ("10s", "25s"),
            ("1d", "1mo"),
            ("1mo", "1y"),
        ]
    ]
    assert said == [
        "a record falls into 1 window or none",
        "a record falls into 2 or 3 windows",
        "a record falls into about 30 windows",
        "a record falls into 12 windows",
    ]


def test_a_period_that_is_the_distance_makes_plain_windows(name: str):
    live = topic(name).live()

    assert live.window("10s", period="10s").agg(COUNT).steps.endswith("→ window 10s")


def test_closed_sessions_need_a_lateness_and_say_what_to_type(name: str):
    live = sent(name, [row(1)]).live(start="earliest")
    live.wait()

    for asked, words in (
        ({"gap": "30s"}, 'window(gap="30s", lateness="1s")'),
        ({"every": "10s", "period": "1m"}, 'window("10s", period="1m", lateness="1s")'),
    ):
        with pytest.raises(LatenessNeededError) as caught:
            _ = live.window(**asked).agg(COUNT).closed
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, UsageError, 'window("10s"), or window(gap="30s") for sessions'),
        (
            {"every": "10s", "gap": "5s"},
            UsageError,
            "window('10s') or window(gap='5s')",
        ),
        ({"gap": "5s", "period": "1m"}, UsageError, "Leave period out"),
        ({"gap": "5s", "offset": "1m"}, UsageError, "Leave offset out"),
        ({"period": "1m"}, UsageError, "begins how often"),
        ({"every": "10s", "period": "0s"}, SpanError, "a window can't be empty"),
        ({"every": "10s", "period": 5}, SpanError, "five what"),
        ({"gap": "0s"}, SpanError, "a session's gap can't be empty"),
        ({"gap": "1mo"}, SpanError, "months have no fixed length"),
        ({"gap": 5}, SpanError, "five what"),
        ({"every": 5, "on": "price", "period": "1m"}, SpanError, "positive integer"),
        ({"gap": "1m", "on": "price"}, SpanError, "gap is a positive integer"),
        ({"gap": 5, "on": "price", "lateness": "1s"}, SpanError, "integer too"),
        ({"every": "1s", "period": "1d"}, UsageError, "86 400 windows"),
    ],
)
def test_arguments_that_do_not_go_together(
    name: str, given: dict[str, Any], error: type[Exception], words: str
):
    schema = {**TYPES, "price": pl.Int64}
    live = topic(name, schema=schema, format="json").live()

    with pytest.raises(error) as caught:
        live.window(**given)

    assert words in str(caught.value)


records = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("AB"), st.integers(0, 1)), max_size=30
)


@settings(deadline=None, max_examples=8)
@given(records, st.lists(st.integers(1, 6), max_size=6), st.sampled_from([None, "4s"]))
def test_any_cut_equals_polars_and_every_record_is_accounted_for(
    drawn: list[tuple[int, str, int]], lengths: list[int], lateness: str | None
):
    name = f"spans-{next(NUMBER)}"  # an example may be run again
    source = topic(name, 2, schema=TYPES, format="json")
    with source.live(start="earliest", tick="1ms", idle=None) as live:
        aggs = (COUNT, pl.col("price").sum().alias("sum"), pl.col("price").first())
        frames = [
            live.window("5s", period="12s", lateness=lateness).agg(*aggs),
            live.window(gap="7s", by="symbol", lateness=lateness).agg(*aggs),
        ]
        frames += [each.filter(pl.col("n") > 1) for each in frames]
        frames += [each.closed for each in frames[:2]] if lateness else []
        at = 0
        for length in [*lengths, len(drawn)]:
            block = drawn[at : at + length]
            at += len(block)
            if block:
                source.send([row(t, float(t), who) for t, who, _ in block])
            live.wait(count=at)

        for frame in frames:
            frame.wait()
            balanced(frame)
            assert frame.check_parity().startswith(("equal", "nothing"))
