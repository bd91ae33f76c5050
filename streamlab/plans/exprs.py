"""What a polars expression needs: only its own row, or others too?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import polars as pl

from streamlab.errors import NotIncrementalError, UsageError
from streamlab.plans.codec import Value
from streamlab.plans.functions import (
    ALL_ROWS,
    BY_CHANCE,
    CATEGORICAL,
    CONDITIONS,
    INSIDE_A_LIST,
    OTHER_LENGTH,
    OTHER_ROWS,
    ROW_WISE,
    SERIES,
    UNKNOWN,
    UNORDERED,
    UNTYPED,
    WHOLE_BATCH,
    Call,
    Refusal,
    is_literal,
    literal_series,
    names,
)
from streamlab.plans.tree import (
    any_node,
    below,
    field,
    from_tree,
    function_name,
    has_return_type,
    is_elementwise,
    items,
    kind,
    to_tree,
)
from streamlab.plans.words import words

_PER_WINDOW = "Per window: live.window(…)."
_RECOMPUTE = "Over what is kept, every tick: live.recompute(lambda lf: …)."
_WHY: Mapping[str, Refusal] = {
    "Agg": ALL_ROWS,
    "Len": ALL_ROWS,
    "Over": OTHER_ROWS,
    "Rolling": OTHER_ROWS,
    "Sort": OTHER_ROWS,
    "SortBy": OTHER_ROWS,
    "Gather": OTHER_ROWS,
    "Filter": OTHER_LENGTH,
    "Slice": OTHER_LENGTH,
    "Explode": OTHER_LENGTH,
    "AnonymousFunction": WHOLE_BATCH,
}
_WHY_FUNCTION: Mapping[str, Refusal] = {
    **dict.fromkeys(
        names("""
        Shift Diff PctChange CumSum CumProd CumMin CumMax CumCount Rank EwmMean EwmStd
        EwmVar Interpolate InterpolateBy FillNullWithStrategy Reverse PeakMin PeakMax
        RLEID Boolean.IsFirstDistinct Boolean.IsLastDistinct Boolean.IsUnique
        Boolean.IsDuplicated ShiftAndFill QCut RollingExpr. RollingExprBy. Random.
        """),
        OTHER_ROWS,
    ),
    **dict.fromkeys(
        names("""
        NullCount Quantile Product Skew Kurtosis Entropy ApproxNUnique ArgMin ArgMax
        Boolean.Any Boolean.All Boolean.HasNulls Correlation Bitwise.And Bitwise.Or
        Bitwise.Xor StringExpr.ConcatVertical Hist SearchSorted
        """),
        ALL_ROWS,
    ),
    **dict.fromkeys(
        names("""
        Unique UniqueCounts DropNulls DropNans ValueCounts Mode TopK TopKBy ArgWhere
        Append Repeat ExtendConstant RLE GatherEvery ArgUnique Reshape Range.IntRange
        """),
        OTHER_LENGTH,
    ),
    "Random": BY_CHANCE,
}
# Nodes whose parts alone decide.
_PLAIN: Mapping[str, tuple[str | int, ...]] = {
    "Column": (),
    "Element": (),
    "Field": (),
    "Selector": (),
    "Alias": (0,),
    "Cast": ("expr",),
    "RenameAlias": ("expr",),
    "BinaryExpr": ("left", "right"),
    "Ternary": ("predicate", "truthy", "falsy"),
}
_AGGREGATIONS_IN_A_LIST = {"Agg", "Len", "Sort", "SortBy", "Slice", "Filter", "Gather"}
_EVALUATIONS = {"List", "Array", "ListAgg", "ArrayAgg"}


class Finding(NamedTuple):
    """A part of an expression that is not row-wise."""

    node: Value
    refusal: Refusal


def parse(exprs: Iterable[object], named: Mapping[str, object]) -> tuple[pl.Expr, ...]:
    """The arguments of `select`, `with_columns` or `agg` as expressions.

    Text names a column, lists are flattened, other values are literals; named ones are aliased.
    """
    return (
        *(_as_expr(each) for each in _flat(exprs)),
        *(_as_expr(value).alias(name) for name, value in named.items()),
    )


def parse_predicates(
    predicates: Iterable[object], named: Mapping[str, object]
) -> tuple[pl.Expr, ...]:
    """The arguments of `filter` as expressions; `symbol="NVDA"` is an equality."""
    return (
        *(_as_expr(each) for each in _flat(predicates)),
        *(pl.col(name).eq(value) for name, value in named.items()),
    )


def check_row_wise(
    expr: pl.Expr, *, verb: str, schema: pl.Schema | None = None
) -> None:
    """Refuse an expression that looks at other rows than its own, or may.

    Args:
        expr: as the user wrote it.
        verb: the step it is for ("filter", "select", "with_columns").
        schema: the columns it will see. Without it `is_in(column)` is refused, which with it
            is allowed for list columns.

    Raises:
        NotIncrementalError: a part of it is not on the list of allowed functions; the message
            names the part and the ways out.
    """
    found = offence(to_tree(expr), schema)
    if found is None:
        return
    raise NotIncrementalError(message(call_words(expr, verb), found))


def check_select(exprs: Iterable[pl.Expr], schema: pl.Schema | None = None) -> None:
    """`check_row_wise` for all of a `select`, which needs a column as well.

    Raises:
        NotIncrementalError: see `check_row_wise`.
        UsageError: only literals, so that each batch would give one row.
    """
    every = list(exprs)
    for expr in every:
        check_row_wise(expr, verb="select", schema=schema)
    if every and not any(has_column(to_tree(expr)) for expr in every):
        raise UsageError(
            "select(…) names no column, and a literal alone has one row, not one per "
            "record. Beside the others: live.with_columns(…)."
        )


def check_aggregation(expr: pl.Expr, *, name: str) -> None:
    """Refuse an aggregation that can't be repeated: one that guesses from data, or by chance.

    All else is fine in a window: it is evaluated over the window's rows.

    Args:
        expr: as the user wrote it.
        name: of its output column, for the message.

    Raises:
        NotIncrementalError: the message names the part.
    """
    found: list[Finding] = []

    def look(node_kind: str, body: Value) -> bool:
        refusal = _never(node_kind, body)
        if refusal:
            found.append(Finding({node_kind: body}, refusal))
        return refusal is not None

    any_node(to_tree(expr), look)
    if found:
        raise NotIncrementalError(message(f"agg({name}=…)", found[0]))


def offence(
    node: Value, schema: pl.Schema | None, *, functions: bool = True
) -> Finding | None:
    """The first part of a tree that is not row-wise, or None.

    Args:
        node: the tree.
        schema: the columns it will see, if known.
        functions: whether Python functions of single values (`map_elements`) are allowed.
    """
    try:
        return _Check(schema, functions=functions).find(node)
    except (KeyError, TypeError):
        # A known kind in a shape that is not: another polars than the tests have seen.
        return Finding(node, UNKNOWN)


def has_column(node: Value) -> bool:
    """Whether any column takes part."""
    return any_node(node, lambda name, _: name in {"Column", "Selector"})


class _Check:
    """Walks a tree; knows the columns, and whether it is inside a list."""

    def __init__(self, schema: pl.Schema | None, *, functions: bool) -> None:
        self.schema = schema
        self.functions = functions

    def find(self, node: Value, *, in_list: bool = False) -> Finding | None:
        refusal, parts = self.judge(node, in_list=in_list)
        if refusal is not None:
            # The innermost part is the one to name: sum() in x / x.sum().
            return Finding(node, refusal)
        for part, inside in parts:
            found = self.find(part, in_list=inside)
            if found is not None:
                return found
        return None

    def judge(
        self, node: Value, *, in_list: bool
    ) -> tuple[Refusal | None, list[tuple[Value, bool]]]:
        """Why the node itself is refused, and the parts that are to be looked at next."""
        name, body = kind(node)
        never = _never(name, body)
        if never is not None:
            return never, []
        if name in _PLAIN:
            return None, [(field(body, part), in_list) for part in _PLAIN[name]]
        if name == "Literal":
            return self.literal(node), []
        if name in {"Function", "AnonymousFunction"}:
            return self.function(name, body, in_list=in_list)
        return self.nested(name, body, in_list=in_list)

    def literal(self, node: Value) -> Refusal | None:
        series = literal_series(node)
        return SERIES if series is not None and len(series) != 1 else None

    def function(
        self, kind_: str, body: Value, *, in_list: bool
    ) -> tuple[Refusal | None, list[tuple[Value, bool]]]:
        inputs = items(field(body, "input"))
        parts = [(each, in_list) for each in inputs]
        if kind_ == "AnonymousFunction":
            allowed = self.functions and is_elementwise(body)
            return (None if allowed else WHOLE_BATCH), parts
        name, options = function_name(body)
        if in_list and name in INSIDE_A_LIST:
            return (UNORDERED if name == "Unique" and not options else None), parts
        if name not in ROW_WISE:
            return _WHY_FUNCTION.get(name, UNKNOWN), []
        if name in CONDITIONS:
            # What is looked up in a literal is no column, however long the literal.
            parts = [(each, in_list) for each in inputs if not is_literal(each)]
            return CONDITIONS[name](Call(options, inputs, self.type_of)), parts
        return None, parts

    def nested(
        self, name: str, body: Value, *, in_list: bool
    ) -> tuple[Refusal | None, list[tuple[Value, bool]]]:
        """Nodes with a world of their own inside: lists, structs."""
        if name == "Eval" and kind(field(body, "variant"))[0] in _EVALUATIONS:
            outer, inner = field(body, "expr"), field(body, "evaluation")
            return None, [(outer, in_list), (inner, True)]
        if name == "KeepName":
            return None, [(body, in_list)]
        if name == "StructEval":
            fields = items(field(body, "evaluation"))
            parts = [(each, in_list) for each in fields]
            return None, [(field(body, "expr"), in_list), *parts]
        if in_list and name in _AGGREGATIONS_IN_A_LIST:
            return None, [(part, True) for part in below(name, body)]
        return _WHY.get(name, UNKNOWN), []

    def type_of(self, node: Value) -> pl.DataType | None:
        if self.schema is None:
            return None
        try:
            frame = pl.LazyFrame(schema=self.schema).select(from_tree(node))
            return frame.collect_schema().dtypes()[0]
        except (pl.exceptions.PolarsError, IndexError):
            return None


def _never(name: str, body: Value) -> Refusal | None:
    """What is right nowhere, not even inside a list or a window."""
    if name == "Cast":
        return CATEGORICAL if "Categorical" in repr(field(body, "dtype")) else None
    if name == "AnonymousFunction":
        return None if has_return_type(body) else UNTYPED
    function, options = function_name(body) if name == "Function" else ("", None)
    if function == "StringExpr.Strptime":
        return CONDITIONS[function](Call(options, [], lambda _: None))
    return BY_CHANCE if function == "Random" else None


def _flat(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _as_expr(value: object) -> pl.Expr:
    if isinstance(value, pl.Expr):
        return value
    return pl.col(value) if isinstance(value, str) else pl.lit(value)


def call_words(expr: pl.Expr, verb: str) -> str:
    """The step as the user wrote it: "with_columns(ret=…)"."""
    name = expr.meta.output_name(raise_if_undetermined=False)
    is_named = (
        verb != "filter" and name is not None and kind(to_tree(expr))[0] == "Alias"
    )
    return f"{verb}({name}=…)" if is_named else f"{verb}(…)"


def message(call: str, found: Finding, *, windows: bool = False) -> str:
    """What a refusal says.

    Args:
        call: the step as the user wrote it.
        found: the part that is refused.
        windows: name windows as well, beside what to write instead.
    """
    refusal = found.refusal
    per_window = _PER_WINDOW if refusal.windows else ""
    ways = (refusal.instead, per_window if windows or not refusal.instead else "")
    ends = (f"{call}: {words(found.node)} {refusal.why}.", *ways, _RECOMPUTE)
    return " ".join(part for part in ends if part)
