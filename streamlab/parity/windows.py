"""A window over all rows there have been: each row is given its windows, one `group_by` does the rest."""

from __future__ import annotations

import re

import polars as pl
import polars.selectors as cs

from streamlab.changes import (
    CLOSED,
    HIDDEN,
    PART,
    SEQ,
    STAMP,
    TIME,
    WINDOW_END,
    WINDOW_START,
)
from streamlab.durations import UNIT_US, Span
from streamlab.parity.table import KEY, SCALE, STATE, Table, scales_of
from streamlab.plans.nodes import Closed, Window, window_dtype
from streamlab.plans.steady import steady

_CLOCK = "__clock"  # event time as an integer, µs or the column's own unit


def window_table(
    window: Window, rows: pl.DataFrame, late: pl.DataFrame | None
) -> Table:
    """The window frame over all rows, hidden copies of its keys and its scales beside it.

    Args:
        window: the step.
        rows: of its parent, with hidden columns.
        late: (record, window) pairs left out: `__part`, `__stamp`, `__seq`, `window_start`.
    """
    found = _windows(window, rows.select(~cs.starts_with(KEY, SCALE)), late)
    keep = [name for name in found.columns if name.startswith((KEY, SCALE))]
    return Table(found, tuple(keep), frozenset(STATE))


def closed_table(node: Closed, table: Table) -> Table:
    """The windows in the order in which they close, as the rows of one partition."""
    closed = table.frame.sort(WINDOW_START, *node.parent.by).drop(CLOSED)
    start = pl.col(WINDOW_START)
    moment = pl.Datetime("us", "UTC")
    timed = closed.schema[WINDOW_START].is_temporal()
    frame = closed.with_columns(
        (start.dt.convert_time_zone("UTC") if timed else pl.lit(None, moment)).alias(
            TIME
        ),
        pl.lit(0, pl.Int32).alias(PART),
        (start.dt.epoch("ms") if timed else pl.lit(0, pl.Int64)).alias(STAMP),
        pl.int_range(pl.len(), dtype=pl.Int64).alias(SEQ),
    )
    return table._replace(frame=frame, keep=(*table.keep, *HIDDEN), prefix=True)


def _windows(
    window: Window, rows: pl.DataFrame, late: pl.DataFrame | None
) -> pl.DataFrame:
    """The window frame over all rows, hidden copies of its keys and its scales beside it."""
    timed = _timed(window, rows)
    placed = timed.with_columns(
        _starts(window, timed[_CLOCK]).alias(WINDOW_START),
    )
    if late is not None:
        pair = [PART, STAMP, SEQ, WINDOW_START]
        placed = placed.join(late.select(pair), on=pair, how="anti", nulls_equal=True)
    # Stable: rows of one partition come in the order of their offsets.
    placed = placed.sort(_CLOCK, PART, maintain_order=True)
    key = [WINDOW_START, *window.by]
    schema = rows.drop(HIDDEN).schema
    aggs = [steady(agg, schema) for agg in window.aggs]
    scales = scales_of(window.aggs, schema)
    found = placed.group_by(key, maintain_order=True).agg(*aggs, *scales)
    return found.select(
        WINDOW_START,
        _ends(window, found[WINDOW_START]).alias(WINDOW_END),
        *window.by,
        *(agg.meta.output_name() for agg in window.aggs),
        *(pl.lit(value=False).alias(name) for name in STATE),
        *(pl.col(name).alias(f"{KEY}{name}") for name in key),
        cs.starts_with(SCALE),
    )


def _timed(window: Window, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that have a place in event time, with it as an integer."""
    column = pl.col(window.on or TIME)
    if isinstance(window.every, int):
        return rows.with_columns(column.cast(pl.Int64).alias(_CLOCK)).filter(
            pl.col(_CLOCK).is_not_null()
        )
    if rows.schema[window.on or TIME] == pl.Date:
        column = column.cast(pl.Datetime("us"))
    clock = column.dt.epoch("us").alias(_CLOCK)
    ahead = pl.col(_CLOCK) - pl.col(STAMP) * 1000 > window.max_ahead.us
    timed = rows.with_columns(clock)
    return timed.filter(
        pl.col(_CLOCK).is_not_null() & ahead.fill_null(value=False).not_()
    )


def _starts(window: Window, clock: pl.Series) -> pl.Series:
    """The start of each row's window."""
    every, offset = window.every, window.offset
    if isinstance(every, int):
        shift = offset if isinstance(offset, int) else 0
        return (clock - shift) // every * every + shift
    moved = offset if isinstance(offset, Span) else Span(0, 0)
    local = _local(window, clock)
    if not _by_calendar(every):
        local = local.dt.convert_time_zone("UTC")
    if re.fullmatch(r"\d+[a-z]+", every.text):
        back = local.dt.offset_by(f"-{moved.text}")
        starts = back.dt.truncate(every.text).dt.offset_by(moved.text)
    else:
        # "1h30m": polars truncates to one unit only; these have fixed length, and count from 1970.
        us = (clock - moved.us) // every.us * every.us + moved.us
        starts = us.cast(pl.Datetime("us", "UTC"))
    return starts.dt.convert_time_zone(window.time_zone).cast(window_dtype(window))


def _ends(window: Window, starts: pl.Series) -> pl.Series:
    """Where the next window starts."""
    every = window.every
    if isinstance(every, int):
        return starts + every
    if not _by_calendar(every):
        utc = starts.dt.convert_time_zone("UTC").dt.offset_by(every.text)
        return utc.dt.convert_time_zone(window.time_zone)
    # A day that begins at a missing midnight ends an hour off; a bit later is surely inside.
    inside = starts.dt.offset_by(every.text).dt.offset_by("2h")
    return _starts(window, inside.dt.epoch("us"))


def _local(window: Window, clock: pl.Series) -> pl.Series:
    utc = clock.cast(pl.Datetime("us", "UTC"))
    return utc.dt.convert_time_zone(window.time_zone)


def _by_calendar(every: Span) -> bool:
    """Whether the zone decides where windows begin: days and longer."""
    return every.months > 0 or every.us % UNIT_US["d"] == 0
