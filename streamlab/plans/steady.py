"""Division by a constant, made to give the same on one row as on many.

polars divides a column by a constant by way of its reciprocal, but a single row (alone in its
chunk, or in its thread's share of a batch) exactly: in a third of all cases `x / 3` has another
last bit then, and `x // 0.1` another whole number. A float may differ by a bit, but not what is
made of it: `(cents / 100 > 0.35).sum()` would hang on how the stream was cut. So a plan multiplies
by the reciprocal itself, which is what polars gives for many rows, bit for bit.
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

SIGNS = (" / ", " // ", " % ")
_OPERATORS = ("TrueDivide", "FloorDivide", "Modulus")


def steady(expr: pl.Expr, schema: pl.Schema) -> pl.Expr:
    """The expression with its divisions by constants as multiplications.

    Left as they are: divisions beside Python functions, inside `list.eval`, and of other types
    than integers and Float64.

    Args:
        expr: over columns of `schema`.
        schema: the columns it sees.
    """
    text = str(expr)
    if not any(sign in text for sign in SIGNS):
        return expr
    tree = to_tree(expr)
    if has_python(tree):
        return expr
    changed = steady_tree(tree, schema)
    return expr if changed == tree else from_tree(changed)


def steady_tree(node: Value, schema: pl.Schema) -> Value:
    """`steady` for a tree without Python functions."""

    def change(name: str, body: Value) -> Value | None:
        if name != "BinaryExpr" or field(body, "op") not in _OPERATORS:
            return None
        divisor = _constant(field(body, "right"))
        if divisor is None or not _gives_float(field(body, "left"), body, schema):
            return None
        left = _as_float(steady_tree(field(body, "left"), schema))
        share = _binary(left, "Multiply", _number(_reciprocal(divisor)))
        if field(body, "op") == "TrueDivide":
            return share
        floor: Value = {"Function": {"input": [share], "function": "Floor"}}
        if field(body, "op") == "FloorDivide":
            return floor
        return _binary(left, "Minus", _binary(floor, "Multiply", _number(divisor)))

    return replace(node, change)


def _binary(left: Value, operator: str, right: Value) -> Value:
    return {"BinaryExpr": {"left": left, "op": operator, "right": right}}


def _number(value: float) -> Value:
    return {"Literal": {"Scalar": {"Float64": value}}}


def _as_float(node: Value) -> Value:
    dtype: Value = {"Literal": "Float64"}
    return {"Cast": {"expr": node, "dtype": dtype, "options": "Strict"}}


def divides_by_constant(node: Value) -> bool:
    """Whether a division is left whose last bit hangs on the number of rows.

    Of those that are left, `//` and `%` are between integers, and exact.
    """

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


def _gives_float(left: Value, body: Value, schema: pl.Schema) -> bool:
    """Whether integers or Float64 are divided, and Float64 comes of it."""
    both = [
        from_tree(left).alias("left"),
        from_tree({"BinaryExpr": body}).alias("whole"),
    ]
    try:
        found = pl.LazyFrame(schema=schema).select(both).collect_schema()
    except pl.exceptions.PolarsError:
        return False
    divided = found["left"]
    return found["whole"] == pl.Float64 and (
        divided.is_integer() or divided == pl.Float64
    )


def _reciprocal(value: float) -> float:
    try:
        return 1.0 / value
    except ZeroDivisionError:
        return math.copysign(math.inf, value)
