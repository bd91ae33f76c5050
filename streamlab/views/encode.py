"""Columns of a frame as raw buffers, which a page reads without an Arrow library.

Per column one message part says how to read its buffers. What arrives in the page:

| column | in the page |
| --- | --- |
| floats, Decimal | numbers (a Decimal as the nearest double); NaN stays NaN |
| integers | numbers; a value beyond ±2^53 as its decimal text, so that no digit is wrong |
| Boolean | true, false |
| String, Categorical, Enum | text |
| Datetime, Date | ms since 1970 UTC, with fractions; a naive column is taken as UTC |
| Duration | ms |
| Time, Binary, List, Array, Struct, Object | text, as a table shows it |

Null is null everywhere. Dictionaries travel with every block: ten rows name at most ten
texts, and no state has to be kept in step between kernel and page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import polars as pl

SAFE = 2**53  # integers up to here are exact in a page's numbers
_SMALL: dict[pl.DataType, str] = {
    pl.Int8(): "i1",
    pl.Int16(): "i2",
    pl.Int32(): "i4",
    pl.UInt8(): "u1",
    pl.UInt16(): "u2",
    pl.UInt32(): "u4",
    pl.Float32(): "f4",
    pl.Float64(): "f8",
}
_TEXTUAL = (pl.String, pl.Categorical, pl.Enum)


class Column(TypedDict):
    """How a page reads one column.

    Attributes:
        name: of the column.
        dt: type of the buffer: a letter (i, u, f) and the bytes per value.
        dict: the values are positions in this list; a position past its end is null.
        valid: a second buffer follows, one bit a row (lowest first), 0 for null.
        big: positions and decimal texts of integers that a number can't hold.
    """

    name: str
    dt: str
    dict: NotRequired[list[Any]]
    valid: NotRequired[bool]
    big: NotRequired[tuple[list[int], list[str]]]


class Block(NamedTuple):
    """Rows on the wire: how to read each column, and the buffers in their order."""

    columns: list[Column]
    buffers: list[bytes]


def encode(frame: pl.DataFrame) -> Block:
    """The frame's rows for a page."""
    columns: list[Column] = []
    buffers: list[bytes] = []
    for series in frame:
        column, parts = _encode_column(series)
        columns.append(column)
        buffers += parts
    return Block(columns, buffers)


def simple(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every column that a page has no type for turned into text."""
    return frame.with_columns(
        _as_text(series) for series in frame if _has_no_page_type(series.dtype)
    )


def page_values(series: pl.Series) -> list[Any]:
    """What `encode` makes the page hold, as Python values; NaN as null, for JSON."""
    dtype = series.dtype
    if dtype.is_temporal() and dtype != pl.Time:
        series = _milliseconds(series)
    elif dtype.is_decimal():
        series = series.cast(pl.Float64)
    elif _has_no_page_type(dtype):
        series = _as_text(series)
    if series.dtype.is_float():
        finite = series.is_finite()
        return series.set(~finite.fill_null(value=True), None).to_list()
    if dtype.is_integer():
        return [_exact(value) for value in series.to_list()]
    return series.to_list()


def _exact(value: int | None) -> int | str | None:
    return str(value) if value is not None and abs(value) > SAFE else value


def _has_no_page_type(dtype: pl.DataType) -> bool:
    return (
        dtype.is_nested()
        or dtype in (pl.Binary, pl.Object, pl.Time, pl.Null)
        or not (
            dtype.is_numeric()
            or dtype.is_temporal()
            or dtype == pl.Boolean
            or dtype in _TEXTUAL
        )
    )


def _as_text(series: pl.Series) -> pl.Series:
    if series.dtype in (pl.Time, pl.Null):
        return series.cast(pl.String)
    texts = [None if value is None else cell_text(value) for value in series.to_list()]
    return pl.Series(series.name, texts, pl.String)


def cell_text(value: object) -> str:
    """A nested or binary value as a table shows it: JSON where it fits, else Python's words."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _encode_column(series: pl.Series) -> tuple[Column, list[bytes]]:
    dtype = series.dtype
    if dtype == pl.Boolean:
        return _coded(series.name, series.cast(pl.UInt8), [False, True])
    if dtype in _TEXTUAL or _has_no_page_type(dtype):
        return _text(series if dtype in _TEXTUAL else _as_text(series))
    if dtype.is_temporal():
        return _numbers(_milliseconds(series), "f8")
    if dtype in _SMALL:
        return _numbers(series, _SMALL[dtype])
    column, parts = _numbers(series.cast(pl.Float64), "f8")
    if dtype.is_integer() and (big := _too_big(series))[0]:
        column["big"] = big
    return column, parts


def _numbers(series: pl.Series, dt: str) -> tuple[Column, list[bytes]]:
    column: Column = {"name": series.name, "dt": dt}
    kind = np.dtype(f"<{dt}")
    if not series.null_count():
        return column, [series.to_numpy().astype(kind, copy=False).tobytes()]
    column["valid"] = True
    bits = np.packbits(series.is_not_null().to_numpy(), bitorder="little")
    filled = series.fill_null(0).to_numpy()
    return column, [filled.astype(kind, copy=False).tobytes(), bits.tobytes()]


def _too_big(series: pl.Series) -> tuple[list[int], list[str]]:
    beyond = series > SAFE
    if series.dtype.is_signed_integer():
        beyond |= series < -SAFE
    where = beyond.fill_null(value=False).arg_true()
    return where.to_list(), [str(value) for value in series.gather(where).to_list()]


def _milliseconds(series: pl.Series) -> pl.Series:
    if isinstance(series.dtype, pl.Duration):
        return series.dt.total_nanoseconds(fractional=True) / 1e6
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_unit == "ns":
        return series.to_physical().cast(pl.Float64) / 1e6
    return series.dt.epoch("us").cast(pl.Float64) / 1e3


def _text(series: pl.Series) -> tuple[Column, list[bytes]]:
    texts = series.cast(pl.String)
    words = texts.drop_nulls().unique(maintain_order=True)
    codes = texts.cast(pl.Enum(words)).to_physical()
    return _coded(series.name, codes, words.to_list())


def _coded(
    name: str, codes: pl.Series, words: Sequence[Any]
) -> tuple[Column, list[bytes]]:
    # The code past the last word is null, so 255 words still fit one byte.
    width = next(size for size in (1, 2, 4) if len(words) < 256**size)
    values: npt.NDArray[np.unsignedinteger[Any]] = (
        codes.cast(pl.UInt32).fill_null(len(words)).to_numpy().astype(f"<u{width}")
    )
    return {"name": name, "dt": f"u{width}", "dict": list(words)}, [values.tobytes()]
