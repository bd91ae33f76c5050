"""Rows to JSON payloads, one object a row.

Exact: what is written is read back to the same value under the frame's own schema. Times go as
ISO text in UTC with microseconds ("2026-11-22T13:05:02.113000Z"), dates as "2026-11-22".
"""

from __future__ import annotations

import io

import polars as pl

from streamlab.errors import EncodeError
from streamlab.formats.fields import field_of

_WAY_OUT = {
    pl.Binary: 'it as text: pl.col({0!r}).bin.encode("base64")',
    pl.Duration: "it as a number: pl.col({0!r}).dt.total_microseconds()",
    pl.Decimal: "it as text: pl.col({0!r}).cast(pl.String)",
    pl.Object: "columns of polars' own types",
}


def encode(frame: pl.DataFrame) -> list[bytes]:
    """One payload per row.

    Raises:
        EncodeError: a type or a value that JSON has no word for, or two columns of one field.
    """
    fields = [field_of(column) for column in frame.columns]
    for column, field in zip(frame.columns, fields, strict=True):
        if fields.count(field) > 1:
            raise EncodeError(
                f"column {column!r} and another one would both become the field {field!r}."
            )
    if not frame.width:
        return [b"{}"] * frame.height
    ready = frame.select(
        _ready(pl.col(column), frame[column], column).alias(field)
        for column, field in zip(frame.columns, fields, strict=True)
    )
    out = io.BytesIO()
    ready.write_ndjson(out)
    return out.getvalue().split(b"\n")[:-1]


def _ready(value: pl.Expr, series: pl.Series, column: str) -> pl.Expr:
    """The column in types that polars writes as they should be."""
    dtype = series.dtype
    for refused, way_out in _WAY_OUT.items():
        if dtype == refused:
            raise EncodeError(
                f"column {column!r} is {dtype}, which JSON has no word for. "
                f"Send {way_out.format(column)}."
            )
    if dtype.is_float() and series.len() and not series.is_finite().all():
        raise EncodeError(
            f"column {column!r} holds NaN or infinity, which JSON has no word for. "
            f"As nulls: pl.when(pl.col({column!r}).is_finite()).then({column!r})."
        )
    if isinstance(dtype, pl.Datetime):
        utc = value.dt.convert_time_zone("UTC") if dtype.time_zone else value
        digits = "%.9f" if dtype.time_unit == "ns" else "%.6f"
        return utc.dt.strftime(f"%Y-%m-%dT%H:%M:%S{digits}Z")
    return _nested(value, series, column)


def _nested(value: pl.Expr, series: pl.Series, column: str) -> pl.Expr:
    dtype = series.dtype
    if isinstance(dtype, pl.Struct):
        fields = [
            _ready(
                value.struct.field(f.name),
                series.struct.field(f.name),
                f"{column}.{f.name}",
            )
            for f in dtype.fields
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    if isinstance(dtype, pl.Array):
        return _nested(value.arr.to_list(), series.arr.to_list(), column)
    if isinstance(dtype, pl.List):
        return value.list.eval(_ready(pl.element(), series.explode(), f"{column}[]"))
    return value
