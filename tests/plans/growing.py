"""Random expressions, grown from the examples: other expressions stand where a column stood.

An expression of a wanted type is one of the examples of that type, with an expression of the
column's type (now and then of another one) in place of each of its columns, and so on down to
`depth`. What polars refuses, over no rows or over these, is undone. So every function of the
lists meets every other, at every type that it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from random import Random

import polars as pl

from streamlab.errors import NotIncrementalError
from streamlab.plans.codec import Value
from streamlab.plans.exprs import check_aggregation, check_row_wise
from streamlab.plans.tree import from_tree, has_python, kind, replace, to_tree
from tests.plans.examples import EXAMPLES
from tests.plans.odd import SCHEMA, WORDS, odd_frame

_OTHER_TYPE = 0.2  # how often a column of another type is tried
_LEAF = 0.2  # how often a branch ends early
# Values that a function can't take just any of: what stands there is brought into range.
_TAMED: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "j": lambda e: e.clip(1, 9).fill_null(3),
    "g": lambda e: e.clip(0.1, 0.9).fill_nan(0.5).fill_null(0.5),
    "c": lambda e: e.fill_null(value=False),
}


def _as_it_is(expr: pl.Expr) -> pl.Expr:
    return expr


_FIXED = {"text"}  # parsed strictly
_NARROW: dict[str, tuple[str, pl.DataType]] = {
    "i8": ("j", pl.Int8()),
    "i16": ("j", pl.Int16()),
    "i32": ("j", pl.Int32()),
    "u8": ("j", pl.UInt8()),
    "u16": ("j", pl.UInt16()),
    "u32": ("j", pl.UInt32()),
    "u64": ("j", pl.UInt64()),
    "huge": ("i", pl.Int128()),
    "single": ("f", pl.Float32()),
    "at_ms": ("at", pl.Datetime("ms")),
    "at_ns": ("at", pl.Datetime("ns")),
    "berlin": ("az", pl.Datetime("us", "Europe/Berlin")),
    "span_ms": ("span", pl.Duration("ms")),
    "word": ("s", pl.Enum(WORDS)),
    "lf": ("ls", pl.List(pl.Float64())),
    "nothing": ("i", pl.Null()),
}
WIDE = pl.Schema({**SCHEMA, **{name: dtype for name, (_, dtype) in _NARROW.items()}})
"""Columns of every type."""


def wide_frame(rows: int, seed: int) -> pl.DataFrame:
    """Rows of `WIDE` with their odd values; some rows twice, some nulls more."""
    rng = Random(seed)  # noqa: S311 - rows to test with
    odd = odd_frame(rows, seed)
    more = [
        (pl.lit(None) if name == "nothing" else pl.col(base))
        .cast(dtype, strict=False)
        .alias(name)
        for name, (base, dtype) in _NARROW.items()
    ]
    wide = odd.with_columns(*more)
    return wide[[rng.randrange(rows) for _ in range(rows)]]


class Grower:
    """Grows expressions that polars takes over the rows given."""

    def __init__(self, rows: pl.DataFrame, seed: int) -> None:
        self.rows = rows
        self.random = Random(seed)  # noqa: S311 - expressions to test with

    def any_row_wise(self, depth: int) -> pl.Expr:
        """An expression with a random example at its root."""
        return self.grown(self.random.choice(plain_examples()), depth)

    def of_type(self, dtype: pl.DataType, depth: int) -> pl.Expr:
        """An expression of the type; a column, where no example has it."""
        made = by_type().get(dtype)
        if depth <= 0 or not made or self.random.random() < _LEAF:
            return self.column(dtype)
        return self.grown(self.random.choice(made), depth)

    def column(self, dtype: pl.DataType) -> pl.Expr:
        """A column of the type."""
        names = [name for name, found in WIDE.items() if found == dtype]
        return pl.col(self.random.choice(names or list(WIDE)))

    def grown(self, example: Value, depth: int) -> pl.Expr:
        """The example with other expressions in place of its columns."""
        if depth <= 1:
            return from_tree(example)
        tree = example
        for name in columns_of(example):
            if name in _FIXED:
                continue
            changed = put(tree, name, self.instead(name, depth - 1))
            if self.is_taken(from_tree(changed)):
                tree = changed
        return from_tree(tree)

    def instead(self, name: str, depth: int) -> pl.Expr:
        """What may stand in place of a column."""
        dtype: pl.DataType = WIDE[name]
        if self.random.random() < _OTHER_TYPE:
            dtype = self.random.choice(list(WIDE.values()))
        found = self.of_type(dtype, depth)
        return _TAMED.get(name, _as_it_is)(found)

    def is_taken(self, expr: pl.Expr) -> bool:
        """Whether polars evaluates it, and a plan takes it at these types."""
        try:
            check_row_wise(expr, verb="select", schema=WIDE)
        except NotIncrementalError:  # is_in(column) of a column that is no list
            return False
        return is_taken(expr, self.rows)


def is_taken(expr: pl.Expr, rows: pl.DataFrame) -> bool:
    """Whether polars evaluates it: over no rows, over these, and over these alone."""
    try:
        found = rows.clear().lazy().select(expr.alias("x")).collect()
        filled = rows.lazy().select(expr.alias("x")).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError):
        return False
    # An expression without columns has a row of its own. Some casts promise another type than
    # they give.
    promised = rows.lazy().select(expr.alias("x")).collect_schema()
    alike = found.schema == filled.schema == promised
    return alike and found.height == 0 and filled.height == rows.height


def put(tree: Value, name: str, expr: pl.Expr) -> Value:
    """The tree with an expression in place of a column, by the column's name."""
    instead = to_tree(expr.alias(name))

    def change(found: str, body: Value) -> Value | None:
        return instead if found == "Column" and body == name else None

    return replace(tree, change)


