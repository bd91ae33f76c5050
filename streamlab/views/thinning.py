"""Fewer rows than a frame holds, for a picture that looks the same.

A page's cost follows the rows on screen, so above a budget the kernel sends fewer. Three ways:
*extremes* for lines and areas over x: per pixel column and series the first, last, lowest and
highest row (M4: the drawn line is the same); *sample* for points: every k-th; *newest* for all
else, where a part would change the meaning of a sum or a bar.

Extremes are taken in bins that start at whole multiples of their width, counted from zero. So
a new batch changes the newest bins only; the extremes of (extremes + batch) are those of all
rows; and two neighbouring bins join into one of double width without a look at the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import polars as pl

LINE_ROWS, POINT_ROWS = 5_000, 2_000
_LINES = frozenset({"line", "area", "trail"})
_POINTS = frozenset({"point", "circle", "square", "tick"})
_SERIES = (
    "color",
    "stroke",
    "fill",
    "detail",
    "strokeDash",
    "opacity",
    "shape",
    "size",
)
_PIXELS = 640  # no chart of usual width gains from more bins than this
_ID, _BIN = "__id", "__bin"
_NUMBERS = (pl.Datetime, pl.Date, pl.Duration)


class Plan(NamedTuple):
    """What to do with one frame's rows when there are too many.

    Attributes:
        how: see the module.
        rows: how many a page is given at most.
        x: the column along the picture, for extremes.
        ys: the columns whose extremes count.
        by: the columns that tell series apart.
        axes: columns drawn along a continuous axis, where null and NaN have no place.
    """

    how: Literal["newest", "sample", "extremes"]
    rows: int
    x: str = ""
    ys: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()


def plan_for(units: Sequence[dict[str, Any]], *, plain: bool, rows: int | None) -> Plan:
    """The plan for a data set drawn by these units of a compiled chart.

    Args:
        units: as Vega-Lite writes them, with `mark` and `encoding`.
        plain: the rows are drawn as they are; nothing in the chart transforms them.
        rows: the budget; None for the usual one of the marks.
    """
    marks = {_mark(unit) for unit in units}
    costly = bool(marks & {*_POINTS, "area"}) or any(map(_has_points, units))
    budget = rows or (POINT_ROWS if costly else LINE_ROWS)
    drawn = [_axis_fields(unit) for unit in units]
    axes = tuple(sorted({field for fields in drawn for field in fields if field}))
    newest = Plan("newest", budget, axes=axes)
    if not plain or not marks or not all(all(fields) for fields in drawn):
        return newest
    xs = {fields[0] for fields in drawn}
    if marks <= {*_LINES, *_POINTS} and marks & _LINES and len(xs) == 1:
        if any(map(_is_stacked, units)):
            return newest  # stacks add up rows of equal x, and extremes differ in x
        ys = tuple(sorted({fields[1] for fields in drawn}))
        by = tuple(sorted({field for unit in units for field in _series(unit)}))
        return Plan("extremes", budget, xs.pop(), ys, by, axes)
    return Plan("sample", budget, axes=axes) if marks <= _POINTS else newest


def _mark(unit: dict[str, Any]) -> str:
    mark = unit["mark"]
    return str(mark["type"] if isinstance(mark, dict) else mark)


def _has_points(unit: dict[str, Any]) -> bool:
    return isinstance(unit["mark"], dict) and bool(unit["mark"].get("point"))


def _axis_fields(unit: dict[str, Any]) -> tuple[str, str]:
    """The columns drawn along x and y as they are, "" where it is anything else."""
    encoding = unit.get("encoding", {})
    return _axis_field(encoding.get("x")), _axis_field(encoding.get("y"))


def _axis_field(field: Any) -> str:
    if not isinstance(field, dict) or not isinstance(field.get("field"), str):
        return ""
    if any(field.get(key) for key in ("aggregate", "bin", "timeUnit")):
        return ""
    if field.get("type") not in ("quantitative", "temporal"):
        return ""
    return str(field["field"]).replace("\\", "")


def _series(unit: dict[str, Any]) -> list[str]:
    fields: list[Any] = []
    for channel in _SERIES:
        defs = unit.get("encoding", {}).get(channel)
        fields += defs if isinstance(defs, list) else [defs]
    return [
        field["field"].replace("\\", "")
        for field in fields
        if isinstance(field, dict) and isinstance(field.get("field"), str)
    ]


def _is_stacked(unit: dict[str, Any]) -> bool:
    if _mark(unit) != "area" or not _series(unit):
        return False
    stack = unit["encoding"]["y"].get("stack", "zero")
    return bool(stack)


def fits(plan: Plan, schema: pl.Schema) -> bool:
    """Whether a frame of this schema has what the plan needs: its columns, numbers along x."""
    if plan.how != "extremes":
        return True
    needed = (plan.x, *plan.ys, *plan.by)
    along = (schema.get(name) for name in (plan.x, *plan.ys))
    return all(name in schema for name in needed) and all(
        dtype is not None and (dtype.is_numeric() or isinstance(dtype, _NUMBERS))
        for dtype in along
    )


def bin_width(frame: pl.DataFrame, plan: Plan) -> float:
    """The width of a bin, a power of two, with which the extremes of `frame` fit the plan.

    Returns:
        In units of x (a time counts in its own unit); 0.0 if x does not spread.
    """
    x = _position(plan.x)
    low, high = frame.select(x.min().alias("low"), x.max().alias("high")).row(0)
    if low is None or not 0 < high - low < math.inf:
        return 0.0
    series = frame.select(plan.by).n_unique() if plan.by else 1
    per_bin = (2 + 2 * len(plan.ys)) * series
    bins = max(1, min(_PIXELS, plan.rows // per_bin))
    return float(2.0 ** math.ceil(math.log2((high - low) / bins)))


def extremes(frame: pl.DataFrame, plan: Plan, width: float) -> pl.Series:
    """Which rows are first, last, lowest or highest in their bin and series.

    Args:
        frame: rows in order of arrival.
        plan: with `x`, `ys` and `by`.
        width: of a bin, from `bin_width`.

    Returns:
        Row numbers, rising. A row whose x is null has no place in the picture and is left out.
    """
    rows = (
        frame.lazy()
        .select(
            *dict.fromkeys((*plan.by, plan.x)),
            *(
                _finite(y, frame.schema[y]).alias(f"__y{at}")
                for at, y in enumerate(plan.ys)
            ),
        )
        .with_row_index(_ID)
        .with_columns((_position(plan.x) / width).floor().alias(_BIN))
        .filter(pl.col(_BIN).is_finite())
    )
    number, x = pl.col(_ID), _position(plan.x)
    picks = [number.get(x.arg_min()), number.get(x.arg_max())]
    for at in range(len(plan.ys)):
        y = pl.col(f"__y{at}")
        picks += [number.get(y.arg_min()), number.get(y.arg_max())]
    groups = rows.group_by(_BIN, *plan.by).agg(
        pick.alias(f"__p{at}") for at, pick in enumerate(picks)
    )
    chosen = groups.select(f"__p{at}" for at in range(len(picks))).collect()
    return pl.concat(chosen.get_columns(), rechunk=True).drop_nulls().unique().sort()


def _position(x: str) -> pl.Expr:
    return pl.col(x).to_physical().cast(pl.Float64)


def _finite(column: str, dtype: pl.DataType) -> pl.Expr:
    value = pl.col(column).to_physical()
    return value.fill_nan(None) if dtype.is_float() else value
