"""Rows in order, and functions that look back, over all rows there have been."""

from __future__ import annotations

import polars as pl

from streamlab.changes import HIDDEN, PART, SEQ, STAMP, TIME
from streamlab.parity.table import SCALE, Table
from streamlab.plans.nodes import InOrder, Running, is_ordered


def ordered_table(node: InOrder, above: Table, late: pl.DataFrame | None) -> Table:
    """All rows with a usable event time, less the late ones, sorted.

    Args:
        node: the step.
        above: rows of its parent.
        late: rows left out: `__part`, `__stamp`, `__seq`.
    """
    ahead = pl.col(TIME).dt.epoch("us") - pl.col(STAMP) * 1000 > node.max_ahead.us
    usable = pl.col(TIME).is_not_null() & ahead.fill_null(value=False).not_()
    frame = above.frame.filter(usable)
    if late is not None:
        pair = [PART, STAMP, SEQ]
        frame = frame.join(late.select(pair), on=pair, how="anti", nulls_equal=True)
    if not is_ordered(node.parent):
        # Stable: what `explode` makes of one record stays as it is.
        frame = frame.sort(HIDDEN, maintain_order=True)
    return above._replace(frame=frame, prefix=True)


def running_table(node: Running, above: Table) -> Table:
    """The very expressions, once over all rows in their order."""
    shown = above.frame.drop(above.keep)
    beside = above.frame.select(above.keep)
    if node.verb == "filter":
        mark = shown.select(pl.all_horizontal(*node.exprs).fill_null(value=False))
        return above._replace(frame=above.frame.filter(mark.to_series()))
    found = getattr(shown, node.verb)(*node.exprs)
    scales = _scales(node, shown)
    known = [name for name in scales.columns if name in beside.columns]
    frame = pl.concat([found, beside.drop(known), scales], how="horizontal")
    keep = tuple(name for name in frame.columns if name not in found.columns)
    return above._replace(frame=frame, keep=keep)


def _scales(node: Running, shown: pl.DataFrame) -> pl.DataFrame:
    """Per expression Σ|x| of the numbers it may have been made of, at every row."""
    scales = []
    for expr in node.exprs:
        name = expr.meta.output_name(raise_if_undetermined=False)
        if name is None:
            continue
        numbers = [
            pl.col(root).cast(pl.Float64).abs()
            for root in expr.meta.root_names()
            if root in shown.columns and shown.schema[root].is_numeric()
        ]
        sizes = [pl.when(n.is_finite()).then(n).otherwise(0.0).sum() for n in numbers]
        total = pl.sum_horizontal(*sizes) if sizes else pl.lit(0.0)
        scales.append(total.alias(f"{SCALE}{name}"))
    if not scales:
        return pl.DataFrame()
    values = shown.select(*scales)
    return pl.DataFrame(
        [pl.Series(each.name, [each[0]] * shown.height, pl.Float64) for each in values]
    )
