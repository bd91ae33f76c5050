"""Whether a live frame equals the batch answer, and where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import polars as pl

from streamlab.changes import HIDDEN
from streamlab.parity.batch import Expected

_SHARE = 1e-9  # float addition is not associative: sums differ by this share of what was added


class Difference(NamedTuple):
    """The first row that is not the same; prints as a clause for the user.

    Attributes:
        row: which, in words.
        column: which; "" if the row itself is missing or should not be there.
        live, expected: the two values.
    """

    row: str
    column: str
    live: object
    expected: object

    def __str__(self) -> str:
        if not self.column:
            return (
                f"{self.row}: {self.live} in the live frame, {self.expected} in batch"
            )
        return (
            f"{self.row}, column {self.column!r}: {_value(self.live)} in the live frame, "
            f"{_value(self.expected)} in batch"
        )


def compare(
    live: pl.DataFrame,
    expected: Expected,
    key: Sequence[str] = (),
    *,
    forgotten: int = 0,
) -> Difference | None:
    """The first difference between a live frame and the batch answer, or None.

    Integers and text must be equal; floats may differ by 1e-9 of what they were made of.

    Args:
        live: the live frame's rows; hidden columns are passed over, key columns that are not
            shown may stand beside the others.
        expected: of `evaluate`.
        key: of a keyed frame, whose rows may stand in any order; () compares row by row.
        forgotten: rows that retention dropped from the live frame, oldest first.
    """
    live = live.drop(HIDDEN, strict=False)
    wrong = _schemas(live, expected, key)
    if wrong is not None:
        return wrong
    if key:
        pair = _align_keys(live, expected, key, forgotten)
    else:
        pair = _align_rows(live, expected, forgotten)
    if isinstance(pair, Difference):
        return pair
    return _first_difference(pair, key)


class _Pair(NamedTuple):
    """Rows of both frames, the same row at the same place; and what 1e-9 is a share of."""

    live: pl.DataFrame
    expected: pl.DataFrame
    scale: pl.DataFrame
    keys: pl.DataFrame
    first: int = 0


def _schemas(
    live: pl.DataFrame, expected: Expected, key: Sequence[str]
) -> Difference | None:
    """Whether columns and types are those of the batch answer."""
    wanted = {n: t for n, t in expected.frame.schema.items() if n not in expected.state}
    beside = {name for name in key if name not in expected.frame.columns}
    found = {
        n: t
        for n, t in live.schema.items()
        if n not in beside and n not in expected.state
    }
    if list(found) != list(wanted):
        return Difference("the columns", "", list(found), list(wanted))
    for name, dtype in wanted.items():
        if found[name] != dtype:
            return Difference("the types", name, found[name], dtype)
    return None


def _align_rows(
    live: pl.DataFrame, expected: Expected, forgotten: int
) -> _Pair | Difference:
    length = max(expected.frame.height - forgotten, 0)
    count = min(live.height, length)
    names = _compared(expected)
    pair = _Pair(
        live.select(names).head(count),
        expected.frame.select(names).slice(forgotten, count),
        expected.scale.slice(forgotten, count),
        pl.DataFrame(),
        forgotten,
    )
    if live.height == length or (live.height < length and expected.prefix):
        return pair
    # A row that is missing, or too much, shows where it should stand.
    found = _first_difference(pair, ())
    if found is not None:
        return found
    first = (
        live[count:] if live.height > length else expected.frame[forgotten + count :]
    )[:1]
    return Difference(
        f"row {forgotten + count} {_shown(first)}",
        "",
        f"{live.height} rows",
        f"{length} rows",
    )


def _align_keys(
    live: pl.DataFrame, expected: Expected, key: Sequence[str], forgotten: int
) -> _Pair | Difference:
    keys = list(key)
    mine = live.select(keys).with_row_index("__live")
    theirs = expected.keys.with_row_index("__batch")
    both = theirs.join(mine, on=keys, how="full", nulls_equal=True, coalesce=True)
    both = both.sort(keys)
    twice = mine.filter(mine.select(keys).is_duplicated())
    if twice.height:
        return Difference(f"row {_shown(twice.select(keys)[:1])}", "", "twice", "once")
    added = both.filter(pl.col("__batch").is_null())
    if added.height:
        return Difference(
            f"row {_shown(added.select(keys)[:1])}", "", "there", "missing"
        )
    gone = both.filter(pl.col("__live").is_null())
    if gone.height > forgotten:
        return Difference(
            f"row {_shown(gone.select(keys)[:1])}", "", "missing", "there"
        )
    both = both.drop_nulls(["__live", "__batch"])
    names = _compared(expected)
    here, there = both["__live"].to_list(), both["__batch"].to_list()
    return _Pair(
        live.select(names)[here],
        expected.frame.select(names)[there],
        expected.scale[there] if expected.scale.width else expected.scale,
        both.select(keys),
    )


def _compared(expected: Expected) -> list[str]:
    return [name for name in expected.frame.columns if name not in expected.state]


def _first_difference(pair: _Pair, key: Sequence[str]) -> Difference | None:
    first: tuple[int, str] | None = None
    for name in pair.expected.columns:
        same = _same(pair.live[name], pair.expected[name], _scale(pair.scale, name))
        wrong = (~same).arg_max() if not same.all() else None
        if wrong is not None and (first is None or wrong < first[0]):
            first = (wrong, name)
    if first is None:
        return None
    at, name = first
    row = pair.keys[at] if key else pair.expected[at]
    return Difference(
        f"row {_shown(row) if key else f'{at + pair.first} {_shown(row)}'}",
        name,
        pair.live[name][at],
        pair.expected[name][at],
    )


def _scale(scale: pl.DataFrame, name: str) -> pl.Series | None:
    if not scale.width:
        return None
    return scale[name] if name in scale.columns else scale.sum_horizontal()


def _same(live: pl.Series, expected: pl.Series, scale: pl.Series | None) -> pl.Series:
    """Row by row, whether the values are equal."""
    if live.dtype.is_nested() and _holds_floats(live.dtype):
        sizes = [0.0] * len(live) if scale is None else scale.to_list()
        rows = zip(live.to_list(), expected.to_list(), sizes, strict=True)
        return pl.Series([_alike(*row) for row in rows], dtype=pl.Boolean)
    equal = live.eq_missing(expected)
    if not live.dtype.is_float() or equal.all():
        return equal
    size = (
        expected.abs()
        if scale is None
        else scale.zip_with(
            scale >= expected.abs().fill_null(0.0).fill_nan(0.0), expected.abs()
        )
    )
    near = (live - expected).abs() <= size * _SHARE
    finite = live.is_finite() & expected.is_finite()
    return equal | (near & finite).fill_null(value=False)


def _alike(live: object, expected: object, size: float) -> bool:
    """Two values of a nested column."""
    if isinstance(live, float) and isinstance(expected, float):
        if not (math.isfinite(live) and math.isfinite(expected)):
            return live == expected or (math.isnan(live) and math.isnan(expected))
        return abs(live - expected) <= _SHARE * max(size, abs(expected))
    if isinstance(live, list) and isinstance(expected, list):
        pairs = zip(live, expected, strict=False)
        return len(live) == len(expected) and all(_alike(a, b, size) for a, b in pairs)
    if isinstance(live, dict) and isinstance(expected, dict):
        return all(_alike(live[name], expected[name], size) for name in expected)
    return live == expected


def _holds_floats(dtype: pl.DataType) -> bool:
    return "Float" in repr(dtype)


def _shown(row: pl.DataFrame) -> str:
    """One row, short."""
    values = row.row(0, named=True)
    text = ", ".join(f"{name}={_value(value)}" for name, value in values.items())
    return text if len(text) <= 120 else f"{text[:119]}…"


def _value(value: object) -> str:
    return str(value) if isinstance(value, datetime) else repr(value)
