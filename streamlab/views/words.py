"""Numbers, sizes, ages and cell values as every display writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl

from streamlab.views.encode import cell_text

CELL_CHARACTERS = 80
_AGES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m"))
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_COUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_TYPES = (
    ("Datetime", "datetime"),
    ("Float", "f"),
    ("UInt", "u"),
    ("Int", "i"),
    ("String", "str"),
    ("Boolean", "bool"),
    ("Date", "date"),
    ("Time", "time"),
    ("Duration", "duration"),
    ("Categorical", "cat"),
)


def number(value: float) -> str:
    """A count with its thousands apart: 1 204."""
    return f"{value:,.0f}".replace(",", " ")


def count(value: float) -> str:
    """A count that may be large: 1 204, 188.3 M."""
    for unit, letter in _COUNTS:
        if value >= unit:
            return f"{value / unit:.1f} {letter}"
    return number(value)


def rate(value: float) -> str:
    """Records per second: 0.3, 12, 1 240."""
    return f"{value:.1f}" if 0 < value < 9.95 else number(value)


def size(value: float) -> str:
    """A size in bytes: 21.4 GB."""
    for unit, name in _SIZES:
        if value >= unit:
            return (
                f"{value / unit:.3g} {name}"
                if value < 1000 * unit
                else f"{number(value / unit)} {name}"
            )
    return f"{number(value)} B"


def share_of(part: float, whole: float) -> str:
    """A size beside its limit, in the limit's unit: 0.4 of 256 MB."""
    for unit, name in _SIZES:
        if whole >= unit:
            return f"{part / unit:.1f} of {whole / unit:.3g} {name}"
    return f"{number(part)} of {number(whole)} B"


def age(seconds: float) -> str:
    """A span of time, in its largest unit: 0.3 s, 12 s, 4 m, 2 h, 7 d."""
    for unit, letter in _AGES:
        if seconds >= unit:
            return f"{seconds / unit:.0f} {letter}"
    return f"{seconds:.1f} s" if abs(seconds) < 9.95 else f"{seconds:.0f} s"


def clock_time(ms: float) -> str:
    """The time of day, UTC: 10:01:25."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S")


def shorten(text: str, most: int = CELL_CHARACTERS) -> str:
    """One line of at most `most` characters; line breaks become spaces."""
    line = " ".join(text.split()) if any(c in text for c in "\r\n\t") else text
    return line if len(line) <= most else f"{line[: most - 1]}…"


def type_name(dtype: object) -> str:
    """A type as polars' own tables write it: datetime[ms, UTC], f64, str."""
    if isinstance(dtype, pl.Datetime):
        zone = f", {dtype.time_zone}" if dtype.time_zone else ""
        return f"datetime[{dtype.time_unit.replace('us', 'μs')}{zone}]"
    if isinstance(dtype, pl.List):
        return f"list[{type_name(dtype.inner)}]"
    if isinstance(dtype, pl.Struct):
        return f"struct[{len(dtype.fields)}]"
    text = str(dtype)
    for long, short in _TYPES:
        if text.startswith(long):
            return f"{short}{text.removeprefix(long)}"
    return text.lower()


def cells(series: pl.Series) -> list[str | None]:
    """A column's values as a table shows them; None for null.

    Times are UTC or in the column's own zone, as polars prints them.
    """
    if series.dtype.is_float():
        return _floats(series.to_list())
    return [
        None if value is None else shorten(_cell(value)) for value in _values(series)
    ]


def _floats(values: list[float | None]) -> list[str | None]:
    """Six digits that count, and as many after the point in every row of the column."""
    plain = [_cell(value) for value in values if value is not None]
    places = max((len(text.partition(".")[2]) for text in plain), default=0)
    if any("e" in text for text in plain):
        return [None if value is None else _cell(value) for value in values]
    return [
        None
        if value is None
        else f"{value:.{places}f}"
        if math.isfinite(value)
        else _cell(value)
        for value in values
    ]


def _values(series: pl.Series) -> Iterator[Any]:
    dtype = series.dtype
    if isinstance(dtype, pl.Datetime):
        yield from series.dt.to_string(
            f"%Y-%m-%d %H:%M:%S{_fraction(series)}"
        ).to_list()
    elif isinstance(dtype, pl.Duration):
        yield from series.dt.to_string("polars").to_list()
    else:
        yield from series.to_list()


def _fraction(series: pl.Series) -> str:
    """As many digits after the seconds as some value of the column needs."""
    rest = (series.dt.nanosecond().max() or 0, series.dt.nanosecond())
    if not rest[0]:
        return ""
    for every, digits in ((1_000_000, "%.3f"), (1_000, "%.6f")):
        if not (rest[1] % every != 0).any():
            return digits
    return "%.9f"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return (
            f"{value:.6g}"
            if math.isfinite(value) and abs(value) < 1e6
            else _wide(value)
        )
    return cell_text(value)


def _wide(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "NaN")
    return f"{value:.2f}" if abs(value) < 1e15 else f"{value:.6g}"
