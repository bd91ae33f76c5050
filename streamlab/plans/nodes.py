"""The steps of a plan, as values: what is done to a topic, not how.

A plan is a chain (`node.parent` up to a `Source`); equal to nothing but itself. The engine runs it
batch by batch, `parity` runs it once over everything, and both must give the same frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from streamlab.changes import CLOSED, PARTIAL, WINDOW_END, WINDOW_START
from streamlab.durations import Span
from streamlab.errors import ColumnNotFoundError, UsageError


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """A topic's records, decoded.

    Attributes:
        name: as the user says it ("trades").
        schema: shown columns, in order; None before the first record told it.
        time: column that holds event time; None is the broker's timestamp.
    """

    name: str
    schema: pl.Schema | None = None
    time: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Filter:
    """Rows for which every predicate is true (null is not)."""

    parent: Node
    predicates: tuple[pl.Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Select:
    """Only these columns."""

    parent: Node
    exprs: tuple[pl.Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class WithColumns:
    """These columns added, or put in place of those of the same name."""

    parent: Node
    exprs: tuple[pl.Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Drop:
    """All columns but these."""

    parent: Node
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Rename:
    """Columns under other names; `mapping` is old → new."""

    parent: Node
    mapping: Mapping[str, str]


@dataclass(frozen=True, eq=False, slots=True)
class Explode:
    """One row per element of these list columns."""

    parent: Node
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Unnest:
    """The fields of these struct columns as columns."""

    parent: Node
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """Tumbling windows `[start, start + every)` over event time, aggregated per key.

    Attributes:
        every: length; an integer for an integer `on` column, and only then.
        by: further key columns, of the parent.
        on: column of event time; None is the source's own (`changes.TIME`).
        offset: added to the starts that truncating gives; an integer with an integer `every`.
        time_zone: where days and longer begin; `window_start` is shown in it.
        lateness: how far a row may trail the newest of its partition; None is never late.
            An integer with an integer `every`.
        max_ahead: how far a row's event time may be ahead of the broker's timestamp; not
            looked at with an integer `on`.
        aggs: aggregations, each with the name it shall have.
    """

    parent: Node
    every: Span | int
    by: tuple[str, ...]
    on: str | None
    offset: Span | int
    time_zone: str
    lateness: Span | int | None
    max_ahead: Span
    aggs: tuple[pl.Expr, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Closed:
    """Each window's row once, when the watermark has passed its end."""

    parent: Window


@dataclass(frozen=True, eq=False, slots=True)
class Late:
    """A row for each (record, window) that came after the window had closed."""

    parent: Window


@dataclass(frozen=True, eq=False, slots=True)
class Errors:
    """A row for each record that could not be decoded."""

    parent: Source


@dataclass(frozen=True, eq=False, slots=True)
class Recompute:
    """`fn` of all that the parent keeps, anew at every tick."""

    parent: Node
    fn: Callable[[pl.LazyFrame], pl.LazyFrame]


RowWise = Filter | Select | WithColumns | Drop | Rename | Explode | Unnest
Node = Source | RowWise | Window | Closed | Late | Errors | Recompute


def chain(node: Node) -> list[Node]:
    """The nodes from the source down to `node`, both included."""
    return list(_up(node))[::-1]


def source_of(node: Node) -> Source:
    """The source at the top of the chain."""
    *_, top = _up(node)
    if not isinstance(top, Source):  # pragma: no cover - the types exclude it
        raise TypeError(top)
    return top


def window_of(node: Node) -> Window | None:
    """The window that revises the rows of `node`: its nearest, with only row-wise steps between.

    None if its rows never change.
    """
    for each in _up(node):
        if isinstance(each, Window):
            return each
        if not isinstance(each, RowWise):
            return None
    return None


def is_keyed(node: Node) -> tuple[str, ...]:
    """The key columns of a frame whose rows are revised; () for one whose rows never change.

    Columns go by the names they have after renaming. A column that was dropped, or never
    selected, is still part of the key: the engine keeps it out of sight.
    """
    window = window_of(node)
    if window is None:
        return ()
    key = (WINDOW_START, *window.by)
    for each in chain(node):
        if isinstance(each, Rename):
            key = tuple(each.mapping.get(name, name) for name in key)
    return key


def label(node: Node) -> str:
    """The step itself in a word or two ("filter", "window 10s by symbol")."""
    if isinstance(node, Source):
        return node.name
    if isinstance(node, Window):
        every = node.every if isinstance(node.every, int) else node.every.text
        by = f" by {', '.join(node.by)}" if node.by else ""
        return f"window {every}{by}"
    return _LABELS[type(node)]


def steps(node: Node) -> str:
    """The whole plan in a few words ("trades → filter → window 10s by symbol")."""
    return " → ".join(label(each) for each in chain(node))


def where(node: Node) -> str:
    """What a message calls the frame ("orders (2 steps: filter, with_columns)")."""
    source, *rest = (label(each) for each in chain(node))
    if not rest:
        return source
    count = f"{len(rest)} step{'s' if len(rest) > 1 else ''}"
    return f"{source} ({count}: {', '.join(rest)})"


