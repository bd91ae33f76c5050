"""Values to times: the one rule for event time and for Datetime columns.

A datetime without a zone is UTC. A number counts from 1970 UTC, its unit told by its size:
below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds. Text is
what `datetime.fromisoformat` reads (without a zone: UTC), but text of digits alone is a number
if it has at least nine of them and no time if it has fewer, for "20261122" may mean two days.
Fractions below a microsecond are cut off. Times outside the years 1 to 9999 are none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction

import polars as pl

UTC_US = pl.Datetime("us", "UTC")
MIN_US, MAX_US = -62_135_596_800_000_000, 253_402_300_799_999_999
SECONDS, MILLIS, MICROS = 10**11, 10**14, 10**17
_SIZES = ((0, SECONDS, 1_000_000), (SECONDS, MILLIS, 1000), (MILLIS, MICROS, 1))
_DIGITS = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_MIN_DIGITS = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# polars' own parser takes what these shapes hold and reads it as Python does; all other text
# goes to Python, value by value. Never a format inferred from the data: it would depend on
# the neighbours.
_DAY, _CLOCK = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9})?",
)
_SHAPES = tuple(
    (f"^{_DAY}{mark}{_CLOCK}{zone}$", f"%Y-%m-%d{mark}%H:%M:%S%.f{code}")
    for zone, code in (("(?:Z|[+-][0-9]{2}:[0-9]{2})", "%#z"), ("", ""))
    for mark in "T "
)


def can_be_time(dtype: pl.DataType) -> bool:
    """Whether values of this type can be read as times."""
    return dtype.is_numeric() or dtype in (pl.Date, pl.Datetime, pl.String)


def to_utc(column: pl.Series) -> pl.Series:
    """The column as Datetime("us", "UTC"), under the same name; null where it is no time."""
    dtype = column.dtype
    if dtype == pl.String:
        return _from_text(column)
    if dtype.is_integer():
        return _from_integers(column)
    if dtype.is_numeric():
        return _from_floats(column)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return column.dt.convert_time_zone("UTC").cast(UTC_US)
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _within(us: pl.Expr, name: str) -> pl.Expr:
    return pl.when(us.is_between(MIN_US, MAX_US)).then(us).cast(UTC_US).alias(name)


def _from_integers(column: pl.Series) -> pl.Series:
    whole = column.cast(pl.Int64, strict=False)
    low, high = whole.min(), whole.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return whole.cast(UTC_US)
    # Times of one topic are of one size nearly always: no need to look at each then.
    for start, stop, scale in _SIZES:
        if start <= low and high < stop:
            return (whole * scale).cast(UTC_US)
    return _mixed_integers(whole)


def _mixed_integers(column: pl.Series) -> pl.Series:
    """Every value by its own size."""
    value = pl.col(column.name)

    def below(limit: int) -> pl.Expr:
        return (value < limit) & (value > -limit)

    us = (
        pl.when(below(SECONDS))
        .then(value * 1_000_000)
        .when(below(MILLIS))
        .then(value * 1000)
        .when(below(MICROS))
        .then(value)
        .otherwise(value // 1000)
    )
    return column.to_frame().select(_within(us, column.name)).to_series()


def _from_floats(column: pl.Series) -> pl.Series:
    value = pl.col(column.name)
    size = value.abs()
    # Rounded, for the nearest float to 1795352702.113 s lies just below it.
    us = (
        pl.when(size < SECONDS)
        .then((value * 1e6).round())
        .when(size < MILLIS)
        .then((value * 1e3).round())
        .when(size < MICROS)
        .then(value.floor())
        .otherwise((value / 1e3).floor())
    )
    floats = column.cast(pl.Float64).to_frame()
    whole = us.cast(pl.Int64, strict=False)
    return floats.select(_within(whole, column.name)).to_series()


def _from_text(column: pl.Series) -> pl.Series:
    missing = column.null_count()
    out = pl.Series(column.name, [None], dtype=UTC_US).new_from_index(0, len(column))
    text = column.to_frame()
    for shape, code in _SHAPES:
        if out.null_count() == missing:
            return out
        value = pl.col(column.name)
        parsed = value.str.to_datetime(code, time_unit="us", strict=False)
        if not code.endswith("z"):
            parsed = parsed.dt.replace_time_zone("UTC")
        us = pl.when(value.str.contains(shape)).then(parsed).cast(pl.Int64)
        found = text.select(_within(us, column.name)).to_series()
        out = (
            found
            if out.null_count() == len(out)
            else out.zip_with(out.is_not_null(), found)
        )
    rest = (out.is_null() & column.is_not_null()).arg_true()
    if not len(rest):
        return out
    us_of = {text: _one(text) for text in set(column.gather(rest).to_list())}
    values = [us_of[text] for text in column.gather(rest).to_list()]
    return out.scatter(rest, pl.Series(values, dtype=pl.Int64).cast(UTC_US))


def _one(text: str) -> int | None:
    """One text as µs since 1970; None if it is no time."""
    if _DIGITS.fullmatch(text):
        return _from_digits(text)
    try:
        when = datetime.fromisoformat(text)
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    delta = when - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _from_digits(text: str) -> int | None:
    if sum(char.isdigit() for char in text.partition(".")[0]) < _MIN_DIGITS:
        return None
    value = Fraction(text)
    for limit, scale in ((SECONDS, 1_000_000), (MILLIS, 1000), (MICROS, 1)):
        if abs(value) < limit:
            us = value * scale
            break
    else:
        us = value / 1000
    whole = us.numerator // us.denominator
    return whole if MIN_US <= whole <= MAX_US else None
