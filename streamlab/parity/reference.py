"""Payloads as columns by Python's own `json`, one record at a time: the second opinion of parity.

No code of `formats/` takes part. Slow on purpose: each record is read alone, so that nothing can
depend on its neighbours. The rules are those that `formats/json.py` states.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NoReturn

import polars as pl
from polars._typing import PolarsDataType

from streamlab.changes import HIDDEN
from streamlab.errors import UnknownNameError
from streamlab.records import META

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES_US = (-62_135_596_800_000_000, 253_402_300_799_999_999)  # years 1 to 9999
_DAY_US = 86_400_000_000
_DEEPEST, _DEEPEST_TEXT, _MANY_FIELDS = 1024, 200, 32
_SHALLOW = 50  # levels that fit into Python's own limit, wherever we are called from
_INTEGERS: Mapping[type[pl.DataType], tuple[int, int]] = {
    pl.Int8: (-(2**7), 2**7),
    pl.Int16: (-(2**15), 2**15),
    pl.Int32: (-(2**31), 2**31),
    pl.Int64: (-(2**63), 2**63),
    pl.UInt8: (0, 2**8),
    pl.UInt16: (0, 2**16),
    pl.UInt32: (0, 2**32),
    pl.UInt64: (0, 2**64),
}


class _RejectedError(Exception):
    """The record is not taken."""


class _Object(list[tuple[str, object]]):
    """An object's fields in the order of the document, repeated ones included."""

    def first(self, name: str) -> object:
        return next((value for key, value in self if key == name), None)


def decode_reference(
    values: Sequence[bytes | None],
    schema: pl.Schema,
    format: str,  # noqa: A002
) -> tuple[pl.DataFrame, list[int]]:
    """Decode payloads one by one.

    Args:
        values: payloads; None is a tombstone.
        schema: shown columns.
        format: "json", "text" or "raw".

    Returns:
        One row per record kept, and the places of those rejected.
    """
    rows: list[list[object]] = []
    rejected: list[int] = []
    for place, payload in enumerate(values):
        try:
            rows.append(_record(payload, schema, format))
        except (_RejectedError, ValueError, RecursionError):
            rejected.append(place)
    columns = [
        _column(name, dtype, [row[at] for row in rows])
        for at, (name, dtype) in enumerate(schema.items())
    ]
    return pl.DataFrame(columns), rejected


def _record(payload: bytes | None, schema: pl.Schema, form: str) -> list[object]:
    """The values of one record, in the order of the schema.

    Raises:
        ValueError, _RejectedError: it is not taken.
    """
    if payload is None:
        raise _RejectedError
    if form == "raw":
        return [payload]
    if form == "text":
        return [payload.decode()]
    if form != "json":
        raise UnknownNameError.among("format", form, ("json", "raw", "text"))
    text = any(map(_holds_text, schema.values()))
    risky = text and (b"\\" in payload or payload.count(b":") > _MANY_FIELDS)
    deep = _depth(payload)
    if deep > (_DEEPEST_TEXT if risky else _DEEPEST):
        raise _RejectedError
    with _room_to_recurse(deep):
        record = _document(payload)
        return [
            _fit(record.first(_field(name)), dtype, inside=False)
            for name, dtype in schema.items()
        ]


def _document(payload: bytes) -> _Object:
    found = json.loads(
        payload.decode(),
        object_pairs_hook=_Object,
        parse_float=_real,
        parse_int=_whole,
        parse_constant=_no_constant,
    )
    if not isinstance(found, _Object):
        raise _RejectedError
    _refuse_half_characters(found)
    return found


