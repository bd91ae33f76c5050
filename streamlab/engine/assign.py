"""Which window a row belongs to: event times in, starts and ends out, as integers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import STAMP, TIME
from streamlab.durations import UNIT_US, Span
from streamlab.engine.walltime import moved
from streamlab.engine.watermark import Int64s
from streamlab.plans.nodes import Window

_DAY, _WEEK = UNIT_US["d"], UNIT_US["w"]
_MONDAY = 4 * _DAY  # the first one of 1970: dt.truncate counts weeks from there
# Since 1972 all zones' offsets are multiples of a quarter of an hour, so days and months begin
# on this grid, and the calendar is asked once a quarter (15 ms for 50,000 rows otherwise).
_GRID = 15 * UNIT_US["m"]
_GRID_SINCE = 1000 * _DAY
# A day that begins at a nonexistent midnight is an hour off when counted from the one before;
# well inside the next window, truncating finds its true start.
_INSIDE = 2 * UNIT_US["h"]
NO_TIME, FUTURE = "no event time", "time in the future"


class Times(NamedTuple):
    """Event times of a block.

    Attributes:
        values: µs since 1970 UTC, or the integers of an integer column; 0 where missing.
        missing: rows without one.
        future: rows further ahead of their broker's timestamp than allowed.
        good: all others: those that can be windowed.
    """

    values: Int64s
    missing: NDArray[np.bool_]
    future: NDArray[np.bool_]
    good: NDArray[np.bool_]

    def at(self, places: NDArray[Any]) -> Times:
        """The times of the rows at `places`."""
        return Times(*(column[places] for column in self))


def read_times(rows: pl.DataFrame, on: str | None, max_ahead: Span | None) -> Times:
    """The event times of `rows`.

    Args:
        rows: with the hidden columns.
        on: their column; None is the source's own.
        max_ahead: how far they may be ahead of the broker's timestamp; None for integers.
    """
    column = rows.get_column(on or TIME)
    values = column.cast(pl.Int64) if max_ahead is None else _microseconds(column)
    filled, missing = _filled(values)
    if max_ahead is None:
        return Times(filled, missing, np.zeros(len(filled), np.bool_), ~missing)
    stamped = rows.get_column(STAMP)
    stamps, unknown = _filled(stamped)
    future = filled > stamps * 1000 + max_ahead.us
    if values.has_nulls() or stamped.has_nulls():
        # A record without a broker's timestamp can't be ahead of it.
        future &= ~missing & ~unknown
        return Times(filled, missing, future, ~(missing | future))
    return Times(filled, missing, future, ~future)


def spans(window: Window, times: Int64s) -> tuple[Int64s, Int64s]:
    """Start (included) and end (excluded) of each row's window, in the unit of `times`."""
    every, offset = window.every, window.offset
    if isinstance(every, int) or isinstance(offset, int):
        step = every if isinstance(every, int) else every.us
        shift = offset if isinstance(offset, int) else offset.us
        starts = (times - shift) // step * step + shift
        return starts, starts + step
    zoned = every.us % _DAY == 0 and window.time_zone != "UTC"
    if not (every.months or offset.months or zoned):
        # As dt.truncate does, in a third of the time: weeks begin on Mondays.
        origin = offset.us + (_MONDAY if every.us % _WEEK == 0 else 0)
        starts = (times - origin) // every.us * every.us + origin
        return starts, starts + every.us
    old = bool((times < _GRID_SINCE).any())
    if offset.months or offset.us % _GRID or old:
        return _calendar_spans(window, times)
    quarters, place = np.unique(times // _GRID, return_inverse=True)
    starts, ends = _calendar_spans(window, quarters * _GRID)
    return starts[place], ends[place]


def _calendar_spans(window: Window, times: Int64s) -> tuple[Int64s, Int64s]:
    starts = _truncated(window, times)
    every = window.every
    if isinstance(every, int):  # pragma: no cover
        raise TypeError(every)  # see `spans`
    later = moved(starts, every, window.time_zone)
    return starts, _truncated(window, later + _INSIDE)


def _truncated(window: Window, times: Int64s) -> Int64s:
    every, offset, zone = window.every, window.offset, window.time_zone
    if isinstance(every, int) or isinstance(offset, int):  # pragma: no cover
        raise TypeError(every)  # see `spans`
    back = moved(times, offset, zone, back=True)
    utc = pl.Series(back, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    starts = utc.dt.convert_time_zone(zone).dt.truncate(every.text)
    return moved(starts.to_physical().to_numpy(), offset, zone)


def _filled(column: pl.Series) -> tuple[Int64s, NDArray[np.bool_]]:
    """The values, 0 for null, and where they are null."""
    if not column.has_nulls():
        return column.to_numpy(), np.zeros(len(column), np.bool_)
    return column.fill_null(0).to_numpy(), column.is_null().to_numpy()


def _microseconds(column: pl.Series) -> pl.Series:
    """Datetimes and dates as µs since 1970 UTC; naive ones are UTC."""
    dtype = column.dtype
    if not isinstance(dtype, pl.Datetime):
        return column.cast(pl.Datetime("us")).cast(pl.Int64)
    if dtype.time_unit != "us":
        column = column.dt.cast_time_unit("us")
    return column.cast(pl.Int64)  # `to_physical` runs a query of its own, 0.2 ms


def moments(name: str, values: Int64s, dtype: pl.DataType) -> pl.Series:
    """Integers as `window_start` or `window_end` shows them: of `dtype`."""
    column = pl.Series(name, values, dtype=pl.Int64)
    if not isinstance(dtype, pl.Datetime):
        return column
    return column.cast(dtype)  # as an instant, whatever the zone
