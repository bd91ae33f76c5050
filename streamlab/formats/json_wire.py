"""What a schema's columns look like while JSON is parsed, and the way from there to the schema.

polars' parser knows few types; the others are read as one of those and converted after, value
by value, so that a value that does not fit rejects its own record and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.errors import UsageError
from streamlab.formats.fields import field_of
from streamlab.formats.times import to_utc

# Read as they are, also inside lists and structs.
PLAIN = (pl.Int64, pl.Float64, pl.String, pl.Boolean)
_NARROW = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
_WORDS = (pl.Categorical, pl.Enum, pl.Date, pl.Datetime)
_DAY_US = 86_400_000_000


class Wire(NamedTuple):
    """One schema, as the parser sees it.

    Attributes:
        schema: column → type, as the user has it.
        fields: field in the payload → type that it is parsed as, in the same order.
    """

    schema: pl.Schema
    fields: pl.Schema

    @classmethod
    def of(cls, schema: Mapping[str, pl.DataType]) -> Wire:
        """Prepare a schema.

        Raises:
            UsageError: a type that JSON can't be read as, or two columns of one field.
        """
        return _wire(tuple(schema.items()))


def leaves(dtype: pl.DataType) -> Iterable[pl.DataType]:
    """The types at the ends of a nested type; a plain type is its own."""
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from leaves(_instance(field.dtype))
    elif isinstance(dtype, pl.List):
        yield from leaves(_instance(dtype.inner))
    else:
        yield dtype


def finish(parsed: pl.DataFrame, wire: Wire) -> tuple[pl.DataFrame, dict[int, str]]:
    """Give parsed columns their names and types.

    Returns:
        The frame, all rows still in it, and row → reason for those that do not fit.
    """
    if wire.fields == wire.schema:
        return parsed, {}
    bad: dict[int, str] = {}
    columns = []
    for series, (column, dtype) in zip(parsed, wire.schema.items(), strict=True):
        done = series if series.dtype == dtype else _convert(series, dtype)
        if done.null_count() > series.null_count():
            wrong = np.flatnonzero((done.is_null() & series.is_not_null()).to_numpy())
            for row in wrong.tolist():
                reason = f"{series.name}: {series[row]!r} is not {_named(dtype)}"
                bad.setdefault(row, reason)
        columns.append(done.alias(column))
    return pl.DataFrame(columns), bad


@lru_cache(maxsize=64)
def _wire(items: tuple[tuple[str, pl.DataType], ...]) -> Wire:
    fields: dict[str, pl.DataType] = {}
    for column, dtype in items:
        field = field_of(column)
        if field in fields:
            raise UsageError(f"schema: two columns for the field {field!r}.")
        fields[field] = _wire_type(column, dtype)
    return Wire(pl.Schema(items), pl.Schema(fields))


def _wire_type(column: str, dtype: pl.DataType) -> pl.DataType:
    if dtype in PLAIN or dtype == pl.UInt64:
        return dtype
    if dtype in _NARROW:
        return pl.Int64()
    if dtype == pl.Float32:
        return pl.Float64()
    if isinstance(dtype, _WORDS) and getattr(dtype, "time_unit", "us") != "ns":
        return pl.String()
    nested = isinstance(dtype, (pl.List, pl.Struct))
    if nested and all(leaf in PLAIN for leaf in leaves(dtype)) and _filled(dtype):
        return dtype
    inside = [str(leaf) for leaf in leaves(dtype) if leaf not in PLAIN]
    named = f"{dtype} (inside it: {', '.join(inside)})" if nested and inside else dtype
    raise UsageError(
        f"schema: column {column!r} is {named}, which JSON is not read as. Integers, floats, "
        "String, Boolean, Date, Datetime (ms, us), Enum and Categorical are; inside List and "
        "Struct: Int64, Float64, String, Boolean. pl.String keeps any field as its JSON text."
    )


def _filled(dtype: pl.DataType) -> bool:
    """Whether every struct in it has at least one field; the parser needs that."""
    if isinstance(dtype, pl.Struct):
        inner = [_instance(field.dtype) for field in dtype.fields]
        return bool(inner) and all(_filled(each) for each in inner)
    return _filled(_instance(dtype.inner)) if isinstance(dtype, pl.List) else True


def _instance(dtype: object) -> pl.DataType:
    # polars' own types say that a class may stand for its only instance.
    made = dtype() if isinstance(dtype, type) else dtype
    if not isinstance(made, pl.DataType):
        raise UsageError(f"schema: {dtype!r} is no polars type.")
    return made


def _convert(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Value by value; what does not fit becomes null."""
    if isinstance(dtype, pl.Datetime):
        times = to_utc(series)
        zone = dtype.time_zone
        moved = (
            times.dt.convert_time_zone(zone)
            if zone
            else times.dt.replace_time_zone(None)
        )
        return moved.cast(dtype)
    if dtype == pl.Date:
        us = to_utc(series).cast(pl.Int64)
        return (us // _DAY_US).set(us % _DAY_US != 0, None).cast(pl.Int32).cast(pl.Date)
    narrowed = series.cast(dtype, strict=False)
    if dtype == pl.Float32:
        return narrowed.set(narrowed.is_infinite(), None)
    return narrowed


def _named(dtype: pl.DataType) -> str:
    if dtype == pl.Date:
        return "a date"
    return "a time" if isinstance(dtype, pl.Datetime) else str(dtype)
