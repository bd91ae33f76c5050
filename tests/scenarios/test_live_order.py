"""Rows in order, and functions that look back, as a user meets them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.errors import (
    LatenessNeededError,
    ModeError,
    NotIncrementalError,
    RevisingFrameError,
    SpanError,
    UsageError,
)
from tests.scenarios.lab import moment, row, topic


def sent(name: str, records: list[Any], **options: Any) -> sl.Topic:
    made = topic(name, **options)
    made.send(records)
    return made


def test_rows_come_in_the_order_of_event_time(name: str):
    live = sent(name, [row(3), row(1), row(2), row(9)]).live(start="earliest")

    ordered = live.in_order("2s")

    assert ordered.wait()["time"].to_list() == [moment(1), moment(2), moment(3)]
    assert ordered.watermark == moment(7)
    assert ordered.stats.operator.passed == 4
    assert ordered.steps == f"{name} → in order 2s"


def test_what_comes_too_late_has_a_frame_of_its_own(name: str):
    live = sent(name, [row(9), row(1, 7.0), row(8)]).live(start="earliest")
    ordered = live.in_order("2s")
    costly = ordered.filter(pl.col("price") > 5)

    ordered.wait()

    assert ordered.late.df.select("_late_by", "_offset", "price").rows() == [
        (moment(6) - moment(0), 1, 7.0)
    ]
    assert ordered.stats.late == ordered.status().late == 1
    assert costly.late is ordered.late


def test_in_order_needs_a_lateness_and_suggests_the_measured_one(name: str):
    records = [row(second) for second in range(200)]
    for at in range(0, 200, 20):
        records[at]["time"] -= 4_100
    live = sent(name, records).live(start="earliest")
    live.wait()

    with pytest.raises(LatenessNeededError) as caught:
        live.in_order()
    assert str(caught.value) == (
        "in_order() needs to know how long to wait for earlier rows. Rows of this topic come "
        'up to 3.1 s late (p99 3.1 s in the last 200): in_order("4s").'
    )
    with pytest.raises(SpanError, match='Write "2s"'):
        live.in_order(2)


def test_in_order_refuses_what_is_revised_or_has_no_time(name: str):
    live = sent(name, [row(1) | {"n": 1}]).live(start="earliest")
    live.wait()

    with pytest.raises(RevisingFrameError, match="corrects its rows"):
        live.window("10s").agg(n=pl.len()).in_order("2s")
    closed = live.window(10, on="n", lateness=1).agg(m=pl.len()).closed
    with pytest.raises(UsageError, match="which is no time"):
        closed.in_order("2s")
    with pytest.raises(UsageError, match=r'live\.in_order\("2s"\)\.late'):
        _ = live.late


def test_a_group_that_shares_a_topic_can_put_nothing_in_order(name: str):
    live = sent(name, [row(1)]).live(start="earliest", group="g")
    live.wait()

    with pytest.raises(ModeError, match="in_order: group 'g' shares the topic"):
        live.in_order("2s")


def test_a_reader_that_goes_on_is_given_the_rows_that_waited(name: str):
    source = topic(name)
    alone: dict[str, Any] = {"group": "g", "mode": "resumable", "start": "earliest"}
    first = source.live(**alone)
    ordered = first.in_order("2s")
    source.send([row(1), row(2), row(4)])
    assert ordered.wait(count=3)["time"].to_list() == [moment(1)]
    first.stop()

    again = source.live(**alone)
    ordered = again.in_order("2s")
    source.send([row(9)])

    assert ordered.wait(count=3)["time"].to_list() == [moment(2), moment(4)]
    again.stop()


# -- looking back --------------------------------------------------------------------------

MIXED = [row(1, 10.0), row(3, 30.0, "B"), row(2, 15.0), row(4, 15.0), row(9, 20.0, "B")]


def test_rows_in_order_may_look_back(name: str):
    live = sent(name, MIXED).live(start="earliest")
    ordered = live.in_order("2s")

    steps = ordered.with_columns(
        step=pl.col("price").diff(),
        mine=(pl.col("price").diff() / pl.col("price").shift()).over("symbol"),
        lately=pl.col("price").rolling_sum_by("time", "2s"),
    )
    some = steps.filter(pl.col("price") > pl.col("price").shift().over("symbol"))
    few = ordered.select("symbol", before=pl.col("price").shift(1, fill_value=0))

    found = steps.wait()
    assert found["step"].to_list() == [None, 5.0, 15.0, -15.0]
    assert found["mine"].to_list() == [None, 0.5, None, 0.0]
    assert found["lately"].to_list() == [10.0, 25.0, 45.0, 45.0]
    assert some.wait()["price"].to_list() == [15.0]
    assert few.wait().rows() == [("A", 0.0), ("A", 10.0), ("B", 15.0), ("A", 30.0)]
    assert some.stats.operator.filtered == 3
    assert some.steps == f"{name} → in order 2s → with_columns → filter"


def test_windows_come_in_order_when_they_close_and_may_look_back(name: str):
    live = sent(name, [row(second) for second in range(60)]).live(start="earliest")
    closed = live.window("10s", lateness="1s").agg(n=pl.len()).closed

    grown = closed.with_columns(all=pl.col("n").cum_sum())

    assert grown.wait()["all"].to_list() == [10, 20, 30, 40, 50]


def test_a_frame_made_later_begins_with_what_its_parent_keeps(name: str):
    source = sent(name, MIXED)
    ordered = source.live(start="earliest").in_order("2s")
    ordered.wait()

    steps = ordered.with_columns(step=pl.col("price").diff())
    source.send([row(20)])

    assert steps.wait()["step"].to_list() == [None, 5.0, 15.0, -15.0, 5.0]


def test_parity_holds_for_rows_in_order_and_what_looks_back(name: str):
    records = [row(at + (at * 7 % 5), float(at), "ABC"[at % 3]) for at in range(200)]
    records += [row(3, 7.0), row(999)]
    live = sent(name, records, partitions=2).live(start="earliest")
    ordered = live.in_order("2s")
    steps = ordered.with_columns(
        step=pl.col("price").diff().over("symbol"),
        mean=pl.col("price").rolling_mean_by("time", "5s").over("symbol"),
        volatility=pl.col("price").pct_change().rolling_std(5).over("symbol"),
    )
    steps.wait()

    for frame in (ordered, steps, steps.filter(pl.col("step") > 0)):
        assert frame.check_parity().startswith("equal")


def refused(frame: Any, **named: pl.Expr) -> str:
    with pytest.raises(NotIncrementalError) as caught:
        frame.with_columns(**named)
    return str(caught.value)


def test_rows_out_of_order_can_not_look_back_and_are_told_how(name: str):
    live = sent(name, MIXED).live(start="earliest")
    live.wait()
    price = pl.col("price")

    assert refused(live, ret=price.shift()) == (
        'with_columns(ret=…): pl.col("price").shift(1) looks at another row, and the next '
        'batch would not see it. In event-time order: live.in_order("2s").with_columns(ret=… '
        '.over("symbol")). Per window: live.window(…). Over what is kept, every tick: '
        "live.recompute(lambda lf: …)."
    )
    assert 'live.in_order("2s").with_columns(ret=…).' in refused(
        live, ret=price.shift().over("symbol")
    )
    counts = live.window("10s").agg(n=pl.len())
    assert ".closed of the window" in refused(counts, m=pl.col("n").diff())


def test_what_looks_ahead_or_remembers_all_is_refused_in_order_too(name: str):
    live = sent(name, MIXED).live(start="earliest")
    live.wait()
    ordered = live.in_order("2s")
    price = pl.col("price")

    ahead = "looks ahead, at rows that have not come yet"
    assert ahead in refused(ordered, a=price.shift(-1))
    assert ahead in refused(ordered, a=price.rolling_mean(3, center=True))
    assert ahead in refused(ordered, a=price.cum_sum(reverse=True))
    assert ahead in refused(ordered, a=price.backward_fill().over("symbol"))
    assert ahead in refused(live, a=price.shift(-1))
    assert refused(ordered, a=price / price.mean().over("symbol")) == (
        'with_columns(a=…): pl.col("price").mean() is made of all rows, and more will come. '
        "Per window: live.window(…). Over what is kept, every tick: "
        "live.recompute(lambda lf: …)."
    )
    assert "Once each: live.unique" in refused(ordered, a=price.is_first_distinct())


def test_a_group_can_not_rebuild_what_looks_back(name: str):
    source = sent(name, MIXED)
    live = source.live(start="earliest", group="g", mode="resumable")
    live.wait()

    with pytest.raises(
        ModeError, match=r"with_columns\(a=…\) looks back, maybe as far"
    ):
        live.in_order("2s").with_columns(a=pl.col("price").shift())


def test_a_column_that_does_not_rise_with_event_time_fails_the_frame(name: str):
    source = topic(name)
    live = source.live()
    ordered = live.in_order("1s")
    wrong = ordered.with_columns(
        m=pl.col("price").rolling_mean_by(pl.col("price").cast(pl.Int64), "5i")
    )

    source.send([row(1, 9.0), row(5)])
    live.wait(count=2)
    source.send([row(6, 3.0), row(9)])
    live.wait(count=4)

    assert "'price' does not rise with event time" in str(wrong.error)
    assert wrong.df["m"].to_list() == [9.0]


def test_windows_over_rows_in_order_are_those_over_the_rows_in_time(name: str):
    records = [row(at + (at * 7 % 5), float(at)) for at in range(60)] + [row(2, 7.0)]
    live = sent(name, records).live(start="earliest", until={0: 61})
    ordered = live.in_order("5s").with_columns(step=pl.col("price").diff())

    counts = ordered.window("10s", lateness="0s").agg(
        n=pl.len(), steps=pl.col("step").sum()
    )

    counts.wait()
    assert counts.stats.operator.late == 0
    assert counts.df["n"].sum() == 60
    assert counts.df["_closed"].all()
    assert counts.check_parity().startswith("equal")


def test_before_the_first_record_what_looks_back_is_taken_as_it_is(name: str):
    source = topic(name)
    live = source.live()
    steps = live.in_order("1s").with_columns(step=pl.col("price").diff())

    source.send([row(1, 3.0), row(2, 5.0), row(9)])

    assert steps.wait(count=3)["step"].to_list() == [None, 2.0]
