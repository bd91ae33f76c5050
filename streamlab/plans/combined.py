"""Two inputs as one: a row-wise join with a table, and the columns of joins and merges of frames."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from streamlab.errors import ColumnNotFoundError, UsageError
from streamlab.plans.chains import label, others, source_of, where
from streamlab.plans.kinds import Join, Merge, StaticJoin, TwoSided
from streamlab.plans.tableindex import TableIndex

SOURCES_APART = (
    2**20
)  # between the partition numbers of one source and those of the next
_PLACE = "__place"


def with_table(node: StaticJoin, lf: pl.LazyFrame) -> pl.LazyFrame:
    """`lf` joined with the node's table; the rows keep their order."""
    table, options = node.table.lazy(), dict(node.options)
    if node.index is not None:
        return _by_index(node, node.index, lf)
    if node.how != "asof":
        return lf.join(table, how=node.how, maintain_order="left_right", **options)
    # Rows come in any order, and polars wants them in that of their times.
    ordered = lf.with_row_index(_PLACE).sort(options["left_on"])
    found = ordered.join_asof(table, **options, check_sortedness=False)
    return found.sort(_PLACE).drop(_PLACE)


def _by_index(node: StaticJoin, index: TableIndex, lf: pl.LazyFrame) -> pl.LazyFrame:
    """The same with those rows of the table alone that can match."""

    def join(rows: pl.DataFrame) -> pl.DataFrame:
        found = index.among(rows.select(node.options["left_on"]))
        plain = replace(node, table=found, index=None)
        return with_table(plain, rows.lazy()).collect()

    nothing = replace(node, table=node.table.clear(), index=None)
    return lf.map_batches(
        join,
        predicate_pushdown=False,  # nothing may be moved past it
        projection_pushdown=False,
        slice_pushdown=False,
        schema=with_table(nothing, lf).collect_schema(),
    )


def combined_schema(node: TwoSided, left: pl.Schema, right: pl.Schema) -> pl.Schema:
    """The columns of a join or a merge.

    Raises:
        ColumnNotFoundError: a key that is not there.
        UsageError: keys of different types, columns that don't go together.
    """
    if isinstance(node, Merge):
        _check_same(node, left, right)
        return left
    _check_keys(node, left, right)
    names = joined_names(node, left, right)
    return pl.Schema({**left, **{new: right[old] for old, new in names.items()}})


def joined_names(node: Join, left: pl.Schema, right: pl.Schema) -> dict[str, str]:
    """The right side's columns that a join shows → their names in it.

    As polars has it: its keys are left out, a name that the left has too gets the suffix.
    """
    keys = {key for _, key in node.by}
    names = {
        name: f"{name}{node.suffix}" if name in left else name
        for name in right
        if name not in keys
    }
    taken = [*left, *names.values()]
    twice = {name for name in names.values() if taken.count(name) > 1}
    if twice:
        raise UsageError(
            f"{label(node)} would have two columns {min(twice)!r}: give another suffix=, or "
            "rename one before."
        )
    return names


def parts_apart(node: Merge) -> int:
    """What is added to partition numbers of the right side, so that none is the left side's."""
    source = source_of(node)
    if source_of(node.other) is source:
        return 0
    merged = [each for each in others(node.parent) if source_of(each) is not source]
    return SOURCES_APART * (1 + len(merged))


def _check_keys(node: Join, left: pl.Schema, right: pl.Schema) -> None:
    for ours, theirs in node.by:
        for name, columns, side in (
            (ours, left, node.parent),
            (theirs, right, node.other),
        ):
            if name not in columns:
                raise ColumnNotFoundError.among(name, where(side), columns)
        if left[ours] != right[theirs]:
            raise UsageError(
                f"{label(node)}: {ours!r} is {left[ours]} on the left and {theirs!r} is "
                f"{right[theirs]} on the right. Cast one before: "
                f'with_columns(pl.col("{theirs}").cast(pl.{left[ours]})).'
            )


def _check_same(node: Merge, left: pl.Schema, right: pl.Schema) -> None:
    only_left = [n for n in left if n not in right]
    only_right = [n for n in right if n not in left]
    if only_left or only_right:
        said = [
            f"only {where(side)} has {', '.join(map(repr, names))}"
            for side, names in (
                (node.parent, only_left),
                (node.other, only_right),
            )
            if names
        ]
        raise UsageError(
            f"merge_sorted needs the same columns on both sides; {', and '.join(said)}. "
            "select(…) those that both have, or add the others with with_columns(…)."
        )
    for name, dtype in left.items():
        if right[name] != dtype:
            raise UsageError(
                f"merge_sorted needs the same columns on both sides; {name!r} is {dtype} on the "
                f"left and {right[name]} on the right. Cast one before: "
                f'with_columns(pl.col("{name}").cast(pl.{dtype})).'
            )