def _real(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _RejectedError
    return value


def _whole(digits: str) -> int | float:
    value = int(digits) if len(digits) < 60 else 2**200
    if not -(2**127) <= value < 2**128:
        raise _RejectedError
    return value


def _no_constant(_: str) -> NoReturn:
    raise _RejectedError


def _refuse_half_characters(value: object) -> None:
    if isinstance(value, str):
        value.encode()  # a lone surrogate can't be: UnicodeEncodeError is a ValueError
    elif isinstance(value, _Object):
        for name, item in value:
            name.encode()
            _refuse_half_characters(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_half_characters(item)


def _fit(value: object, dtype: pl.DataType, *, inside: bool) -> object:
    """The value as the column takes it; times as µs since 1970."""
    if value is None:
        return None
    match dtype:
        case pl.String():
            found: object = _text(value)
        case pl.Boolean():
            found = _exactly(isinstance(value, bool), value)
        case pl.Float64() | pl.Float32():
            found = _float(value, single=isinstance(dtype, pl.Float32))
        case pl.List() | pl.Struct():
            found = _nested(value, dtype)
        case pl.Datetime() | pl.Date() if not inside:
            found = _time(_text(value), dtype)
        case pl.Enum() | pl.Categorical() if not inside:
            found = _word(_text(value), dtype)
        case _:
            found = _integer(value, *_INTEGERS[type(dtype)])
    return found


def _word(text: str, dtype: pl.DataType) -> object:
    return _exactly(not isinstance(dtype, pl.Enum) or text in dtype.categories, text)


def _integer(value: object, low: int, past: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < past:
        raise _RejectedError
    return value


def _exactly(fits: bool, value: object) -> object:  # noqa: FBT001
    if not fits:
        raise _RejectedError
    return value


def _float(value: object, *, single: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _RejectedError
    found = float(value)
    if single and math.isinf(pl.Series([found]).cast(pl.Float32)[0]):
        raise _RejectedError
    return found


def _nested(value: object, dtype: pl.List | pl.Struct) -> object:
    if isinstance(dtype, pl.Struct):
        if not isinstance(value, _Object):
            raise _RejectedError
        return {
            each.name: _fit(value.first(each.name), _instance(each.dtype), inside=True)
            for each in dtype.fields
        }
    if isinstance(value, _Object) or not isinstance(value, list):
        raise _RejectedError
    return [_fit(item, _instance(dtype.inner), inside=True) for item in value]


def _text(value: object, *, quoted: bool = False) -> str:
    """Text as it is; everything else as its JSON text."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if quoted else value
    if isinstance(value, _Object):
        fields = (
            f"{json.dumps(name, ensure_ascii=False)}: {_text(item, quoted=True)}"
            for name, item in value
        )
        return f"{{{', '.join(fields)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_text(item, quoted=True) for item in value)}]"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return json.dumps(value)


def _time(text: str, dtype: pl.DataType) -> int:
    us = (
        _digits_us(text)
        if re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII)
        else _iso_us(text)
    )
    if not _TIMES_US[0] <= us <= _TIMES_US[1]:
        raise _RejectedError
    if isinstance(dtype, pl.Date) and us % _DAY_US:
        raise _RejectedError
    return us


def _iso_us(text: str) -> int:
    when = datetime.fromisoformat(text)
    try:
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        return (aware.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except OverflowError:
        raise _RejectedError from None


def _digits_us(text: str) -> int:
    """A number that counts from 1970, its unit told by its size; nine digits at least."""
    if len(re.sub(r"\D", "", text.partition(".")[0])) < 9:
        raise _RejectedError
    value = Fraction(text)
    for limit, scale in ((10**11, 10**6), (10**14, 10**3), (10**17, 1)):
        if abs(value) < limit:
            return math.floor(value * scale)
    return math.floor(value / 1000)


def _field(column: str) -> str:
    """The payload's field of a column: one `_` less, if it is called like one of ours."""
    ours = {*META, *HIDDEN}
    return column[:-1] if column not in ours and column.rstrip("_") in ours else column


def _column(name: str, dtype: pl.DataType, values: list[object]) -> pl.Series:
    if isinstance(dtype, pl.Date):
        times = pl.Series(name, values, dtype=pl.Int64)
        return (times // _DAY_US).cast(pl.Int32).cast(pl.Date)
    if not isinstance(dtype, pl.Datetime):
        return pl.Series(name, values, dtype=dtype)
    times = pl.Series(name, values, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    if dtype.time_zone is None:
        return times.dt.replace_time_zone(None).cast(dtype)
    return times.dt.convert_time_zone(dtype.time_zone).cast(dtype)


def _holds_text(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return _holds_text(_instance(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return any(_holds_text(_instance(each.dtype)) for each in dtype.fields)
    # Times and words are read as text first.
    return isinstance(dtype, (pl.String, pl.Date, pl.Datetime, pl.Enum, pl.Categorical))


def _instance(dtype: PolarsDataType) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


def _depth(payload: bytes) -> int:
    """How deeply lists and objects are nested, brackets inside texts left out."""
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", payload, flags=re.DOTALL)
    now = deepest = 0
    for mark in re.findall(rb"[\[\]{}]", bare):
        now += 1 if mark in b"[{" else -1
        deepest = max(deepest, now)
    return deepest


@contextmanager
def _room_to_recurse(deep: int) -> Iterator[None]:
    """What reads a record recurses; Python's limit is raised for a deep record, and only then."""
    if deep <= _SHALLOW:
        yield
        return
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
