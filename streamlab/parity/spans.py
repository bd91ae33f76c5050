"""Where windows begin and end, and which rows are in them, in plain polars."""

from __future__ import annotations

import re

import polars as pl

from streamlab.changes import WINDOW_END, WINDOW_START
from streamlab.durations import UNIT_US, Span
from streamlab.plans.nodes import Window, window_dtype

CLOCK = "__clock"  # event time as an integer, µs or the column's own unit
_DAY = UNIT_US["d"]


def window_starts(window: Window, clock: pl.Series) -> pl.Series:
    """The newest start up to each time."""
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


def window_ends(window: Window, starts: pl.Series) -> pl.Series:
    """Where each window ends: a period later, or where the next one starts."""
    every, period = window.every, window.period
    if isinstance(every, int):
        return starts + (period if isinstance(period, int) else every)
    if isinstance(period, Span):
        return _later(window, starts, period)
    if not _by_calendar(every):
        return _later(window, starts, every)
    # Half a day after a day later is surely inside of the next one, whatever the clocks did.
    inside = _later(window, starts, every).dt.epoch("us") + _DAY // 12
    return window_starts(window, inside)


def in_hopping(window: Window, timed: pl.DataFrame) -> pl.DataFrame:
    """Each row once for every window that holds it, with the window's start and end."""
    every, period = window.every, window.period
    starts = window_starts(window, timed[CLOCK])
    found = []
    longest = _longest(period)
    while True:
        placed = timed.with_columns(
            starts.alias(WINDOW_START), window_ends(window, starts).alias(WINDOW_END)
        )
        ends = placed[WINDOW_END]
        is_time = isinstance(every, Span)
        over = (ends.dt.epoch("us") if is_time else ends) <= timed[CLOCK]
        found.append(placed.filter(~over))
        first = starts.dt.epoch("us") if is_time else starts
        if not timed.height or (timed[CLOCK] - first).min() >= longest:  # type: ignore[operator]
            return pl.concat(found)
        starts = window_starts(window, first - 1)


def in_sessions(window: Window, timed: pl.DataFrame) -> pl.DataFrame:
    """Each row with start and end of its session: neighbours of a key less than a gap apart."""
    gap = window.every.us if isinstance(window.every, Span) else window.every
    rows = timed.sort(CLOCK, maintain_order=True)
    by = [pl.col(name) for name in window.by] or [pl.lit(0)]
    apart = (pl.col(CLOCK).diff() >= gap).fill_null(value=False)
    rows = rows.with_columns(apart.cum_sum().over(by).alias("__session"))
    of = [*by, pl.col("__session")]
    dtype = window_dtype(window)
    return rows.with_columns(
        pl.col(CLOCK).min().over(of).cast(dtype).alias(WINDOW_START),
        (pl.col(CLOCK).max().over(of) + gap).cast(dtype).alias(WINDOW_END),
    ).drop("__session")


def _later(window: Window, starts: pl.Series, length: Span) -> pl.Series:
    """`starts` a length later; days and months on the zone's wall clock."""
    zone = window.time_zone
    if not _by_calendar(length):
        utc = starts.dt.convert_time_zone("UTC").dt.offset_by(length.text)
        return utc.dt.convert_time_zone(zone)
    wall = starts.dt.replace_time_zone(None).dt.offset_by(length.text)
    found = _on_the_clock(wall, zone)
    # A wall time that does not exist: the first quarter of an hour after it that does.
    wall = wall.dt.truncate("15m")
    while found.has_nulls():
        wall = wall.dt.offset_by("15m")
        found = found.zip_with(found.is_not_null(), _on_the_clock(wall, zone))
    return found


def _on_the_clock(wall: pl.Series, zone: str) -> pl.Series:
    return wall.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _local(window: Window, clock: pl.Series) -> pl.Series:
    utc = clock.cast(pl.Datetime("us", "UTC"))
    return utc.dt.convert_time_zone(window.time_zone)


def _by_calendar(length: Span) -> bool:
    """Whether the zone decides: days and longer."""
    return length.months > 0 or length.us % _DAY == 0


def _longest(period: Span | int | None) -> int:
    """No window is longer."""
    if not isinstance(period, Span):
        return period or 0
    slack = 2 * _DAY if _by_calendar(period) else 0
    return period.months * 31 * _DAY + period.us + slack
