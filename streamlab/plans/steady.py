"""Division by a constant, made to give the same on one row as on many.

polars divides a column by a constant by way of its reciprocal, but a single row (alone in its
chunk, or in its thread's share of a batch) exactly: in a third of all cases `x / 3` has another
last bit then. A float may differ by that, but not what is made of it: `(cents / 100 > 0.29).sum()`
would hang on how the stream was cut. So a plan multiplies by the reciprocal itself, which is what
polars gives for many rows, bit for bit.
"""

from __future__ import annotations

import math

import polars as pl

from streamlab.plans.codec import Value
from streamlab.plans.tree import (
    any_node,
    field,
    from_tree,
    has_python,
    replace,
    to_tree,
)


def steady(expr: pl.Expr, schema: pl.Schema) -> pl.Expr:
    """The expression with its divisions by constants as multiplications.

    Left as they are: divisions beside Python functions, inside `list.eval`, and of other types
    than integers and Float64.

    Args:
        expr: over columns of `schema`.
        schema: the columns it sees.
    """
    if " / " not in str(expr):
        return expr
    tree = to_tree(expr)
    if has_python(tree):
        return expr
    changed = steady_tree(tree, schema)
    return expr if changed == tree else from_tree(changed)


def steady_tree(node: Value, schema: pl.Schema) -> Value:
    """`steady` for a tree without Python functions."""

    def change(name: str, body: Value) -> Value | None:
        if name != "BinaryExpr" or field(body, "op") != "TrueDivide":
            return None
        left, right = field(body, "left"), field(body, "right")
        divisor = _constant(right)
        if divisor is None or not _divides_as_float(left, schema):
            return None
        wide: Value = {
            "Cast": {
                "expr": steady_tree(left, schema),
                "dtype": {"Literal": "Float64"},
                "options": "Strict",
            }
        }
        factor: Value = {"Literal": {"Scalar": {"Float64": _reciprocal(divisor)}}}
        return {"BinaryExpr": {"left": wide, "op": "Multiply", "right": factor}}

    return replace(node, change)


def divides_by_constant(node: Value) -> bool:
    """Whether a division is left whose last bit hangs on the number of rows."""

    def wanted(name: str, body: Value) -> bool:
        divided = name == "BinaryExpr" and field(body, "op") == "TrueDivide"
        return divided and not any_node(field(body, "right"), _varies)

    return any_node(node, wanted)


def _varies(name: str, _: Value) -> bool:
    return name in {"Column", "Selector", "Element", "Field", "Agg", "Len"}


def _constant(node: Value) -> float | None:
    """The number that a node without columns is."""
    if any_node(node, _varies):
        return None
    try:
        found = pl.select(from_tree(node)).to_series()
    except pl.exceptions.PolarsError:
        return None
    if len(found) != 1 or not found.dtype.is_numeric() or found.dtype.is_decimal():
        return None
    return None if found[0] is None or found.dtype == pl.Float32 else float(found[0])


def _divides_as_float(node: Value, schema: pl.Schema) -> bool:
    try:
        found = pl.LazyFrame(schema=schema).select(from_tree(node)).collect_schema()
    except pl.exceptions.PolarsError:
        return False
    types = found.dtypes()
    return len(types) == 1 and (types[0].is_integer() or types[0] == pl.Float64)


def _reciprocal(value: float) -> float:
    try:
        return 1.0 / value
    except ZeroDivisionError:
        return math.copysign(math.inf, value)
