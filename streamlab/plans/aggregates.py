"""Which aggregations decompose: partial results of parts, merged, give the whole's.

Decided per expression, from its tree: each aggregation in it over row-wise input becomes a partial
state, and what is done with the results stays as a row-wise expression. Whatever is not certain to
give polars' own answer is not decomposed; the engine then keeps the raw rows.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from streamlab.plans.aggregation import (
    Found,
    Kind,
    NotExactError,
    aggregation,
    called,
    rows,
)
from streamlab.plans.codec import Value
from streamlab.plans.exprs import has_column, offence
from streamlab.plans.functions import ROW_WISE, literal_series, names
from streamlab.plans.steady import divides_by_constant, steady_tree
from streamlab.plans.tree import (
    field,
    from_tree,
    function_name,
    has_python,
    items,
    kind,
    to_tree,
)
from streamlab.plans.words import snake


class Partial(NamedTuple):
    """One aggregation inside an expression, over row-wise input.

    Attributes:
        name: column that its finished result has in `Split.final`; unique inside the split.
        kind: which. `count` is of non-null values, `len` of rows; the others pass over nulls.
        value: the row-wise input, evaluated over raw rows (for `len` too: what it holds does
            not matter then).
        where: rows that take part are those where this is true; None is all rows. It is
            evaluated over raw rows too.
        input: type of `value`.
        result: polars' own type of the aggregate.
        ddof: of var and std; otherwise 0.
    """

    name: str
    kind: Kind
    value: pl.Expr
    where: pl.Expr | None
    input: pl.DataType
    result: pl.DataType
    ddof: int = 0


class Split(NamedTuple):
    """An aggregation as partial states plus a row-wise rest.

    Attributes:
        partials: the states to keep; equal ones are listed once.
        final: row-wise over a frame with one column per partial, of its `result` type; carries
            the output's name and has the output's type.
        name: of the output column.
    """

    partials: tuple[Partial, ...]
    final: pl.Expr
    name: str


def split(expr: pl.Expr, schema: pl.Schema, *, arrival: bool = False) -> Split | None:
    """Decompose an aggregation, or None if that can't be done exactly.

    Args:
        expr: one of the aggregations of a window, or of a running group.
        schema: the columns of the rows that are aggregated.
        arrival: whether rows count in the order in which they come, so that `first` and `last`
            decompose too.
    """
    try:
        return _split(expr, schema, arrival=arrival)
    except (NotExactError, KeyError, TypeError):
        # The last two: a shape of tree that this polars should not have.
        return None


def explain(expr: pl.Expr, schema: pl.Schema, *, arrival: bool = False) -> str:
    """How an aggregation is kept: "partial states: sum, len" or "raw rows: median"."""
    try:
        found = _split(expr, schema, arrival=arrival)
    except (NotExactError, KeyError, TypeError) as error:
        return f"raw rows: {error}"
    return f"partial states: {', '.join(dict.fromkeys(p.kind for p in found.partials))}"


_PICKED = {"min", "max", "first", "last"}  # one of the values, bit for bit
_WHOLE = (
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.UInt8,
    pl.UInt16,
    pl.UInt32,
    pl.UInt64,
)
_NUMBERS = (*_WHOLE, pl.Float64)
# Float32 is left out: its sums are in single precision, and follow the order of addition far
# beyond 1e-9. Text, decimals and 128-bit integers would need states of their own.
_INPUTS: dict[Kind, tuple[type[pl.DataType], ...]] = {
    "sum": (*_NUMBERS, pl.Boolean),
    "mean": (*_NUMBERS, pl.Boolean),
    "var": _NUMBERS,
    "std": _NUMBERS,
    "min": (*_NUMBERS, pl.Date, pl.Datetime, pl.Duration, pl.Time),
    "max": (*_NUMBERS, pl.Date, pl.Datetime, pl.Duration, pl.Time),
    "any": (pl.Boolean,),
    "all": (pl.Boolean,),
}
# What keeps a small error small. After anything else (round, >, cast to int) the last bit of a
# float sum, which hangs on the cut, could become a whole number.
_SMOOTH = names(
    """
    Abs AsStruct Coalesce Exp FillNull MaxHorizontal MeanHorizontal MinHorizontal
    Negate Pow SumHorizontal Clip Boolean.IsNull Boolean.IsNotNull
    """
)
_SMOOTH_OPERATORS = {"Plus", "Minus", "Multiply", "TrueDivide"}


def _split(expr: pl.Expr, schema: pl.Schema, *, arrival: bool) -> Split:
    name = expr.meta.output_name(raise_if_undetermined=False)
    if name is None:
        raise NotExactError("several columns at once")
    rest = _Rest(schema, arrival=arrival)
    whole = to_tree(expr)
    if not has_python(whole):
        whole = steady_tree(whole, schema)
    tree, _ = rest.rewrite(whole)
    if not rest.partials:
        raise NotExactError("no aggregation")
    final = from_tree(tree).alias(name)
    partials = tuple(rest.partials)
    wanted, got = _result(expr, schema, name), _final_type(final, partials)
    if got != wanted:
        raise NotExactError(f"its type, {wanted}")
    return Split(partials, final, name)


class _Rest:
    """Rewrites the part of an expression above its aggregations, and gathers these."""

    def __init__(self, schema: pl.Schema, *, arrival: bool) -> None:
        self.schema = schema
        self.arrival = arrival
        self.partials: list[Partial] = []
        self.seen: dict[str, Value] = {}

    def rewrite(self, node: Value) -> tuple[Value, bool]:
        """The node over the partials' columns, and whether its last bit hangs on the cut."""
        name, body = kind(node)
        found = aggregation(name, body, arrival=self.arrival)
        if found is not None:
            return self.partial(node, found)
        if name == "Literal" and literal_series(node) is None:
            return node, False
        if name == "Alias":
            return self.rewrite(field(body, 0))
        return self.compound(name, body)

    def compound(self, name: str, body: Value) -> tuple[Value, bool]:
        match name:
            case "BinaryExpr":
                return self.operator(body)
            case "Ternary":
                return self.choice(body)
            case "Cast":
                return self.cast(body)
            case "Function":
                return self.function(body)
        raise NotExactError(called(name, body))

    def operator(self, body: Value) -> tuple[Value, bool]:
        left, loose_left = self.rewrite(field(body, "left"))
        right, loose_right = self.rewrite(field(body, "right"))
        operator = str(field(body, "op"))
        loose = loose_left or loose_right
        if loose and operator not in _SMOOTH_OPERATORS:
            raise NotExactError(f"{snake(operator)} of a float sum")
        node: Value = {
            "BinaryExpr": {"left": left, "op": field(body, "op"), "right": right}
        }
        return node, loose or divides_by_constant(node)

    def choice(self, body: Value) -> tuple[Value, bool]:
        parts, loose = self.several(
            [field(body, p) for p in ("predicate", "truthy", "falsy")]
        )
        if loose[0]:
            raise NotExactError("a condition on a float sum")
        predicate, truthy, falsy = parts
        node: Value = {
            "Ternary": {"predicate": predicate, "truthy": truthy, "falsy": falsy}
        }
        return node, any(loose)

    def cast(self, body: Value) -> tuple[Value, bool]:
        inner, loose = self.rewrite(field(body, "expr"))
        dtype = field(body, "dtype")
        if loose and dtype != {"Literal": "Float64"}:
            raise NotExactError("cast of a float sum")
        node: Value = {
            "Cast": {"expr": inner, "dtype": dtype, "options": field(body, "options")}
        }
        if offence({"Cast": {"expr": {"Column": ""}, "dtype": dtype}}, None):
            raise NotExactError("cast")
        return node, loose

    def function(self, body: Value) -> tuple[Value, bool]:
        name, _ = function_name(body)
        if name not in ROW_WISE:
            raise NotExactError(called("Function", body))
        parts, loose = self.several(items(field(body, "input")))
        tested = name in {"Boolean.IsNull", "Boolean.IsNotNull"}
        if any(loose) and (name not in _SMOOTH or _is_root(name, body)):
            raise NotExactError(f"{called('Function', body)} of a float sum")
        node: Value = {
            "Function": {"input": parts, "function": field(body, "function")}
        }
        refused = offence(node, None)
        if refused:
            raise NotExactError(called("Function", body))
        return node, any(loose) and not tested

    def several(self, nodes: list[Value]) -> tuple[list[Value], list[bool]]:
        done = [self.rewrite(each) for each in nodes]
        return [node for node, _ in done], [loose for _, loose in done]

    def partial(self, node: Value, found: Found) -> tuple[Value, bool]:
        """A column in place of the aggregation."""
        value, where = rows(found)
        for part in (value, *([where] if where is not None else [])):
            refused = offence(part, self.schema, functions=False)
            if refused is not None:
                raise NotExactError(called(*kind(refused.node)))
        if found.kind != "len" and not has_column(value):
            raise NotExactError("a literal")
        if where is not None and divides_by_constant(where):
            raise NotExactError("a filter that divides")
        key = repr(node)
        if key not in self.seen:
            made = self.make(node, found, value, where)
            self.partials.append(made)
            self.seen[key] = {"Column": made.name}
        column = self.seen[key]
        made = next(p for p in self.partials if {"Column": p.name} == column)
        exact = made.kind in _PICKED and not divides_by_constant(value)
        return column, made.result.is_float() and not exact

    def make(
        self, node: Value, found: Found, value: Value, where: Value | None
    ) -> Partial:
        result = _result(from_tree(node), self.schema, "")
        source = _type(from_tree(value), self.schema) if found.kind != "len" else None
        wanted = _INPUTS.get(found.kind)
        if wanted is not None and not isinstance(source, wanted):
            raise NotExactError(f"{found.kind} of {source}")
        if found.kind != "len" and divides_by_constant(value) and not result.is_float():
            raise NotExactError("a condition that divides")
        return Partial(
            f"__p{len(self.partials)}",
            found.kind,
            from_tree(value) if found.kind != "len" else pl.lit(value=True),
            None if where is None else from_tree(where),
            source or pl.Boolean(),
            result,
            found.ddof,
        )


