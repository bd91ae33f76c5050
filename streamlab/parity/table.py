"""What a step of a plan makes of all rows, with what the comparison needs beside the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import polars as pl

from streamlab.changes import CLOSED, HIDDEN, PARTIAL
from streamlab.plans.aggregates import split

KEY = "__key_"  # prefix of hidden copies of the key's columns
SCALE = "__scale_"  # prefix of, per column of floats, what its tolerance is a share of
STATE = (CLOSED, PARTIAL)


class Table(NamedTuple):
    """A step's answer.

    Attributes:
        frame: shown columns, then hidden ones.
        keep: the hidden ones: `changes.HIDDEN`, or `KEY` and `SCALE` with a name behind.
        state: shown columns that say how far the stream is, and are not compared.
        prefix: the live frame may have fewer rows at the end.
        any_order: the live frame's rows may stand in any order.
    """

    frame: pl.DataFrame
    keep: tuple[str, ...] = HIDDEN
    state: frozenset[str] = frozenset()
    prefix: bool = False
    any_order: bool = False


class Given(NamedTuple):
    """What plans are evaluated over.

    Attributes:
        rows: id of a `Source` → what it handed over, in that order, hidden columns included.
        late: id of a step → the rows it left out: `__part`, `__stamp`, `__seq`, and
            `window_start` for a window.
        reached: id of a step → the event time before which everything is out; absent if that is
            not known.
        tombstones: id of a `Source` → its tombstones, as in a batch of all `rows`.
    """

    rows: dict[int, pl.DataFrame]
    late: dict[int, pl.DataFrame]
    reached: dict[int, int]
    tombstones: Mapping[int, pl.DataFrame] = MappingProxyType({})


def scales_of(aggs: Sequence[pl.Expr], schema: pl.Schema) -> list[pl.Expr]:
    """Per aggregation Σ|x| of the numbers it is made of: its columns, and what it sums."""
    scales = []
    for agg in aggs:
        numbers = [
            pl.col(name)
            for name in agg.meta.root_names()
            if name in schema and schema[name].is_numeric()
        ]
        found = split(agg, schema)
        if found is not None:
            numbers += [p.value for p in found.partials if p.input.is_numeric()]
        sizes = [_size(number) for number in numbers] or [pl.lit(0.0)]
        total = pl.sum_horizontal(*(size.sum() for size in sizes))
        scales.append(total.alias(f"{SCALE}{agg.meta.output_name()}"))
    return scales


def _size(number: pl.Expr) -> pl.Expr:
    size = number.cast(pl.Float64).abs()
    return pl.when(size.is_finite()).then(size).otherwise(0.0)
