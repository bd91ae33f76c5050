"""The functions that look back: what each must remember of earlier rows, and what it can't be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import polars as pl

from streamlab.plans.codec import Value
from streamlab.plans.functions import (
    BY_CHANCE,
    OTHER_LENGTH,
    Call,
    Refusal,
    is_literal,
)
from streamlab.plans.tree import field, from_tree, kind

AHEAD = Refusal("looks ahead, at rows that have not come yet", windows=False)
_UNTOLD = Refusal(
    "looks back by how many rows a column says",
    "Write a number: shift(1).",
    windows=False,
)
_FILLER = Refusal(
    "fills with what an expression says", "Write a value: fill_value=0.", windows=False
)
_PYTHON = Refusal(
    "calls a Python function on each window of rows",
    "Write it with polars' own: rolling_mean, rolling_quantile …",
    windows=False,
)
_FOR_EVER = Refusal(
    "remembers every value there has been",
    'Once each: live.unique("…").',
    windows=False,
)
_ALL_KEPT = Refusal("fills with what is made of all rows, and more will come")

BESIDE_PYTHON = Refusal(
    "stands beside a function that looks back, and only polars' own can",
    "Before it: live.with_columns(…).",
    windows=False,
)
SEVERAL = Refusal(
    "stands for several columns, and which ones belong together is not known",
    "Name the columns.",
    windows=False,
)
NO_COLUMN = Refusal("looks back over a value, not over a column", windows=False)
OWN_ORDER = Refusal(
    "asks for an order of its own",
    "Rows are in event-time order: .over(key).",
    windows=False,
)
OWN_LENGTH = Refusal("changes the number of rows", "Write .over(key).", windows=False)
TWICE = Refusal("has an .over inside an .over", "Write one of them.", windows=False)


class Duration(NamedTuple):
    """A span as polars writes it; `parsed_int` counts in the unit of an integer column."""

    months: int
    weeks: int
    days: int
    nsecs: int
    parsed_int: bool


class Memory(NamedTuple):
    """What a function needs of the rows before.

    Attributes:
        kind: "rows": the last `rows` of each key. "carry": its own last result. "count": how
            many there were. "span": rows less than `span` old. "ewm": weighted sums.
            "decay": its own last result and when that was.
        rows: how many.
        span: how old, by the second input.
        options: of an "ewm".
    """

    kind: Literal["rows", "carry", "count", "span", "ewm", "decay"]
    rows: int = 0
    span: Duration | None = None
    options: Ewm | None = None


class Ewm(NamedTuple):
    """The options of an exponentially weighted function.

    Attributes:
        what: "mean", "var" or "std".
        alpha, adjust, bias, min_samples, ignore_nulls: as polars has them.
    """

    what: str
    alpha: float
    adjust: bool
    bias: bool
    min_samples: int
    ignore_nulls: bool


Rule = Callable[[Call], Memory | Refusal]


def _steps(node: Value) -> int | Refusal:
    """By how many rows, as a number that is not negative."""
    if not is_literal(node):
        return _UNTOLD
    count = pl.select(from_tree(node)).item()
    if not isinstance(count, int):
        return _UNTOLD
    return AHEAD if count < 0 else count


def _shift(call: Call) -> Memory | Refusal:
    count = _steps(call.inputs[1])
    if isinstance(count, Refusal):
        return count
    if len(call.inputs) > 2 and not is_literal(call.inputs[2]):
        return _FILLER
    return Memory("rows", count)


def _diff(call: Call) -> Memory | Refusal:
    return OTHER_LENGTH if call.options == "Drop" else _shift(call)


def _carry(call: Call) -> Memory | Refusal:
    return AHEAD if field(call.options, "reverse") else Memory("carry")


def _count(call: Call) -> Memory | Refusal:
    return AHEAD if field(call.options, "reverse") else Memory("count")


def _fill(call: Call) -> Memory | Refusal:
    strategy, limit = kind(call.options)
    if strategy == "Backward":
        return AHEAD
    if strategy != "Forward":
        return _ALL_KEPT
    # A value fills so many nulls behind it: what is further back fills none to come.
    return Memory("carry") if limit is None else Memory("rows", _whole(limit))


def _rolling(call: Call) -> Memory | Refusal:
    given = field(call.options, "options")
    if field(given, "center"):
        return AHEAD
    refused = _chosen(field(call.options, "function"), given)
    return refused or Memory("rows", max(0, _whole(field(given, "window_size")) - 1))


def _rolling_by(call: Call) -> Memory | Refusal:
    given = field(call.options, "options")
    refused = _chosen(field(call.options, "function_by"), given)
    return refused or Memory("span", span=_span(field(given, "window_size")))


def _chosen(function: Value, given: Value) -> Refusal | None:
    """A Python function, or one that throws dice."""
    if kind(function)[0] == "Map":
        return _PYTHON
    return BY_CHANCE if "Random" in repr(field(given, "fn_params")) else None


def _ewm(what: str) -> Rule:
    def rule(call: Call) -> Memory | Refusal:
        given = field(call.options, "options")
        alpha, least = field(given, "alpha"), field(given, "min_periods")
        if not isinstance(alpha, (int, float)):
            raise TypeError(alpha)
        flags = (bool(field(given, name)) for name in ("adjust", "bias"))
        adjust, bias = flags
        skip = bool(field(given, "ignore_nulls"))
        ewm = Ewm(what, float(alpha), adjust, bias, _whole(least), skip)
        return Memory("ewm", options=ewm)

    return rule


def _whole(value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return value


def _span(value: Value) -> Duration:
    months, weeks, days, nsecs = (
        _whole(field(value, name)) for name in ("months", "weeks", "days", "nsecs")
    )
    return Duration(months, weeks, days, nsecs, bool(field(value, "parsed_int")))


RULES: Mapping[str, Rule] = {
    "Shift": _shift,
    "ShiftAndFill": _shift,
    "Diff": _diff,
    "PctChange": _shift,
    "CumSum": _carry,
    "CumProd": _carry,
    "CumMin": _carry,
    "CumMax": _carry,
    "CumCount": _count,
    "FillNullWithStrategy": _fill,
    "RollingExpr": _rolling,
    "RollingExprBy": _rolling_by,
    "EwmMean": _ewm("mean"),
    "EwmStd": _ewm("std"),
    "EwmVar": _ewm("var"),
    "EwmMeanBy": lambda _: Memory("decay"),
    "Boolean.IsFirstDistinct": lambda _: _FOR_EVER,
}
"""A polars function that looks back → what it needs, or why it can't be had."""