def columns_of(node: Value) -> list[str]:
    """Names of the columns that a tree reads; the element of a list has none."""
    return sorted({*from_tree(node).meta.root_names()} & set(WIDE))


@cache
def plain_examples() -> Sequence[Value]:
    """Examples that give one column and hold no Python function, as trees."""
    trees = [to_tree(e) for e in EXAMPLES if not e.meta.has_multiple_outputs()]
    return [
        tree for tree in trees if not has_python(tree) and kind(tree)[0] != "Column"
    ]


@cache
def by_type() -> dict[pl.DataType, list[Value]]:
    """The examples by what they give; numbers of other widths are cast to the common ones."""
    made: dict[pl.DataType, list[Value]] = {}
    for tree in plain_examples():
        expr = from_tree(tree)
        (dtype,) = pl.LazyFrame(schema=WIDE).select(expr).collect_schema().dtypes()
        made.setdefault(dtype, []).append(tree)
        for common in (pl.Int64(), pl.Float64()):
            if dtype != common and dtype.is_numeric():
                cast = to_tree(expr.cast(common, strict=False))
                made.setdefault(common, []).append(cast)
    return made


DECOMPOSED: Sequence[Callable[[pl.Expr], pl.Expr]] = (
    lambda e: e.sum(),
    lambda e: e.mean(),
    lambda e: e.min(),
    lambda e: e.max(),
    lambda e: e.std(),
    lambda e: e.var(ddof=0),
    lambda e: e.var(ddof=2),
    lambda e: e.any(),
    lambda e: e.all(),
    lambda e: e.count(),
    lambda e: e.len(),
    lambda e: e.null_count(),
)
RAW: Sequence[Callable[[pl.Expr], pl.Expr]] = (
    lambda e: e.median(),
    lambda e: e.quantile(0.3),
    lambda e: e.quantile(0.7, interpolation="linear"),
    lambda e: e.n_unique(),
    lambda e: e.approx_n_unique(),
    lambda e: e.first(),
    lambda e: e.last(),
    lambda e: e.product(),
    lambda e: e.implode(),
    lambda e: e,
    lambda e: e.head(2),
    lambda e: e.tail(1),
    lambda e: e.slice(1, 2),
    lambda e: e.sort(),
    lambda e: e.sort_by("j").last(),
    lambda e: e.reverse().first(),
    lambda e: e.unique(maintain_order=True),
    lambda e: e.drop_nulls().first(),
    lambda e: e.mode(maintain_order=True),
    lambda e: e.skew(),
    lambda e: e.kurtosis(),
    lambda e: e.nan_max(),
    lambda e: e.shift().sum(),
    lambda e: e.diff().mean(),
    lambda e: e.cum_sum().last(),
    lambda e: e.rank().sum(),
    lambda e: e.forward_fill().last(),
    lambda e: e.any(ignore_nulls=False),
    lambda e: e.all(ignore_nulls=False),
    lambda e: e.has_nulls(),
    lambda e: e.get(1, null_on_oob=True),
    lambda e: e.top_k(2),
    lambda e: e.bitwise_xor(),
    lambda e: pl.corr(e, "j"),
    lambda e: pl.cov(e, "j"),
    lambda e: e.str.join("|"),
    lambda e: e.filter(pl.col("j") > pl.col("j").mean()).sum(),
    lambda e: (e - e.mean()).abs().max(),
)
"""Aggregations: those that may keep partial states, and those that keep raw rows."""
OF_FLAT: Sequence[Callable[[pl.Expr], pl.Expr]] = (
    lambda e: e.arg_min(),
    lambda e: e.arg_max(),
)
"""Raw ones that polars answers for a list or a struct too, but by chance: 0, or null."""


