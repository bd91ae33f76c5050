"""A node of an expression in the words a user would have typed, more or less."""

from __future__ import annotations

import re

from streamlab.plans.codec import Value
from streamlab.plans.tree import field, function_name, is_elementwise, items, kind

_OPERATORS = {
    "Plus": "+",
    "Minus": "-",
    "Multiply": "*",
    "TrueDivide": "/",
    "Divide": "/",
    "FloorDivide": "//",
    "Modulus": "%",
    "Gt": ">",
    "GtEq": ">=",
    "Lt": "<",
    "LtEq": "<=",
    "Eq": "==",
    "NotEq": "!=",
    "And": "&",
    "Or": "|",
    "Xor": "^",
    "LogicalAnd": "&",
    "LogicalOr": "|",
}
_NAMESPACES = {
    "StringExpr": "str.",
    "TemporalExpr": "dt.",
    "ListExpr": "list.",
    "ArrayExpr": "arr.",
    "StructExpr": "struct.",
    "BinaryExpr": "bin.",
}
_ALIASES = {
    "approx_nunique": "approx_n_unique",
    "concat_vertical": "join",
    "correlation": "corr",
    "field_by_name": "field",
    "nunique": "n_unique",
    "random": "sample",
    "strptime": "to_datetime",
}
# Functions that stand alone: pl.int_range(…).
_FREE = {"Range", "Repeat"}
_WHOLE = {
    "": "…",
    "Element": "pl.element()",
    "Len": "pl.len()",
    "Selector": "pl.all()",
    "Ternary": "pl.when(…)",
}
_LONGEST = 70


def words(node: Value) -> str:
    """The node as text for a message; parts that don't matter, or are long, are "…"."""
    text = _words(node)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def snake(name: str) -> str:
    """A kind or function as the method it is: "CumSum" → "cum_sum"."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return _ALIASES.get(text, text)


def _words(node: Value) -> str:
    name, body = kind(node)
    if name == "Function":
        return _function(body)
    if name == "Column":
        return f'pl.col("{body!s}")'
    if name == "Literal":
        return _literal(body)
    if name == "BinaryExpr":
        sign = _OPERATORS.get(str(field(body, "op")), "?")
        return f"{_inner(body, 'left')} {sign} {_inner(body, 'right')}"
    return _method(name, body)


def _method(name: str, body: Value) -> str:
    """Kinds that are written as a method of their first part."""
    if name == "Agg":
        return _method(*kind(body))
    if name == "AnonymousFunction":
        method = "map_elements" if is_elementwise(body) else "map_batches"
        return f"{_inner(items(field(body, 'input')), 0)}.{method}(…)"
    if name in _WHOLE:
        return _WHOLE[name]
    return f"{_owner(body)}.{snake(name)}({_arguments(name, body)})"


def _owner(body: Value) -> str:
    """What a method is called on."""
    for part in ("input", "expr", "function"):
        if isinstance(body, dict) and part in body:
            return _inner(body, part)
    return _inner(body, 0) if isinstance(body, list) else _bracketed(body)


def _arguments(name: str, body: Value) -> str:
    has_more = isinstance(body, dict) and len(body) > 1
    return "…" if has_more and name not in {"Count", "Min", "Max"} else ""


def _function(body: Value) -> str:
    name, options = function_name(body)
    inputs = items(field(body, "input"))
    space, _, short = name.rpartition(".")
    if space.startswith("RollingExpr"):
        part = "function_by" if space.endswith("By") else "function"
        short = f"Rolling{field(options, part)!s}"
    if name == "FillNullWithStrategy":
        short, rest = "fill_null", f'strategy="{snake(kind(options)[0])}"'
    else:
        rest = ", ".join(_words(each) for each in inputs[1:])
    call = f"{_NAMESPACES.get(space, '')}{snake(short)}({rest})"
    if not inputs or {space, name} & _FREE:
        return f"pl.{snake(short)}({', '.join(_words(each) for each in inputs)})"
    return f"{_inner(inputs, 0)}.{call}"


def _inner(body: Value, part: str | int) -> str:
    """A part that something is done to, in brackets where it needs them."""
    return _bracketed(field(body, part))


def _bracketed(node: Value) -> str:
    text = _words(node)
    return f"({text})" if kind(node)[0] == "BinaryExpr" else text


def _literal(body: Value) -> str:
    name, value = kind(body)
    inner, value = kind(value)
    if name == "Series":
        return "pl.Series(…)"
    if inner == "Int" and isinstance(value, bytes):
        return str(int.from_bytes(value, "big", signed=True))
    if inner == "Null":
        return "None"
    if inner in {"Float", "Float64", "Str", "String", "Boolean"}:
        return repr(value) if not isinstance(value, str) else f'"{value}"'
    return "…"
