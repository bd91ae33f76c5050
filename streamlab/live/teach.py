"""For teaching: an answer against the expected one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from streamlab.changes import WINDOW_START
from streamlab.errors import ColumnNotFoundError

TOLERANCE = 1e-9


class Verdict:
    """What `check` found; shown as one line, true or false in conditions."""

    def __init__(self, *, right: bool, text: str) -> None:
        """`text` is what the learner reads."""
        self.right = right
        self.text = text

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'✔' if self.right else '✘'} {self.text}"


def check(
    answer: Any,
    expected: pl.DataFrame,
    on: str | Iterable[str] | None = None,
    hint: str = "",
) -> Verdict:
    """Compare an answer with the expected frame, row by row.

    Args:
        answer: a live frame or a polars frame; further columns don't matter. A window's
            `window_start` answers to the name of the expected frame's time column.
        expected: what it should be.
        on: columns that name a row; None compares rows in order.
        hint: added where the answer is wrong.
    """
    frame = answer if isinstance(answer, pl.DataFrame) else answer.df
    keys = [on] if isinstance(on, str) else list(on or ())
    frame = _renamed(frame, expected)
    for name in expected.columns:
        if name not in frame.columns:
            raise ColumnNotFoundError.among(name, "the answer", frame.columns)
    mine = _ordered(frame.select(expected.columns), keys)
    theirs = _ordered(expected, keys)
    found = _rows_differ(mine, theirs, keys) or _values_differ(mine, theirs, keys)
    if found is None:
        return Verdict(right=True, text=f"right: {theirs.height} rows agree.")
    return Verdict(right=False, text=f"{found}{f' Hint: {hint}.' if hint else ''}")


def _renamed(frame: pl.DataFrame, expected: pl.DataFrame) -> pl.DataFrame:
    missing = [
        name
        for name, dtype in expected.schema.items()
        if name not in frame.columns and dtype.is_temporal()
    ]
    if len(missing) == 1 and WINDOW_START in frame.columns:
        return frame.rename({WINDOW_START: missing[0]})
    return frame


def _ordered(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Rows by key, times of one unit: names and values are compared, not encodings."""
    times = pl.selectors.datetime()
    frame = frame.with_columns(times.dt.cast_time_unit("us"))
    zoned = [
        n for n, t in frame.schema.items() if isinstance(t, pl.Datetime) and t.time_zone
    ]
    frame = frame.with_columns(
        pl.col(n).dt.convert_time_zone("UTC").dt.replace_time_zone(None) for n in zoned
    )
    return frame.sort(keys) if keys else frame


def _rows_differ(
    mine: pl.DataFrame, theirs: pl.DataFrame, keys: list[str]
) -> str | None:
    if not keys:
        same = mine.height == theirs.height
        return None if same else f"{mine.height} rows, expected {theirs.height}."
    absent = theirs.join(mine, on=keys, how="anti", nulls_equal=True)
    extra = mine.join(theirs, on=keys, how="anti", nulls_equal=True)
    if absent.height:
        return (
            f"{absent.height} rows are missing, the first: {absent.row(0, named=True)}."
        )
    if extra.height:
        return f"{extra.height} rows too many, the first: {extra.row(0, named=True)}."
    if mine.height != theirs.height:
        return f"{mine.height} rows, expected {theirs.height}: some keys come twice."
    return None


def _values_differ(
    mine: pl.DataFrame, theirs: pl.DataFrame, keys: list[str]
) -> str | None:
    for name in (n for n in theirs.columns if n not in keys):
        both = pl.DataFrame({"mine": mine[name], "theirs": theirs[name]}, strict=False)
        if theirs[name].dtype.is_float():
            apart = (pl.col("mine") - pl.col("theirs")).abs()
            same = (apart <= TOLERANCE * (1 + pl.col("theirs").abs())) | (
                pl.col("mine").eq_missing(pl.col("theirs"))
            )
        else:
            same = pl.col("mine").eq_missing(pl.col("theirs"))
        wrong = both.with_row_index("at").filter(~same.fill_null(value=False))
        if wrong.height:
            at = wrong.item(0, "at")
            where = theirs.row(at, named=True)
            row = {key: where[key] for key in keys} or f"row {at}"
            return (
                f"{name} is wrong in {wrong.height} of {theirs.height} rows, the first at "
                f"{row}: {wrong.item(0, 'mine')!r}, expected {wrong.item(0, 'theirs')!r}."
            )
    return None