def row_wise(node: RowWise, lf: pl.LazyFrame, keep: Sequence[str]) -> pl.LazyFrame:
    """Apply one row-wise step to `lf`.

    Args:
        node: the step; its parent is not looked at.
        lf: what the parent has, plus the columns `keep`.
        keep: columns that the step neither sees nor loses (`changes.HIDDEN`, or hidden copies
            of a window's key): `select` keeps them, `pl.all()` and other selectors pass over
            them.
    """
    if isinstance(node, Filter):
        return _filter(node, lf, keep)
    if isinstance(node, (Select, WithColumns)):
        return _project(node, lf, keep)
    if isinstance(node, Drop):
        return lf.drop(node.columns)
    if isinstance(node, Rename):
        return lf.rename(dict(node.mapping))
    if isinstance(node, Explode):
        return lf.explode(node.columns)
    return lf.unnest(node.columns)


def fused(
    nodes: Sequence[RowWise], batch: pl.DataFrame, keep: Sequence[str]
) -> pl.LazyFrame:
    """Several row-wise steps, the first one first, over one batch.

    A batch of one row is given a twin on its way: polars divides a column by a constant by way
    of the reciprocal, but a single row exactly, and the last bit must not depend on the cut.
    """
    alone = batch.height == 1
    lf = pl.concat([batch, batch]).lazy() if alone else batch.lazy()
    if alone:
        lf, keep = lf.with_row_index(_TWIN), [*keep, _TWIN]
    for node in nodes:
        lf = row_wise(node, lf, keep)
    if not alone:
        return lf
    # Compared with its minimum (always 0), as polars would move a plain == 0 up to the source.
    return lf.filter(pl.col(_TWIN) == pl.col(_TWIN).min()).drop(_TWIN)


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
    """The type of `window_start` and `window_end`: Int64 for an integer `every`, otherwise
    Datetime("us") in the window's time zone."""
    if isinstance(window.every, int):
        return pl.Int64()
    return pl.Datetime("us", window.time_zone)


_TWIN = "__twin"
_MARK = "__mark"
_LABELS: Mapping[type, str] = {
    Filter: "filter",
    Select: "select",
    WithColumns: "with_columns",
    Drop: "drop",
    Rename: "rename",
    Explode: "explode",
    Unnest: "unnest",
    Closed: "closed",
    Late: "late",
    Errors: "errors",
    Recompute: "recompute",
}


def _up(node: Node) -> Iterator[Node]:
    at: Node | None = node
    while at is not None:
        yield at
        at = None if isinstance(at, Source) else at.parent


def _filter(node: Filter, lf: pl.LazyFrame, keep: Sequence[str]) -> pl.LazyFrame:
    if not any(_is_many(each) for each in node.predicates):
        return lf.filter(*node.predicates)
    marked = _apart(lf, keep, lambda shown: shown.select(_mark(node)))
    return pl.concat([lf, marked.select(_MARK)], how="horizontal").filter(_MARK).drop(_MARK)


def _mark(node: Filter) -> pl.Expr:
    return pl.all_horizontal(*node.predicates).alias(_MARK)


def _project(
    node: Select | WithColumns, lf: pl.LazyFrame, keep: Sequence[str]
) -> pl.LazyFrame:
    def step(shown: pl.LazyFrame) -> pl.LazyFrame:
        if isinstance(node, Select):
            return shown.select(*node.exprs)
        return shown.with_columns(*node.exprs)

    if any(_is_many(each) for each in node.exprs):
        return _apart(lf, keep, step)
    if isinstance(node, Select):
        return lf.select(*node.exprs, *keep)
    return step(lf)


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


def _step_schema(node: Node, schema: pl.Schema) -> pl.Schema:
    if isinstance(node, (Source, Late, Errors)):
        return schema
    if isinstance(node, Window):
        return _window_schema(node, schema)
    if isinstance(node, Closed):
        return pl.Schema({n: t for n, t in schema.items() if n != CLOSED})
    if isinstance(node, (Explode, Unnest)):
        _check_nested(node, schema)
    lf = pl.LazyFrame(schema=schema)
    lf = node.fn(lf) if isinstance(node, Recompute) else row_wise(node, lf, ())
    return lf.collect().schema


def _check_nested(node: Explode | Unnest, schema: pl.Schema) -> None:
    """polars finds these out only once there is a row."""
    wanted, kinds = "a list", (pl.List, pl.Array)
    if isinstance(node, Unnest):
        wanted, kinds = "a struct", (pl.Struct, pl.Struct)
    for name in node.columns:
        found = schema.get(name)
        if found is not None and not isinstance(found, kinds):
            raise pl.exceptions.SchemaError(f"{name!r} is {found}, not {wanted}")


def _window_schema(node: Window, schema: pl.Schema) -> pl.Schema:
    """Of `by` and the aggregations as polars gives them, between a window's own columns."""
    for name in (*node.by, *([node.on] if node.on else [])):
        if name not in schema:
            raise pl.exceptions.ColumnNotFoundError(f'"{name}"')
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
