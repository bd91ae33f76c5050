"""Joins of a live frame with a table: reading the arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa

from streamlab.durations import fixed_span
from streamlab.errors import (
    ColumnNotFoundError,
    NotIncrementalError,
    RevisingFrameError,
    UsageError,
)
from streamlab.live import asking
from streamlab.plans import nodes
from streamlab.plans.exprs import check_row_wise
from streamlab.plans.tableindex import TableIndex

On = str | pl.Expr | Iterable[str | pl.Expr] | None
LARGE = (
    5_000  # rows of a table beyond which polars' own hash table costs more than ours
)
_OUTER = ("right", "full")
_HOW = ("inner", "left", "right", "full", "semi", "anti", "cross")


def as_table(value: Any) -> pl.DataFrame | None:
    """A table that does not change, or None: not one."""
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if isinstance(value, pd.DataFrame):
        return pl.from_pandas(value)
    if isinstance(value, pa.Table):
        found = pl.from_arrow(value)
        return found if isinstance(found, pl.DataFrame) else None
    return value if isinstance(value, pl.DataFrame) else None


def static_join(
    frame: Any,
    table: pl.DataFrame,
    *,
    how: str,
    left_on: On,
    right_on: On,
    validate: str,
    **options: Any,
) -> nodes.StaticJoin | nodes.OuterJoin:
    """The step; the arguments are `LiveFrame.join`'s."""
    _check_how(how, validate)
    if how in _OUTER and frame.key:
        raise RevisingFrameError(
            f"{frame.name} corrects its rows, so which rows of the table have a match would be "
            f"taken back as well. {asking.once(frame)}Over what is kept, at every tick: "
            f'.recompute(lambda lf: lf.join(table.lazy(), on=…, how="{how}")).'
        )
    if how == "cross":
        many = table.height > 1
        keys: dict[str, Any] = {}
    else:
        keys = _keys(frame, table, left_on, right_on, how)
        double = bool(table.select(keys["right_on"]).is_duplicated().any())
        if double and validate == "m:1":
            raise UsageError(
                'join(…, validate="m:1"): the table has several rows of one key: '
                f"{_first_double(table, keys['right_on'])}."
            )
        many = double and how in {"inner", "left"}
    if many and frame.key:
        raise RevisingFrameError(
            f"{frame.name} corrects its rows, and each would become several: the table has "
            "more than one row of a key. Make them one: table.unique(…); or join what is "
            "closed."
        )
    given = {name: value for name, value in options.items() if value is not None}
    if how == "cross":
        given = {"suffix": given["suffix"]}
    index = _index(table, keys)
    if how in _OUTER:
        return nodes.OuterJoin(frame.plan, table, how, {**keys, **given}, index)  # type: ignore[arg-type]  # checked above
    return nodes.StaticJoin(frame.plan, table, how, {**keys, **given}, many, index)  # type: ignore[arg-type]  # checked above


def static_asof(
    frame: Any,
    table: pl.DataFrame,
    *,
    on: tuple[str, str],
    by: tuple[tuple[str, str], ...],
    tolerance: Any,
    strategy: str,
    suffix: str,
) -> nodes.StaticJoin:
    """The step of `join_asof` with a table."""
    ours, theirs = on
    for name in (theirs, *(right for _, right in by)):
        if name not in table.columns:
            raise ColumnNotFoundError.among(name, "the table", table.columns)
    options: dict[str, Any] = {
        "left_on": ours,
        "right_on": theirs,
        "strategy": strategy,
        "suffix": suffix,
    }
    if by:
        options["by_left"] = [left for left, _ in by]
        options["by_right"] = [right for _, right in by]
    if tolerance is not None:
        whole = isinstance(tolerance, (int, float))
        options["tolerance"] = (
            tolerance if whole else f"{fixed_span(tolerance, 'tolerance').us}us"
        )
    table = table.drop_nulls(theirs).sort(theirs, maintain_order=True)
    return nodes.StaticJoin(frame.plan, table, "asof", options)


def _check_how(how: str, validate: str) -> None:
    if how not in _HOW:
        raise UsageError(f"join(…, how={how!r}): there are {', '.join(_HOW)}.")
    if validate in {"1:1", "1:m"}:
        raise NotIncrementalError(
            f'join(…, validate="{validate}") would need each key to come once in the whole '
            'stream. "m:1" asks it of the table alone.'
        )
    if validate not in {"m:m", "m:1"}:
        raise UsageError(f'join(…, validate={validate!r}): there are "m:m", "m:1".')


def _keys(
    frame: Any, table: pl.DataFrame, left_on: On, right_on: On, how: str
) -> dict[str, Any]:
    left, right = _list(left_on), _list(right_on)
    if not left or len(left) != len(right):
        raise UsageError(
            f'join(…, how="{how}") on which columns? Write on="symbol", or left_on= and '
            "right_on= with as many columns each."
        )
    for key in left:
        if isinstance(key, pl.Expr):
            check_row_wise(key, verb="join", schema=frame.schema)
    for key in right:
        if isinstance(key, str) and key not in table.columns:
            raise ColumnNotFoundError.among(key, "the table", table.columns)
    return {"left_on": left, "right_on": right}


def _index(table: pl.DataFrame, keys: dict[str, Any]) -> TableIndex | None:
    """For a large table, if columns are joined with columns."""
    every = [*keys.get("left_on", ()), *keys.get("right_on", ())]
    if table.height < LARGE or not all(isinstance(key, str) for key in every):
        return None
    if not every or not TableIndex.fits(table, keys["right_on"]):
        return None
    return TableIndex(table, keys["right_on"])


def _list(on: On) -> list[str | pl.Expr]:
    if on is None:
        return []
    return [on] if isinstance(on, (str, pl.Expr)) else list(on)


def _first_double(table: pl.DataFrame, keys: list[str | pl.Expr]) -> str:
    found = table.select(keys)
    return repr(found.filter(found.is_duplicated()).row(0))
