"""Joins and merges of two frames in plain polars, over all their rows."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from streamlab.changes import HIDDEN, JOINED, PART, SEQ, STAMP, TIME, UNMATCHED
from streamlab.parity.table import KEY, Table
from streamlab.plans.combined import parts_apart
from streamlab.plans.nodes import Join, Merge, OuterJoin

_LEFT, _RIGHT, _OTHER = "__left", "__right", "__other"
_ORDER = (TIME, PART, STAMP, SEQ)


def combined_table(node: Join | Merge, left: Table, right: Table) -> Table:
    """The answer of a step with two inputs."""
    if isinstance(node, Merge):
        return merge_table(node, left, right)
    return join_table(node, left, right)


def join_table(node: Join, left: Table, right: Table) -> Table:
    """Each left row with the right rows it wants, in the left side's order of time."""
    ours = left.frame.sort(_ORDER, maintain_order=True)
    theirs = right.frame.sort(_ORDER, maintain_order=True)
    theirs = theirs.drop(PART, STAMP, SEQ).rename({TIME: _OTHER})
    join = _nearest if node.kind == "asof" else _within
    return Table(join(node, ours, theirs), state=left.state, prefix=True)


def merge_table(node: Merge, left: Table, right: Table) -> Table:
    """All rows of both sides by event time; of one time the left side's first."""
    apart = parts_apart(node)
    theirs = right.frame.with_columns(pl.col(PART) + pl.lit(apart, pl.Int32))
    sides = [
        side.sort(_ORDER, maintain_order=True).select(left.frame.columns)
        for side in (left.frame, theirs)
    ]
    rows = pl.concat(sides).sort(TIME, maintain_order=True)
    return Table(rows, state=left.state, prefix=True)


def outer_table(node: OuterJoin, above: Table) -> Table:
    """The rows joined with the table once, and its rows without a match, keys beside them."""
    rows = above.frame.drop(above.keep).with_row_index(_LEFT)
    table = node.table.with_row_index(_RIGHT)
    found = rows.join(table, how=node.how, **node.options)
    found = found.sort(_LEFT, _RIGHT, nulls_last=True).with_row_index(_OTHER)
    alone, number, place = (pl.col(n).cast(pl.Int64) for n in (_LEFT, _OTHER, _RIGHT))
    key = pl.when(alone.is_null()).then(place + UNMATCHED).otherwise(number)
    found = found.with_columns(key.alias(f"{KEY}{JOINED}"))
    keep = (f"{KEY}{JOINED}",)
    return Table(found.drop(_LEFT, _RIGHT, _OTHER), keep, above.state)


def _nearest(node: Join, ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    found = ours.join_asof(
        theirs,
        left_on=TIME,
        right_on=_OTHER,
        by_left=[name for name, _ in node.by] or None,
        by_right=[name for _, name in node.by] or None,
        strategy=node.strategy,  # type: ignore[arg-type]  # one of polars' three
        tolerance=timedelta(microseconds=node.tolerance.us),
        suffix=node.suffix,
        check_sortedness=False,
    )
    found = found.drop(_OTHER)
    return found if node.how == "left" else _matched(node, ours, theirs, found)


def _matched(
    node: Join, ours: pl.DataFrame, theirs: pl.DataFrame, found: pl.DataFrame
) -> pl.DataFrame:
    """Those rows of `found` that have a right row, even one of nulls alone."""
    marked = theirs.with_columns(pl.lit(value=True).alias(_RIGHT))
    alone = Join(
        node.parent,
        node.other,
        node.kind,
        node.by,
        node.tolerance,
        node.strategy,
        "left",
        node.suffix,
    )
    there = _nearest(alone, ours, marked).get_column(_RIGHT).is_not_null()
    return found.filter(there)


def _within(node: Join, ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    ours, theirs = ours.with_row_index(_LEFT), theirs.with_row_index(_RIGHT)
    if node.by:
        pairs = ours.join(
            theirs,
            left_on=[name for name, _ in node.by],
            right_on=[name for _, name in node.by],
            suffix=node.suffix,
        )
    else:
        pairs = ours.join(theirs, how="cross", suffix=node.suffix)
    away = (pl.col(TIME) - pl.col(_OTHER)).dt.total_microseconds().abs()
    pairs = pairs.filter(away <= node.tolerance.us)
    if node.how == "left":
        lonely = ours.join(pairs, on=_LEFT, how="anti")
        pairs = pl.concat([pairs, lonely], how="diagonal")
    found = pairs.sort(_LEFT, _RIGHT)
    shown = [n for n in found.columns if n not in {*HIDDEN, _LEFT, _RIGHT, _OTHER}]
    return found.select(*shown, *HIDDEN)
