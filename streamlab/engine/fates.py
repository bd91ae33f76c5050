"""What became of each record of a batch, where event time says which rows are still wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import PART
from streamlab.durations import UNIT_US, Span
from streamlab.engine.assign import FUTURE, NO_TIME, Times, read_times
from streamlab.engine.outcome import Batch
from streamlab.engine.rowwise import ROW, Result
from streamlab.engine.watermark import NONE, Int64s, Watermark
from streamlab.records import REASON

_MAX_AHEAD = Span(0, UNIT_US["h"])
Mask = NDArray[np.bool_]


class Timed(NamedTuple):
    """Rows with their event time, and how far time had come at each.

    Attributes:
        times: of the rows.
        limits: the watermark less a span, at each row; NONE before there is one.
        watermark: as it stands after the block.
        idle: whether a partition that had rows did not hold it back.
    """

    times: Times
    limits: Int64s
    watermark: Watermark
    idle: bool


IDLE = "a partition was idle while time went on, and what left then can't be worked out again"


def timed(watermark: Watermark, origin: Batch, result: Result, span: Span) -> Timed:
    """Judge the rows of a batch one by one; `watermark` stays as it is.

    All rows of the batch move time on, those too that a filter held back. Rows in order move it
    by themselves alone: that a bounded input is at its end is no time that has gone by.
    """
    came = origin.rows.head(result.good)
    times = read_times(came, None, _MAX_AHEAD)
    moved, parts = watermark.copy(), came.get_column(PART).to_numpy()
    idle = False
    if origin.frontier is None:
        idle = not origin.holding.issuperset(moved.newest)
        marks = moved.advance(times.values, parts, times.good, origin.holding)
    else:
        one = np.zeros_like(parts)
        marks = moved.advance(times.values, one, times.good, frozenset({0}))
    places = result.rows.get_column(ROW).to_numpy()
    at = marks[places]
    limits = np.where(at == NONE, NONE, at - span.us)
    return Timed(times.at(places), limits, moved, idle)


def tally(result: Result, fates: Sequence[NDArray[Any]]) -> list[int]:
    """How many records had each fate; the rows of `result` have exactly one each.

    A record of which `explode` made several rows counts once, for the first of the fates that
    any of its rows had.
    """
    if not result.multiplies:
        return [int(fate.sum()) for fate in fates]
    row = result.rows.get_column(ROW).to_numpy()
    counted = np.empty(0, row.dtype)
    found = []
    for fate in fates:
        mine = np.setdiff1d(np.unique(row[fate]), counted)
        counted = np.union1d(counted, mine)
        found.append(len(mine))
    return found


def refused(rows: pl.DataFrame, times: Times) -> pl.DataFrame:
    """The rows without a usable event time, as they came, with `_reason`."""
    bad = ~times.good
    future = pl.Series(times.future[bad])
    reason = pl.when(future).then(pl.lit(FUTURE)).otherwise(pl.lit(NO_TIME))
    return rows.filter(pl.Series(bad)).drop(ROW).with_columns(reason.alias(REASON))
