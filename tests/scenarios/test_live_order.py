"""Rows in order, and functions that look back, as a user meets them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.errors import (
    LatenessNeededError,
    ModeError,
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