def _is_root(name: str, body: Value) -> bool:
    """Whether it is a power that is not a whole positive one.

    Of a sum that comes to 0, or a bit beside it, a root or a logarithm is nothing small.
    """
    if name != "Pow":
        return False
    exponent = items(field(body, "input"))[1:]
    if not exponent or kind(exponent[0])[0] != "Literal":
        return True
    value = pl.select(from_tree(exponent[0])).item()
    return not isinstance(value, int) or value < 1


def _result(expr: pl.Expr, schema: pl.Schema, name: str) -> pl.DataType:
    """The type that polars gives an aggregation."""
    lf = pl.LazyFrame(schema=schema).group_by(pl.lit(0).alias("__group"))
    found = _collected(lf.agg(expr.alias(name)))
    return found[name]


def _type(expr: pl.Expr, schema: pl.Schema) -> pl.DataType:
    found = _collected(pl.LazyFrame(schema=schema).select(expr.alias("")))
    return found[""]


def _final_type(final: pl.Expr, partials: tuple[Partial, ...]) -> pl.DataType:
    schema = pl.Schema({partial.name: partial.result for partial in partials})
    return _collected(pl.LazyFrame(schema=schema).select(final)).dtypes()[0]


def _collected(lf: pl.LazyFrame) -> pl.Schema:
    try:
        return lf.collect().schema
    except pl.exceptions.PolarsError as error:
        raise NotExactError(str(error).splitlines()[0]) from error
