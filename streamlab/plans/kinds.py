"""The steps of a plan, as values: what is done to a topic, not how.

A plan is a chain (`node.parent` up to a `Source`), where a step with two inputs has a second one
(`node.other`); equal to nothing but itself. The engine runs it batch by batch, `parity` runs it once
over everything, and both must give the same frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from streamlab.durations import Span
from streamlab.plans.tableindex import TableIndex


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
class StaticJoin:
    """Each row joined with a table that does not change; rows keep their order.

    Attributes:
        table: the right side; for "asof" sorted by its time.
        how: as polars' `join`, or "asof" for its `join_asof`.
        options: polars' further arguments (`left_on`, `right_on`, `suffix` …), as they are.
        many: whether a row may become several.
        index: where a large table has each key; None to look through all of it.
    """

    parent: Node
    table: pl.DataFrame
    how: Literal["inner", "left", "semi", "anti", "cross", "asof"]
    options: Mapping[str, Any]
    many: bool = False
    index: TableIndex | None = None


@dataclass(frozen=True, eq=False, slots=True)
class OuterJoin:
    """The rows joined with a table that does not change, and its rows without a match so far.

    A row of the table is there until the first match for it comes.

    Attributes:
        table: the right side.
        how: as polars' `join`.
        options: polars' further arguments (`left_on`, `right_on`, `suffix` …), as they are.
        index: where a large table has each key; None to look through all of it.
    """

    parent: Node
    table: pl.DataFrame
    how: Literal["right", "full"]
    options: Mapping[str, Any]
    index: TableIndex | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """Windows over event time, aggregated per key.

    Tumbling `[start, start + every)`, hopping `[start, start + period)` at every `every`, or
    sessions: rows of a key less than `every` apart.

    Attributes:
        every: from one start to the next, or a session's gap; an integer for an integer `on`
            column, and only then.
        by: further key columns, of the parent.
        on: column of event time; None is the source's own (`changes.TIME`).
        offset: added to the starts that truncating gives; an integer with an integer `every`.
        time_zone: where days and longer begin; `window_start` is shown in it.
        lateness: how far a row may trail the newest of its partition; None is never late.
            An integer with an integer `every`.
        max_ahead: how far a row's event time may be ahead of the broker's timestamp; not
            looked at with an integer `on`.
        aggs: aggregations, each with the name it shall have.
        period: a window's length, if it is not `every`; of the same kind.
        session: whether `every` is the gap of sessions.
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
    period: Span | int | None = None
    session: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class GroupBy:
    """All records there have been, aggregated per key.

    Attributes:
        by: key columns, of the parent.
        aggs: aggregations, each with the name it shall have.
        ttl: a key leaves when event time has gone on for so long since its newest row.
        compacted: the aggregations are each column's last value, and a tombstone of the key
            deletes its row.
    """

    parent: Node
    by: tuple[str, ...]
    aggs: tuple[pl.Expr, ...]
    ttl: Span | None = None
    compacted: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Unique:
    """The first row of each key, or of each key within a time.

    Attributes:
        subset: key columns; all that are shown, if there are none.
        within: rows of a key less than this apart are the same; None is for ever.
    """

    parent: Node
    subset: tuple[str, ...]
    within: Span | None = None


@dataclass(frozen=True, eq=False, slots=True)
class InOrder:
    """The rows in the order of event time, topic, partition, offset.

    Attributes:
        lateness: how far a row may trail the newest of its partition.
        max_ahead: how far a row's event time may be ahead of the broker's timestamp.
    """

    parent: Node
    lateness: Span
    max_ahead: Span


@dataclass(frozen=True, eq=False, slots=True)
class Running:
    """Columns made by functions that look back (`shift`, `cum_sum` …) over rows in order.

    Attributes:
        exprs: as for `WithColumns`, `Select` or `Filter`.
        verb: which of these.
    """

    parent: Node
    exprs: tuple[pl.Expr, ...]
    verb: Literal["with_columns", "select", "filter"] = "with_columns"


@dataclass(frozen=True, eq=False, slots=True)
class Join:
    """Rows of two frames in order, joined by time.

    Attributes:
        parent: the left side, in order.
        other: the right side, in order; of the same source or of another.
        kind: "asof": each left row with the nearest right row. "within": with every right row
            whose event time is at most `tolerance` away.
        by: pairs of key columns, left and right.
        tolerance: how far apart the two event times may be.
        strategy: of "asof": "backward", "forward" or "nearest".
        how: "left" or "inner".
        suffix: of right columns whose names the left has too.
    """

    parent: Node
    other: Node
    kind: Literal["asof", "within"]
    by: tuple[tuple[str, str], ...]
    tolerance: Span
    strategy: str = "backward"
    how: str = "left"
    suffix: str = "_right"


@dataclass(frozen=True, eq=False, slots=True)
class Merge:
    """The rows of two frames in order, as one in order; ties: the left side's first."""

    parent: Node
    other: Node


@dataclass(frozen=True, eq=False, slots=True)
class Closed:
    """Each window's row once, when the watermark has passed its end."""

    parent: Window


@dataclass(frozen=True, eq=False, slots=True)
class Late:
    """A row for each record that came too late: for a window, or to be put in order."""

    parent: Window | InOrder


@dataclass(frozen=True, eq=False, slots=True)
class Errors:
    """A row for each record that could not be decoded."""

    parent: Source


@dataclass(frozen=True, eq=False, slots=True)
class Recompute:
    """`fn` of all that the parent keeps, anew at every tick."""

    parent: Node
    fn: Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(frozen=True, eq=False, slots=True)
class Trail:
    """When each row happened and when it came, beside the watermark: what lateness is drawn of.

    Attributes:
        on: column of event time; None is the source's own.
        lateness: taken off the watermark; None if there is none to show.
        max_ahead: rows further ahead of the broker's timestamp are left out.
        late: which rows are called late: none, those earlier than the watermark, or all.
    """

    parent: Node
    on: str | None
    lateness: Span | None
    max_ahead: Span
    late: Literal["none", "earlier", "all"]


RowWise = Filter | Select | WithColumns | Drop | Rename | Explode | Unnest | StaticJoin
"""Steps that look at each row by itself."""
Revising = Window | GroupBy | OuterJoin
"""Steps whose rows are revised: they have keys."""
TwoSided = Join | Merge
"""Steps with a second input, `other`."""
Stateful = Revising | TwoSided | Unique | InOrder | Running | Trail
"""Steps that an operator of the engine runs."""
Node = Source | RowWise | Stateful | Closed | Late | Errors | Recompute
