"""The steps of a plan, as values: what is done to a topic, not how.

A plan is a chain (`node.parent` up to a `Source`); equal to nothing but itself. The engine runs it
batch by batch, `parity` runs it once over everything, and both must give the same frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from streamlab.changes import WINDOW_START
from streamlab.durations import Span


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
    for each in chain(node)[len(chain(window)) :]:
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
