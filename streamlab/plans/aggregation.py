"""One aggregation inside an expression: which it is, of what, over which rows."""

from __future__ import annotations

from typing import Literal, NamedTuple

from streamlab.plans.codec import Value
from streamlab.plans.tree import field, function_name, kind
from streamlab.plans.words import snake

Kind = Literal[
    "sum",
    "count",
    "len",
    "min",
    "max",
    "mean",
    "var",
    "std",
    "any",
    "all",
    "first",
    "last",
]
_AGGREGATIONS: dict[str, Kind] = {
    "Sum": "sum",
    "Mean": "mean",
    "Min": "min",
    "Max": "max",
    "Var": "var",
    "Std": "std",
    "Count": "count",
}

# By the order of arrival they merge; by any other the rows themselves are needed.
_BY_ARRIVAL: dict[str, Kind] = {"First": "first", "Last": "last"}
_FUNCTIONS: dict[str, Kind] = {
    "Boolean.Any": "any",
    "Boolean.All": "all",
    "NullCount": "len",
}


class NotExactError(Exception):
    """The expression does not decompose; the text names what stands in the way."""


class Found(NamedTuple):
    """An aggregation, with what it is of still as it stands."""

    kind: Kind
    input: Value
    ddof: int = 0
    only_nulls: bool = False


def aggregation(name: str, body: Value, *, arrival: bool = False) -> Found | None:
    """The aggregation that a node is, or None if it is none.

    Args:
        name: the node's kind.
        body: of the node.
        arrival: whether rows count in the order in which they come.

    Raises:
        NotExactError: it is one that does not decompose.
    """
    if name == "Len":
        return Found("len", {"Literal": {"Scalar": {"Boolean": True}}})
    if name == "Agg":
        inner, of = kind(body)
        if arrival and inner in _BY_ARRIVAL:
            return Found(_BY_ARRIVAL[inner], of)
        return _agg(inner, of)
    return _function(body) if name == "Function" else None


def _function(body: Value) -> Found | None:
    """Aggregations that polars writes as functions."""
    name, options = function_name(body)
    which = _FUNCTIONS.get(name)
    if which is None:
        return None
    if which != "len" and not field(options, "ignore_nulls"):
        raise NotExactError(f"{which}(ignore_nulls=False)")
    return Found(which, field(field(body, "input"), 0), only_nulls=which == "len")


def _agg(name: str, body: Value) -> Found:
    found = _AGGREGATIONS.get(name)
    match found:
        case None:
            raise NotExactError(snake(name))
        case "var" | "std":
            ddof = field(body, 1)
            return Found(found, field(body, 0), ddof if isinstance(ddof, int) else 1)
        case "count":
            whole = field(body, "include_nulls") is True
            return Found("len" if whole else "count", field(body, "input"))
        case "min" | "max":
            if field(body, "propagate_nans"):
                raise NotExactError(f"nan_{found}")
            return Found(found, field(body, "input"))
    return Found(found, body)


def rows(found: Found) -> tuple[Value, Value | None]:
    """The input without what is around it, and the rows that are let through.

    One `filter`, and `drop_nulls` after it. A second filter would be laid over the rows that the
    first one left, where polars fails or stretches a single row.
    """
    value, tests = found.input, list[str]()
    while kind(value)[0] == "Function":
        body = kind(value)[1]
        if function_name(body)[0] != "DropNulls":
            break
        value, tests = field(field(body, "input"), 0), ["IsNotNull"]
    where: Value = None
    if kind(value)[0] == "Filter":
        body = kind(value)[1]
        value, where = field(body, "input"), field(body, "by")
    for test in [*tests, *(["IsNull"] if found.only_nulls else [])]:
        where = _and(
            where, {"Function": {"input": [value], "function": {"Boolean": test}}}
        )
    return value, where


def _and(left: Value | None, right: Value) -> Value:
    if left is None:
        return right
    return {"BinaryExpr": {"left": left, "op": "And", "right": right}}


def called(name: str, body: Value) -> str:
    """What a node is called in `explain`."""
    if name == "Function":
        return snake(function_name(body)[0].rpartition(".")[2])
    if name == "Agg":
        return snake(kind(body)[0])
    if name == "AnonymousFunction":
        return "a Python function"
    return "a column as it is" if name in {"Column", "Selector"} else snake(name)
