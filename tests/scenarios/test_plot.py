"""`live.plot`: charts by column names."""

from __future__ import annotations

from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import ColumnNotFoundError, UsageError
from streamlab.views.chart import RollingChart
from tests.scenarios.lab import SEVERAL, topic


@pytest.fixture
def live(name: str) -> sl.LiveFrame:
    trades = topic(name)
    trades.send(SEVERAL)
    return trades.live(start="earliest")


def encoding(chart: RollingChart) -> Any:
    compiled = chart._compiled
    assert compiled is not None
    return compiled.spec["encoding"]


def test_x_is_event_time_and_only_bars_are_measured_from_zero(
    live: sl.LiveFrame,
) -> None:
    line = encoding(live.plot.line(y="price", color="symbol"))
    points = encoding(live.plot.scatter(y="price"))
    bars = encoding(live.plot.bar(y="price"))

    assert (line["x"]["field"], line["x"]["type"]) == ("time", "temporal")
    assert line["color"]["field"] == "symbol"
    assert line["y"]["scale"]["zero"] is False
    assert points["y"]["scale"]["zero"] is False
    assert "zero" not in bars["y"].get("scale", {})


def test_a_column_that_is_not_there_is_said_at_once(live: sl.LiveFrame) -> None:
    with pytest.raises(ColumnNotFoundError, match="Nearest: 'price'"):
        live.plot.line(y="prise")


def test_without_event_time_on_show_x_must_be_named(live: sl.LiveFrame) -> None:
    with pytest.raises(UsageError, match="which column is x"):
        live.drop("time").plot.line(y="price")
