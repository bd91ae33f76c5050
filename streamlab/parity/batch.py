"""A plan evaluated once, in plain polars, over all rows there have been.

No code of `engine/` takes part: each kind of step has its own batch answer in a module beside this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl
import polars.selectors as cs

from streamlab.changes import PART, TIME, WINDOW_END
from streamlab.errors import UsageError
from streamlab.parity.joins import combined_table, outer_table
from streamlab.parity.keyed import group_table, times_of, unique_table
from streamlab.parity.order import ordered_table, running_table
from streamlab.parity.table import KEY, SCALE, Given, Table
from streamlab.parity.windows import closed_table, window_table
from streamlab.plans.nodes import (
    Closed,
    Filter,
    GroupBy,
    InOrder,
    Node,
    OuterJoin,
    Rename,
    RowWise,
    Running,
    Select,
    Source,
    Stateful,
    StaticJoin,
    TwoSided,
    Unique,
    Window,
    WithColumns,
    chain,
    is_keyed,
    is_ordered,
    key_columns,
    label,
    reviser_of,
    row_wise,
    source_of,
)


@dataclass(frozen=True)
class Expected:
    """The batch answer.

    Attributes:
        frame: shown columns, in order.
        keys: the key's columns under the names of `is_keyed`; none for an append frame.
        scale: per column of floats, Σ|x| of the numbers that went into each row.
        state: shown columns that say how far the stream is, and are not compared.
        prefix: the live frame may have fewer rows at the end: windows not closed yet.
    """

    frame: pl.DataFrame
    keys: pl.DataFrame
    scale: pl.DataFrame
    state: frozenset[str] = frozenset()
    prefix: bool = False


def evaluate(
    node: Node,
    rows: pl.DataFrame | Mapping[Source, pl.DataFrame],
    *,
    late: pl.DataFrame | Mapping[Node, pl.DataFrame] | None = None,
    reached: Mapping[Node, int] | None = None,
    tombstones: Mapping[Source, pl.DataFrame] | None = None,
) -> Expected:
    """Run a plan once over all rows.

    Args:
        node: the plan.
        rows: what the source handed over, in that order: shown columns and `changes.HIDDEN`;
            of a plan with several sources those of each.
        late: (record, window) pairs left out: `__part`, `__stamp`, `__seq`, `window_start`; of
            a plan with several steps that leave something out those of each.
        reached: how far steps are that put rows out in order, in µs or the unit of integer
            windows: what is not out yet is not in the answer. Without it the answer has all
            rows, and the live frame may have fewer at the end.
        tombstones: of a source: `_key`, and how many of its rows came before (`__row`).

    Raises:
        UsageError: a step that has no batch answer.
    """
    by_source = {source_of(node): rows} if isinstance(rows, pl.DataFrame) else rows
    if isinstance(late, pl.DataFrame):
        reviser = _window_above(node)
        late = {} if reviser is None else {reviser: late}
    given = Given(
        {id(source): each for source, each in by_source.items()},
        {id(step): each for step, each in (late or {}).items()},
        {id(step): each for step, each in (reached or {}).items()},
        {id(source): each for source, each in (tombstones or {}).items()},
    )
    table = _table(node, given)
    keys = is_keyed(node)
    reviser = reviser_of(node)
    shown = key_columns(reviser) if reviser is not None else ()
    return Expected(
        table.frame.drop(table.keep),
        _unprefixed(table.frame, KEY).rename(dict(zip(shown, keys, strict=True)))
        if keys
        else pl.DataFrame(),
        _unprefixed(table.frame, SCALE),
        table.state,
        prefix=table.prefix,
    )


def _table(node: Node, given: Given) -> Table:
    """The answer of a step, as far as the live one has got."""
    if isinstance(node, Source):
        return Table(given.rows[id(node)])
    above = _table(node.parent, given)
    if isinstance(node, TwoSided):
        table = combined_table(node, above, _table(node.other, given))
    else:
        table = _answer(node, above, given)
    step = node.parent if isinstance(node, Closed) else node
    limit = given.reached.get(id(step))
    if not isinstance(node, (Closed, Stateful)) or not table.prefix or limit is None:
        return table
    column = table.frame[WINDOW_END if isinstance(node, Closed) else TIME]
    ends = column.dt.epoch("us") if column.dtype.is_temporal() else column
    out = ends <= limit if isinstance(node, Closed) else ends < limit
    return table._replace(frame=table.frame.filter(out), prefix=False)


def _answer(node: Node, above: Table, given: Given) -> Table:
    """The answer of a step, from that of the steps before it."""
    late = given.late.get(id(node))
    match node:
        case Window() if TIME in above.frame.columns:
            found = window_table(node, above.frame, late)
        case Closed():
            found = closed_table(node, above)
        case GroupBy() | Unique() | OuterJoin():
            found = _keyed(node, above, given)
        case InOrder():
            found = ordered_table(node, above, late)
        case Running():
            found = running_table(node, above)
        case _ if isinstance(node, RowWise):
            if isinstance(node, StaticJoin):
                node = replace(node, index=None)  # a short cut of the live side
            frame = row_wise(node, above.frame.lazy(), above.keep).collect()
            state = _state_after(node, above.state)
            found = above._replace(frame=frame, state=state)
        case _:
            raise UsageError(
                f"{label(node)} has no batch answer to compare with: what it gives hangs on "
                "when it was asked."
            )
    return found


def _keyed(node: GroupBy | Unique | OuterJoin, above: Table, given: Given) -> Table:
    """Of a step for which the order of arrival counts, and how far event time had come."""
    if isinstance(node, OuterJoin):
        return outer_table(node, above)
    origin = node.parent
    while isinstance(origin, RowWise):
        origin = origin.parent
    rows = _table(origin, given).frame
    parts: set[int] = {0}  # rows in order, and windows that close, are of one partition
    if not is_ordered(origin) and PART in rows.columns:
        steps = chain(origin)
        closed = any(isinstance(each, Closed) for each in steps)
        parts = set((rows if closed else given.rows[id(steps[0])])[PART])
    times = times_of(rows, parts, ordered=is_ordered(origin))
    if isinstance(node, Unique):
        return unique_table(node, above, times)
    dead = given.tombstones.get(id(source_of(node)))
    return group_table(node, above.frame, times, dead)


def _window_above(node: Node) -> Node | None:
    """The nearest step that may leave rows out."""
    at = node
    while not isinstance(at, Source):
        if isinstance(at, Window):
            return at
        at = at.parent
    return None


def _state_after(node: RowWise, state: frozenset[str]) -> frozenset[str]:
    """Which columns still say, or are made of, how far the stream is."""
    if isinstance(node, Rename):
        return frozenset(node.mapping.get(name, name) for name in state)
    if isinstance(node, Filter):
        used = {name for each in node.predicates for name in each.meta.root_names()}
        if used & state:
            names = ", ".join(sorted(used & state))
            raise UsageError(
                f"filter on {names} has no batch answer: it tells how far the stream is."
            )
    if not isinstance(node, (Select, WithColumns)):
        return state
    made = set(state)
    for each in node.exprs:
        name = each.meta.output_name(raise_if_undetermined=False)
        if name is not None:
            made.discard(name)
            if state & set(each.meta.root_names()):
                made.add(name)
    return frozenset(made)


def _unprefixed(frame: pl.DataFrame, prefix: str) -> pl.DataFrame:
    found = frame.select(cs.starts_with(prefix))
    return found.rename(lambda name: name.removeprefix(prefix))
