"""Whether a record's key comes through a plan's steps, so that a tombstone finds its row."""

from __future__ import annotations

import polars as pl

from streamlab.plans.chains import chain, label
from streamlab.plans.kinds import (
    Drop,
    GroupBy,
    Node,
    Rename,
    RowWise,
    Select,
    WithColumns,
)
from streamlab.plans.tree import kind, to_tree
from streamlab.records import KEY


def key_is_lost(group: GroupBy) -> str:
    """What stands between the source's keys and a compacted view by them; "" if nothing does."""
    if group.by != (KEY,):
        return (
            f"its key is {', '.join(group.by)}, and a tombstone has no more than {KEY}"
        )
    for step in chain(group)[1:-1]:
        if not isinstance(step, RowWise):
            return f"{label(step)} before it hands on no tombstones"
        if _touches(step):
            return f"{label(step)} before it puts something else into {KEY}"
    return ""


def _touches(step: Node) -> bool:
    if isinstance(step, Drop):
        return KEY in step.columns
    if isinstance(step, Rename):
        return KEY in step.mapping or KEY in step.mapping.values()
    if isinstance(step, Select | WithColumns):
        return any(_makes_another(expr) for expr in step.exprs)
    return False


def _makes_another(expr: pl.Expr) -> bool:
    """Whether the expression may put something else into the key's column."""
    tree = to_tree(expr)
    name = expr.meta.output_name(raise_if_undetermined=False)
    if name is None:  # several columns: as they are, or who knows
        return kind(tree)[0] != "Selector"
    return name == KEY and not expr.meta.is_column()