class Aggregations(Grower):
    """Grows aggregations: of grown values over grown conditions, and inside row-wise functions."""

    def any_aggregation(self, depth: int) -> pl.Expr:
        """One whose parts, one above the other, are at most `depth`."""
        if depth <= 1 or self.random.random() < _LEAF:
            return self.of_column(1)
        if self.random.random() < 0.5:
            return self.of_column(depth)
        return self.around(self.random.choice(plain_examples()), depth - 1)

    def of_column(self, depth: int) -> pl.Expr:
        """An aggregation of a column, or of something grown; perhaps filtered."""
        for _ in range(20):
            dtype: pl.DataType = self.random.choice(list(WIDE.values()))
            value = self.of_type(dtype, depth - 1)
            if self.random.random() < 0.3:
                value = value.filter(self.of_type(pl.Boolean(), depth - 1))
            if self.random.random() < 0.2:
                value = value.drop_nulls()
            raw = RAW if dtype.is_nested() else (*RAW, *OF_FLAT)
            kinds = DECOMPOSED if self.random.random() < 0.7 else raw
            found = self.random.choice(kinds)(value)
            if self.is_taken(found):
                return found
        return pl.len()

    def around(self, example: Value, depth: int) -> pl.Expr:
        """The example with aggregations in place of its columns."""
        tree = example
        for name in columns_of(example):
            for _ in range(8):
                found = _TAMED.get(name, _as_it_is)(self.of_column(depth))
                changed = put(tree, name, found)
                if self.is_taken(from_tree(changed)):
                    tree = changed
                    break
            else:
                return self.of_column(depth)
        return from_tree(tree)

    def is_taken(self, expr: pl.Expr) -> bool:
        """Whether polars aggregates it, per group, and a plan takes it."""
        rows = self.rows.with_columns(pl.col("j").alias("__group"))
        try:
            check_aggregation(expr, name="x")
            found = [
                each.lazy().group_by("__group").agg(expr.alias("x")).collect()
                for each in (rows, rows[:1], rows.clear())
            ]
        except (
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
            NotIncrementalError,
            ValueError,
        ):
            return False
        # A choice between a list and a null has another type for no rows.
        return len({repr(each.schema) for each in found}) == 1
