"""A plan's steps, and what they do to polars frames.

The steps themselves are in `kinds`; here is how a row-wise one is applied to a frame, and which
columns a plan has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import polars as pl

from streamlab.changes import CLOSED, PARTIAL, WINDOW_END, WINDOW_START
from streamlab.errors import ColumnNotFoundError, UsageError
from streamlab.plans.chains import (
    chain,
    is_keyed,
    is_known,
    is_ordered,
    key_columns,
    label,
    others,
    reviser_of,
    source_of,
    steps,
    where,
    window_of,
)
from streamlab.plans.combined import combined_schema, with_table
from streamlab.plans.kinds import (
    Closed,
    Drop,
    Errors,
    Explode,
    Filter,
    GroupBy,
    InOrder,
    Join,
    Late,
    Merge,
    Node,
    OuterJoin,
    Recompute,
    Rename,
    Revising,
    RowWise,
    Running,
    Select,
    Source,
    Stateful,
    StaticJoin,
    Trail,
    TwoSided,
    Unique,
    Unnest,
    Window,
    WithColumns,
)
from streamlab.plans.steady import SIGNS, steady

__all__ = [
    "TRAIL_SCHEMA",
    "Closed",
    "Drop",
    "Errors",
    "Explode",
    "Filter",
    "GroupBy",
    "InOrder",
    "Join",
    "Late",
    "Merge",
    "Node",
    "OuterJoin",
    "Recompute",
    "Rename",
    "Revising",
    "RowWise",
    "Running",
    "Select",
    "Source",
    "Stateful",
    "StaticJoin",
    "Trail",
    "TwoSided",
    "Unique",
    "Unnest",
    "Window",
    "WithColumns",
    "chain",
    "is_keyed",
    "is_known",
    "is_ordered",
    "key_columns",
    "label",
    "others",
    "output_schema",
    "reviser_of",
    "row_wise",
    "source_of",
    "steps",
    "where",
    "window_dtype",
    "window_of",
]

_MARK = "__mark"
_UTC = pl.Datetime("us", "UTC")
TRAIL_SCHEMA = pl.Schema(
    {
        "event_time": _UTC,
        "arrived": _UTC,
        "partition": pl.Int32(),
        "row": pl.String(),
        "watermark": _UTC,
        "seen": _UTC,
    }
)


def row_wise(node: RowWise, lf: pl.LazyFrame, keep: Sequence[str]) -> pl.LazyFrame:
    """Apply one row-wise step to `lf`.

    Args:
        node: the step; its parent is not looked at.
        lf: what the parent has, plus the columns `keep`.
        keep: columns that the step neither sees nor loses (`changes.HIDDEN`, or hidden copies
            of a window's key): `select` keeps them, `pl.all()` and other selectors pass over
            them.

    Divisions by constants are made `steady`, so that no bit hangs on the number of rows.
    """
    match node:
        case Filter():
            found = _filter(node, lf, keep)
        case Select() | WithColumns():
            found = _project(node, lf, keep)
        case Drop():
            found = lf.drop(node.columns)
        case Rename():
            found = lf.rename(dict(node.mapping))
        case Explode():
            found = lf.explode(node.columns)
        case StaticJoin():
            found = with_table(node, lf)
        case _:
            found = lf.unnest(node.columns)
    return found


def output_schema(node: Node, source_schema: pl.Schema) -> pl.Schema:
    """The shown columns of `node`, found by running it over empty frames.

    Args:
        node: the plan; of `late` and `errors` these are the columns of the rows themselves.
        source_schema: the source's shown columns.

    Raises:
        ColumnNotFoundError: a step names a column that is not there.
        UsageError: polars refuses a step; its words are in the message.
    """
    schema = source_schema
    for each in chain(node):
        try:
            if isinstance(each, TwoSided):
                schema = combined_schema(
                    each, schema, _other_schema(each, source_schema)
                )
            else:
                schema = _step_schema(each, schema)
        except pl.exceptions.ColumnNotFoundError as error:
            name = re.search(r'"([^"]*)"', str(error))
            missing = name[1] if name else str(error)
            raise ColumnNotFoundError.among(missing, _above(each), schema) from error
        except pl.exceptions.PolarsError as error:
            words = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            raise UsageError(f"{label(each)} of {_above(each)}: {words}") from error
    return schema


def window_dtype(window: Window) -> pl.DataType:
    """The type of `window_start` and `window_end`.

    Int64 for an integer `every`, otherwise Datetime("us") in the window's time zone.
    """
    if isinstance(window.every, int):
        return pl.Int64()
    return pl.Datetime("us", window.time_zone)


def _filter(node: Filter, lf: pl.LazyFrame, keep: Sequence[str]) -> pl.LazyFrame:
    tests = _steady(node.predicates, lf, keep)
    if not any(_is_many(each) for each in tests):
        return lf.filter(*tests)
    test = pl.all_horizontal(*tests).alias(_MARK)
    marked = _apart(lf, keep, lambda shown: shown.select(test))
    both = pl.concat([lf, marked.select(_MARK)], how="horizontal")
    return both.filter(_MARK).drop(_MARK)


def _project(
    node: Select | WithColumns, lf: pl.LazyFrame, keep: Sequence[str]
) -> pl.LazyFrame:
    exprs = _steady(node.exprs, lf, keep)

    def step(shown: pl.LazyFrame) -> pl.LazyFrame:
        if isinstance(node, Select):
            return shown.select(*exprs)
        return shown.with_columns(*exprs)

    if any(_is_many(each) for each in exprs):
        return _apart(lf, keep, step)
    if isinstance(node, Select):
        return lf.select(*exprs, *keep)
    return step(lf)


def _steady(
    exprs: Sequence[pl.Expr], lf: pl.LazyFrame, keep: Sequence[str]
) -> Sequence[pl.Expr]:
    if not any(sign in str(each) for each in exprs for sign in SIGNS):
        return exprs
    hidden = set(keep)
    schema = lf.collect_schema()
    shown = pl.Schema({n: t for n, t in schema.items() if n not in hidden})
    return [steady(each, shown) for each in exprs]


def _apart(
    lf: pl.LazyFrame,
    keep: Sequence[str],
    step: Callable[[pl.LazyFrame], pl.LazyFrame],
) -> pl.LazyFrame:
    """A step whose selectors must not meet the columns `keep`, which stand beside it."""
    if not keep:
        return step(lf)
    return pl.concat([step(lf.drop(keep)), lf.select(keep)], how="horizontal")


def _is_many(expr: pl.Expr) -> bool:
    """Whether the expression has a selector in it ("pl.all()", "pl.col('a', 'b')")."""
    return expr.meta.has_multiple_outputs()


def _above(node: Node) -> str:
    """Where a step looks for its columns."""
    return where(node) if isinstance(node, Source) else where(node.parent)


def _other_schema(node: TwoSided, source_schema: pl.Schema) -> pl.Schema:
    """The columns of the second side."""
    source = source_of(node.other)
    known = source_schema if source is source_of(node) else source.schema
    if known is None:
        raise UsageError(
            f"{source.name} has no record yet, so the columns of {label(node)} are not known."
        )
    return output_schema(node.other, known)


def _step_schema(node: Node, schema: pl.Schema) -> pl.Schema:
    if isinstance(node, (Source, Late, Errors, InOrder)):
        return schema
    if isinstance(node, Stateful):
        return _stateful_schema(node, schema)
    if isinstance(node, Closed):
        return pl.Schema({n: t for n, t in schema.items() if n != CLOSED})
    if isinstance(node, (Explode, Unnest)):
        _check_nested(node, schema)
    lf = pl.LazyFrame(schema=schema)
    lf = node.fn(lf) if isinstance(node, Recompute) else row_wise(node, lf, ())
    return lf.collect().schema


def _stateful_schema(node: Stateful, schema: pl.Schema) -> pl.Schema:
    """Of a step that an operator runs, found by running polars over empty frames."""
    lf = pl.LazyFrame(schema=schema)
    match node:
        case Window():
            return _window_schema(node, schema)
        case GroupBy():
            _check_columns(node.by, schema)
            lf = lf.group_by(*node.by).agg(*node.aggs)
        case Unique():
            _check_columns(node.subset, schema)
        case Running():
            lf = getattr(lf, node.verb)(*node.exprs)
        case OuterJoin():
            lf = lf.join(node.table.lazy(), how=node.how, **node.options)
        case Trail():
            return TRAIL_SCHEMA
    return lf.collect().schema


def _check_nested(node: Explode | Unnest, schema: pl.Schema) -> None:
    """Found out here; polars does so only once there is a row."""
    is_list = isinstance(node, Explode)
    for name in node.columns:
        found = schema.get(name)
        fits = isinstance(found, (pl.List, pl.Array) if is_list else pl.Struct)
        if found is not None and not fits:
            wanted = "a list" if is_list else "a struct"
            raise pl.exceptions.SchemaError(f"{name!r} is {found}, not {wanted}")


def _window_schema(node: Window, schema: pl.Schema) -> pl.Schema:
    """Of `by` and the aggregations as polars gives them, between a window's own columns."""
    _check_columns((*node.by, *([node.on] if node.on else [])), schema)
    # Grouped by something even without `by`, so that aggregations give a row a group.
    lf = pl.LazyFrame(schema=schema).group_by(*node.by, pl.lit(0).alias(_MARK))
    inner = lf.agg(*node.aggs).drop(_MARK).collect().schema
    start = window_dtype(node)
    return pl.Schema(
        {
            WINDOW_START: start,
            WINDOW_END: start,
            **inner,
            CLOSED: pl.Boolean(),
            PARTIAL: pl.Boolean(),
        }
    )


def _check_columns(names: Sequence[str], schema: pl.Schema) -> None:
    for name in names:
        if name not in schema:
            raise pl.exceptions.ColumnNotFoundError(f'"{name}"')
